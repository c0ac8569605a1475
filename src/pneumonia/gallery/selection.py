"""Which images of the test set the gallery shows."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Kind = Literal["false_negatives", "false_positives", "borderline"]

KINDS: tuple[Kind, ...] = ("false_negatives", "false_positives", "borderline")

TITLES: dict[Kind, str] = {
    "false_negatives": "Missed pneumonia (false negatives)",
    "false_positives": "False alarms (false positives)",
    "borderline": "Nearest to the threshold",
}

# Probabilities come rounded to six digits; half a unit of the last digit keeps the logit of 0 and 1 finite.
HALF_DIGIT = 5e-7


@dataclass(frozen=True, slots=True)
class Selection:
    """Some rows of the predictions, in the order in which they are shown."""

    kind: Kind
    rows: pd.DataFrame
    """Rows of the predictions with their index labels."""
    total: int
    """How many images these are chosen from: all the failures of the kind; for borderline the test set."""
    threshold: float
    """From which probability on an image is called pneumonia."""


def select(predictions: pd.DataFrame, threshold: float, worst: int, borderline: int) -> list[Selection]:
    """Choose the worst failures of either kind and the images nearest to the threshold.

    Nearest is measured in log odds, the network's own scale. In probabilities, with a threshold of 0.97,
    the surest positive (1.00) would count as nearer than a doubtful 0.93.

    Args:
        predictions: columns split, file, label, probability and predicted; only rows of `test` are used.
        threshold: from which probability on an image is called pneumonia, 0 to 1.
        worst: how many false negatives (lowest probability first) and false positives (highest first).
        borderline: how many images nearest to the threshold, whether right or wrong (nearest first).

    Returns:
        One selection each in the order of KINDS. Ties are broken by `file`.
    """
    test = predictions[predictions["split"] == "test"].sort_values("file")
    missed = test[(test["label"] == "pneumonia") & (test["predicted"] == "normal")]
    alarms = test[(test["label"] == "normal") & (test["predicted"] == "pneumonia")]
    distance = pd.Series(_logit(test["probability"].to_numpy()) - _logit(np.array(threshold)), test.index)
    nearest = distance.abs().round(9).sort_values(kind="stable").index
    chosen: dict[Kind, tuple[pd.DataFrame, int]] = {
        "false_negatives": (missed.sort_values("probability", kind="stable").head(worst), len(missed)),
        "false_positives": (
            alarms.sort_values("probability", ascending=False, kind="stable").head(worst),
            len(alarms),
        ),
        "borderline": (test.loc[nearest].head(borderline), len(test)),
    }
    return [Selection(kind, *chosen[kind], threshold) for kind in KINDS]


def _logit(probability: NDArray[np.float64]) -> NDArray[np.float64]:
    clipped = np.clip(probability, HALF_DIGIT, 1 - HALF_DIGIT)
    logit: NDArray[np.float64] = np.log(clipped / (1 - clipped))
    return logit
