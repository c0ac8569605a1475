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
from pneumonia.splitting.order import first_patients, first_units, require_an_order
from pneumonia.splitting.units import tie_together

PLACEHOLDER = (
    "if that patient's ID is a placeholder that an anonymiser wrote into every file, give the patients in a "
    "column `patient` of labels.csv or of the table at source.labels"
)


@dataclass(frozen=True)
class Assignment:
    """The split of every image, and how it was stratified."""

    split: pd.Series
    """train | val | test | excluded, on the row labels of the index."""
    stratified_by: dict[str, str]
    """Of each class: "class and group", "class" where a group is too small to be split, or "given"."""


def assign(index: pd.DataFrame, settings: Split, *, official: bool = True) -> Assignment:
    """Split by patient, stratified by class and group.

    Images tied by patient, by identical files or pixels, or as near-duplicates, form a unit, and a unit is
    never torn apart.
    The official test set stays the test set and the official validation set the validation set, to the image.
    Other images in one unit with official test images are in no split ("excluded"): the test set is not
    ours to change, and with them in training it would measure memory. So are training images in one unit
    with official validation images. Of the other units a fraction is drawn for each set that is not official,
    the test set first; where some images are said to be for training and of others nothing is said, only of
    units of the latter. With validation "first" its units are not drawn, see `pneumonia.splitting.order`.

    Fractions are of the units of each class, rounded, at least one. A unit with both classes counts as
    pneumonia, and as the commonest group of its pneumonia images.

    Args:
        index: N rows, columns as in `pneumonia.store.INDEX_COLUMNS`, and near_duplicate; the order of rows
            has no influence.
        settings: fractions and seed.
        official: whether official sets count; else all images are drawn.

    Raises:
        UserError: a class has fewer units than there are splits to make of them; validation is to be the
            first patients, and the source has a validation set of its own or does not tell its patients.
    """
    if index["file"].duplicated().any():
        raise ValueError("the index lists a file twice")
    images = index.sort_values("file")
    unit = tie_together(images)
    given = images["official_split"].to_numpy() if official else np.full(len(images), "")
    held_out = [name for name in ("test", "val") if name in given]
    reserved = np.isin(unit, unit[np.isin(given, held_out)])
    for_training = np.isin(unit, unit[given == "train"])
    free = ~reserved & ~for_training if (given == "").any() else ~reserved
    pool = _describe(images[free], unit[free])
    if settings.validation == "first":
        _require_first(images[free], held_out)
        pool["patient"] = first_patients(images.loc[free, "patient"], unit[free])
    drawn = [name for name in ("test", "val") if name not in held_out]
    kept = images.loc[for_training & ~reserved & ~free, "label"]
    left = 0 if set(kept) == set(CLASSES) else 1  # of each class at least one is for training
    places = [*held_out, *(["train"] if len(kept) else [])]
    if left + len(drawn):
        _require_units(pool, images[free], left + len(drawn), places)

    word = np.full(len(images), "train", dtype=object)
    grouped = set(CLASSES)
    fractions = {"test": settings.test_fraction, "val": settings.val_fraction}
    for others, name in zip(range(len(drawn) - 1, -1, -1), drawn, strict=True):
        in_order = name == "val" and settings.validation == "first"
        chosen, by_group = _draw(pool, fractions[name], others + left, None if in_order else settings.seed)
        word[np.isin(unit, chosen)] = name
        pool = pool.drop(index=chosen)
        grouped &= by_group
    word[reserved] = EXCLUDED
    word[given == "val"] = "val"
    word[np.isin(unit, unit[given == "test"])] = EXCLUDED
    word[given == "test"] = "test"
    split = pd.Series(word, index=images.index, name="split").reindex(index.index)
    require_disjoint(index, split)
    return Assignment(
        split, {name: _stratified_by(name in grouped) if drawn else "given" for name in CLASSES}
    )


def _stratified_by(grouped: bool) -> str:
    return "class and group" if grouped else "class"


