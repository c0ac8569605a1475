"""The tables behind the curves, for `dvc plots` and the report."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve, roc_curve

from pneumonia.evaluation.metrics import calibration_bins
from pneumonia.evaluation.predictions import as_positive

MOST_ROWS = 1000
ABOVE_ALL = 1.000001
"""Threshold at which nothing is predicted positive: finite, and above every probability."""
GRID = np.arange(101) / 100


def curves(predictions: pd.DataFrame, bins: int) -> dict[str, pd.DataFrame]:
    """All tables of plots/curves by file name without ending.

    Args:
        predictions: columns split, label, probability, predicted.
        bins: of the calibration curve.

    Returns:
        roc, precision_recall, calibration, confusion of the test split; thresholds of validation.
    """
    test = predictions[predictions["split"] == "test"]
    val = predictions[predictions["split"] == "val"]
    label, probability = as_positive(test["label"]), test["probability"].to_numpy()
    return {
        "roc": roc(label, probability),
        "precision_recall": precision_recall(label, probability),
        "calibration": calibration_bins(label, probability, bins),
        "confusion": confusion(test),
        "thresholds": thresholds(as_positive(val["label"]), val["probability"].to_numpy()),
    }


def roc(label: NDArray[np.int64], probability: NDArray[np.float64]) -> pd.DataFrame:
    """False and true positive rate from (0, 0) to (1, 1), with the threshold of each point.

    Points on straight pieces are left out; of more than 1,000 corners those are kept that divide the
    curve evenly. No rows where a class has no image.
    """
    columns = ["false_positive_rate", "true_positive_rate", "threshold"]
    if not _has_both(label):
        return pd.DataFrame(columns=columns, dtype=float)
    false_rate, true_rate, threshold = roc_curve(label, probability)
    threshold[0] = ABOVE_ALL  # scikit-learn: infinity
    return _thin(pd.DataFrame(dict(zip(columns, (false_rate, true_rate, threshold), strict=True))))


def precision_recall(label: NDArray[np.int64], probability: NDArray[np.float64]) -> pd.DataFrame:
    """Recall from 0 to 1 and the precision there; (0, 1), where nothing is predicted, is the first point.

    Thinned like `roc`; no rows where a class has no image.
    """
    columns = ["recall", "precision", "threshold"]
    if not _has_both(label):
        return pd.DataFrame(columns=columns, dtype=float)
    precision, recall, threshold = precision_recall_curve(label, probability, drop_intermediate=True)
    threshold = np.append(threshold, ABOVE_ALL)
    points = dict(zip(columns, (recall[::-1], precision[::-1], threshold[::-1]), strict=True))
    return _thin(pd.DataFrame(points))


def confusion(predictions: pd.DataFrame) -> pd.DataFrame:
    """The class names actual and predicted, one row an image, as the confusion template of DVC wants."""
    return pd.DataFrame(
        {"actual": predictions["label"].to_numpy(), "predicted": predictions["predicted"].to_numpy()}
    )


def thresholds(label: NDArray[np.int64], probability: NDArray[np.float64]) -> pd.DataFrame:
    """What each threshold would give: sensitivity, specificity, precision, accuracy.

    At 0.00, 0.01, ..., and at the scores where the ROC curve has its corners, ascending. It ends with the
    highest score: above it nothing is predicted positive, and precision is not defined. No rows where a
    class has no image.
    """
    columns = ["threshold", "sensitivity", "specificity", "precision", "accuracy"]
    if not _has_both(label):
        return pd.DataFrame(columns=columns, dtype=float)
    corners = roc(label, probability)["threshold"].to_numpy()[1:]
    threshold = np.unique(np.concatenate([GRID, corners]))
    threshold = threshold[threshold <= probability.max()]
    positive, negative = np.sort(probability[label == 1]), np.sort(probability[label == 0])
    true_positives = len(positive) - np.searchsorted(positive, threshold)
    true_negatives = np.searchsorted(negative, threshold)
    predicted_positive = true_positives + len(negative) - true_negatives
    values = (
        threshold,
        true_positives / len(positive),
        true_negatives / len(negative),
        true_positives / predicted_positive,
        (true_positives + true_negatives) / len(label),
    )
    return pd.DataFrame(dict(zip(columns, values, strict=True)))


def _has_both(label: NDArray[np.int64]) -> bool:
    return 0 in label and 1 in label


def _thin(points: pd.DataFrame) -> pd.DataFrame:
    """Keep at most MOST_ROWS points of a curve (first two columns), both ends among them.

    Evenly by the way along the axes, so that no point is further from a kept one than 1/1000 of the
    curve's length: steep pieces keep as many points as flat ones.
    """
    if len(points) <= MOST_ROWS:
        return points
    steps = points.iloc[:, :2].diff().abs().sum(axis=1).to_numpy()  # the first, NaN, sums to 0
    way = steps.cumsum()
    kept = np.unique(np.searchsorted(way, np.linspace(0, way[-1], MOST_ROWS)))
    return points.iloc[kept].reset_index(drop=True)
