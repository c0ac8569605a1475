"""The table that says which image is in which split, and the promise that no patient is in two."""

from pathlib import Path

import pandas as pd

from pneumonia.atomic import whole_file
from pneumonia.errors import UserError

SPLITS = ("train", "val", "test")

EXCLUDED = "excluded"
"""In no split: another image of a patient, or a copy of an image, of the official test set."""


def write_split(path: Path, index: pd.DataFrame, split: pd.Series) -> None:
    """Write the columns file,split in the order of the index."""
    table = pd.DataFrame({"file": index["file"].to_numpy(), "split": split.to_numpy()})
    with whole_file(path) as part:
        table.to_csv(part, index=False, lineterminator="\n", encoding="utf-8")


def read_split(path: Path, index: pd.DataFrame) -> pd.Series:
    """Read the split of every image of the index, in its order, and check it, whoever made the file.

    Returns:
        Series of train | val | test | excluded, on the index's own row labels.

    Raises:
        UserError: the table is not of this index, has another word in it, or lets a patient or an
            identical image into two splits.
    """
    table = pd.read_csv(path, dtype="str", keep_default_na=False)
    if list(table.columns) != ["file", "split"] or list(table["file"]) != list(index["file"]):
        raise UserError(f"{path} does not list the files of the index in their order; run `dvc repro`.")
    split = pd.Series(table["split"].to_numpy(), index=index.index, name="split")
    unknown = sorted(set(split) - {*SPLITS, EXCLUDED})
    if unknown:
        raise UserError(
            f"{path} has the split {unknown[0]!r}; allowed are {', '.join(SPLITS)} and {EXCLUDED}."
        )
    require_disjoint(index, split)
    return split


def require_disjoint(index: pd.DataFrame, split: pd.Series) -> None:
    """Refuse a split in which train, val and test share a patient or an identical image.

    Args:
        index: columns patient, sha256, pixels_sha256 (`pneumonia.store.INDEX_COLUMNS`).
        split: a word an image, in the index's order; excluded images do not count.

    Raises:
        UserError: how many patients or images are shared, with an example.
    """
    used = (split != EXCLUDED).to_numpy()
    kinds = {"patient": "patients", "sha256": "identical files", "pixels_sha256": "identical images"}
    for column, kind in kinds.items():
        pairs = pd.DataFrame({"key": index[column].to_numpy(), "split": split.to_numpy()})[used]
        places = pairs.drop_duplicates()
        shared = places[places["key"].duplicated(keep=False)].groupby("key")["split"].agg(list)
        if len(shared):
            where = " and ".join(name for name in SPLITS if name in shared.iloc[0])
            raise UserError(
                f"The split shares {len(shared)} {kind} between its parts (for example {shared.index[0]}, "
                f"in {where}), so its metrics would be too good; run `dvc repro split` to make a new one."
            )