def require_consistent(index: pd.DataFrame) -> None:
    """Refuse a split, made by the owner of the images, that lets a patient into two of its parts.

    Raises:
        UserError: it does, or a part lacks a class.
    """
    parts = index[index["official_split"] != ""]
    places = parts[["patient", "official_split"]].drop_duplicates()
    torn = places.loc[places["patient"].duplicated(), "patient"].drop_duplicates()
    remedy = "or set split.official in params.yaml to false to have one drawn"
    if len(torn):
        most = int(parts.loc[parts["patient"].isin(torn), "patient"].value_counts().iloc[0])
        shared = f" One patient has {most:,} of the {len(parts):,} images; {PLACEHOLDER}."
        raise UserError(
            f"The split that came with the images has {len(torn)} patients in several of its parts, for "
            f"example {torn.iloc[0]}; put all images of a patient into one part, {remedy}."
            f"{shared if most > len(parts) / 2 else ''}"
        )
    for name in parts["official_split"].unique():
        missing = sorted(set(CLASSES) - set(parts.loc[parts["official_split"] == name, "label"]))
        if missing:
            raise UserError(
                f"The split that came with the images has none of the class {missing[0]} in {name}; "
                f"add some, {remedy}."
            )


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


def _require_units(pool: pd.DataFrame, images: pd.DataFrame, fewest: int, places: list[str]) -> None:
    words = {"test": "test", "val": "validation", "train": "training"}
    where = f" outside the official {' and '.join(words[name] for name in places)} set" if places else ""
    for label in CLASSES:
        count = int((pool["label"] == label).sum())
        if count < fewest:
            raise UserError(
                f"Too few patients of the class {label}{where}: {count}, where splitting needs at least "
                f"{fewest}, one for each split to be made; {_remedy(images, label, fewest)}."
            )


def _remedy(images: pd.DataFrame, label: Label, fewest: int) -> str:
    """What to do about a class with fewer units than `fewest`, where many patients may pass for one."""
    other = "add images of other patients of that class"
    patients = images.loc[images["label"] == label, "patient"]
    counts = patients.value_counts()
    if counts.empty or counts.iloc[0] < fewest:
        return other
    labels = set(images.loc[images["patient"] == counts.index[0], "label"])
    mixed = ", which has images of both classes and so counts as pneumonia" if len(labels) > 1 else ""
    return (
        f"{counts.iloc[0]:,} of its {len(patients):,} images are of one patient{mixed}; {PLACEHOLDER}, else "
        f"{other}"
    )


def _require_first(images: pd.DataFrame, held_out: list[str]) -> None:
    if "val" in held_out:
        raise UserError(
            "split.validation is first, but the validation set that came with the images is kept; set it to "
            "drawn, or split.official to false."
        )
    require_an_order(images)


def _draw(
    pool: pd.DataFrame, fraction: float, left: int, seed: int | None
) -> tuple[NDArray[np.int64], set[Label]]:
    """Draw that fraction of the units of each class, leaving at least `left`.

    Without a seed the first units are taken.

    Returns:
        The numbers of the drawn units, and the classes whose groups were large enough to be kept in
        proportion.
    """
    drawn: list[NDArray[np.int64]] = []
    grouped: set[Label] = set()
    for label in CLASSES:
        units = pool[pool["label"] == label]
        total = len(units)
        wanted = min(max(1, round(fraction * total)), total - left)
        sizes = units["group"].value_counts()
        by_group = sizes.min() >= 2 and len(sizes) <= min(wanted, total - wanted)
        if by_group:
            grouped.add(label)
        if seed is None or wanted == total:
            drawn.append(first_units(units, wanted) if seed is None else units.index.to_numpy())
            continue
        _, chosen = train_test_split(
            units.index.to_numpy(),
            test_size=wanted,
            random_state=seed,
            stratify=units["group"].to_numpy() if by_group else None,
        )
        drawn.append(chosen)
    return np.concatenate(drawn), grouped
