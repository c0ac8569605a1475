"""The table of predictions: a row an image of validation and test."""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pneumonia.classes import CLASSES
from pneumonia.errors import UserError
from pneumonia.evaluation.subgroups import SUBGROUPS, subgroups_of
from pneumonia.writing import short

PREDICTION_COLUMNS = ("file", "split", "label", "patient", "group", *SUBGROUPS, "probability", "predicted")


def tabulate(index: pd.DataFrame, split: pd.Series, probability: NDArray[np.float64]) -> pd.DataFrame:
    """Put the probabilities beside what is known of their images; `predicted` comes with `predict`.

    Probabilities are made `short` here, before anything is computed of them, so that every metric can be
    recomputed from the written table to the last digit.

    Args:
        index: rows of the index table, only those that were predicted.
        split: val or test, of the same rows.
        probability: float (N,), of pneumonia.

    Raises:
        UserError: a probability is not finite, as a network gives whose training diverged.
    """
    require_numbers(probability)
    known = index[["file", "label", "patient", "group"]].join(subgroups_of(index))
    table = known.reset_index(drop=True)
    table["split"] = split.to_numpy()
    table["probability"] = [short(value) for value in probability.tolist()]
    return table[[name for name in PREDICTION_COLUMNS if name != "predicted"]]


def require_numbers(said: NDArray[np.float64]) -> None:
    """Refuse probabilities or logits that are not finite.

    Raises:
        UserError: there are some.
    """
    if not np.isfinite(said).all():
        raise UserError(
            "The network gives probabilities that are not numbers, so its training has diverged; "
            "lower lr in params.yaml, or set gradient_clip."
        )


def predict(table: pd.DataFrame, threshold: float) -> pd.DataFrame:
    """Add the column predicted: pneumonia where probability >= threshold, else normal."""
    positive = table["probability"].to_numpy() >= threshold
    return table.assign(predicted=np.where(positive, CLASSES[1], CLASSES[0]))


def as_positive(label: pd.Series) -> NDArray[np.int64]:
    """Labels as numbers: 1 for pneumonia, 0 for normal; int64 (N,)."""
    return np.asarray(label == CLASSES[1], dtype=np.int64)


def read_predictions(path: Path) -> pd.DataFrame:
    """Read predictions.csv with the very numbers that were written."""
    table = pd.read_csv(path, dtype="str", keep_default_na=False)
    # The parser of numbers in older pandas is fast and can be wrong in the last bit; Python's never is.
    return table.assign(probability=table["probability"].map(float))
