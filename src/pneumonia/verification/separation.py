"""Whether no patient, no identical file and no identical image is in two of train, val and test."""

from pathlib import Path

import pandas as pd

from pneumonia import paths
from pneumonia.split_table import EXCLUDED, read_split
from pneumonia.store import INDEX_COLUMNS, read_index
from pneumonia.verification.outcome import Outcome, readable


def check_separation(root: Path) -> Outcome:
    """Look for shared patients and identical images in the split, whoever made it.

    Raises:
        UserError: there are some, or the split is not one of the index.
    """
    index, split = read_tables(root)
    used = index[split != EXCLUDED]
    unknown = int((used["patient"] == used["file"]).sum())
    patients = used["patient"].nunique() - unknown
    note = f"{patients:,} patients, each in one of train, val and test"
    return Outcome(note=f"{note}; {unknown:,} images of patients whom nobody knows" if unknown else note)


def read_tables(root: Path) -> tuple[pd.DataFrame, pd.Series]:
    """Index and split of a checkout, with the split checked as the stages check it.

    Raises:
        UserError: one of them cannot be read, or the split is none.
    """
    with readable(paths.INDEX):
        index = read_index(root / paths.INDEX)[list(INDEX_COLUMNS)]
    with readable(paths.SPLIT):
        return index, read_split(root / paths.SPLIT, index)
