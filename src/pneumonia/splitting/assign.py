"""Who is in training, validation and test."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from pneumonia.classes import CLASSES, Label
from pneumonia.errors import UserError
from pneumonia.params import Split
from pneumonia.split_table import EXCLUDED, require_disjoint
from pneumonia.splitting.units import tie_together

FEWEST_UNITS = 3  # of a class: one for each split


@dataclass(frozen=True)
class Assignment:
    """The split of every image, and how it was stratified."""

    split: pd.Series
    """train | val | test | excluded, on the row labels of the index."""
    stratified_by: dict[str, str]
    """Of each class: "class and group", or "class" where a group is too small to be split."""


def assign(index: pd.DataFrame, settings: Split) -> Assignment:
    """Split by patient, stratified by class and group.

    Images tied by patient, by identical files or pixels, or as near-duplicates, form a unit, and a unit is
    never torn apart.
    The official test set stays the test set, to the image; the official training and validation sets are
    pooled. Training images in one unit with official test images are in no split ("excluded"): the test
    set is not ours to change, and with them in training it would measure memory. Where nothing is
    official, a fraction of the units becomes the test set first.

    Fractions are of the units of each class, rounded, at least one. A unit with both classes counts as
    pneumonia, and as the commonest group of its pneumonia images.

    Args:
        index: N rows, columns as in `pneumonia.store.INDEX_COLUMNS`, and near_duplicate; the order of rows
            has no influence.
        settings: fractions and seed.

    Raises:
        UserError: a class has fewer than three units to split.
    """
    if index["file"].duplicated().any():
        raise ValueError("the index lists a file twice")
    images = index.sort_values("file")
    unit = tie_together(images)
    official = (images["official_split"] == "test").to_numpy()
    reserved = np.isin(unit, unit[official])
    pool = _describe(images[~reserved], unit[~reserved])
    _require_units(pool, " outside the official test set" if official.any() else "")

    if official.any():
        test, test_grouped = np.zeros(0, dtype=np.int64), set(CLASSES)
    else:
        test, test_grouped = _draw(pool, settings.test_fraction, 2, settings.seed)
    pool = pool.drop(index=test)
    val, val_grouped = _draw(pool, settings.val_fraction, 1, settings.seed)

    word = np.where(np.isin(unit, val), "val", "train").astype(object)
    word[np.isin(unit, test)] = "test"
    word[reserved] = EXCLUDED
    word[official] = "test"
    split = pd.Series(word, index=images.index, name="split").reindex(index.index)
    require_disjoint(index, split)
    grouped = test_grouped & val_grouped
    return Assignment(split, {name: "class and group" if name in grouped else "class" for name in CLASSES})


def _describe(images: pd.DataFrame, unit: NDArray[np.int64]) -> pd.DataFrame:
    """One row a unit (its number is the row label): label and group."""
    table = pd.DataFrame(
        {"unit": unit, "label": images["label"].to_numpy(), "group": images["group"].to_numpy()}
    )
    counts = table.value_counts(sort=False).rename("images").reset_index()
    counts["positive"] = counts["label"] == CLASSES[1]
    first = counts.sort_values(
        ["unit", "positive", "images", "group"], ascending=[True, False, False, True], ignore_index=True
    ).drop_duplicates("unit")
    return first.set_index("unit")[["label", "group"]]


def _require_units(pool: pd.DataFrame, where: str) -> None:
    for label in CLASSES:
        count = int((pool["label"] == label).sum())
        if count < FEWEST_UNITS:
            raise UserError(
                f"Too few patients of the class {label}{where}: {count}, where splitting needs at least "
                f"{FEWEST_UNITS}, one for each split; add images of that class to the source."
            )


def _draw(pool: pd.DataFrame, fraction: float, left: int, seed: int) -> tuple[NDArray[np.int64], set[Label]]:
    """Draw that fraction of the units of each class, leaving at least `left`.

    Returns:
        The numbers of the drawn units, and the classes whose groups were large enough to be kept in
        proportion.
    """
    drawn: list[NDArray[np.int64]] = []
    grouped: set[Label] = set()
    for label in CLASSES:
        groups = pool.loc[pool["label"] == label, "group"]
        total = len(groups)
        wanted = min(max(1, round(fraction * total)), total - left)
        sizes = groups.value_counts()
        by_group = sizes.min() >= 2 and len(sizes) <= min(wanted, total - wanted)
        if by_group:
            grouped.add(label)
        _, chosen = train_test_split(
            groups.index.to_numpy(),
            test_size=wanted,
            random_state=seed,
            stratify=groups.to_numpy() if by_group else None,
        )
        drawn.append(chosen)
    return np.concatenate(drawn), grouped
