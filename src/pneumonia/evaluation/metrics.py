"""Metrics of labels and probabilities at a threshold."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    brier_score_loss,
    confusion_matrix,
    f1_score,
    log_loss,
    precision_score,
    recall_score,
    roc_auc_score,
)

SMALLEST_PROBABILITY = 1e-7

Metric = int | float | dict[str, int]


def point_metrics(
    label: NDArray[np.int64], probability: NDArray[np.float64], threshold: float, bins: int
) -> dict[str, Metric]:
    """All metrics without intervals.

    Positive is pneumonia; predicted positive is probability >= threshold.

    Args:
        label: (N,), 1 for pneumonia, 0 for normal.
        probability: (N,), of pneumonia, 0..1.
        threshold: of the probability.
        bins: of the calibration error.

    Returns:
        Always: n, threshold, accuracy, precision, f1, brier, ece, confusion (tn, fp, fn, tp), and
        loss, the binary cross entropy in nats of probabilities clipped to [1e-7, 1 - 1e-7], so that one
        confident mistake costs 16 and not infinity. precision and f1 are 0 where they would be 0 / 0
        (scikit-learn's zero_division=0).
        With pneumonia images: sensitivity, and the same as accuracy_pneumonia.
        With normal images: specificity, and the same as accuracy_normal.
        With both: balanced_accuracy, auroc, auprc (average precision). Without, the key is left out:
        a made-up value would be read, and null is nothing that `dvc metrics diff` can compare.

    Raises:
        ValueError: there is no image, or labels or probabilities are out of their range or not finite.
    """
    require_valid(label, probability)
    predicted = (probability >= threshold).astype(np.int64)
    clipped = np.clip(probability, SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY)
    tn, fp, fn, tp = confusion_matrix(label, predicted, labels=[0, 1]).ravel().tolist()
    metrics: dict[str, Metric] = {
        "n": len(label),
        "threshold": threshold,
        "loss": float(log_loss(label, clipped, labels=[0, 1])),
        "accuracy": float(accuracy_score(label, predicted)),
        "precision": float(precision_score(label, predicted, zero_division=0)),
        "f1": float(f1_score(label, predicted, zero_division=0)),
        "brier": float(brier_score_loss(label, probability)),
        "ece": expected_calibration_error(label, probability, bins),
        "confusion": {"tn": tn, "fp": fp, "fn": fn, "tp": tp},
    }
    if tp + fn:
        sensitivity = float(recall_score(label, predicted))
        metrics |= {"sensitivity": sensitivity, "accuracy_pneumonia": sensitivity}
    if tn + fp:
        specificity = float(recall_score(label, predicted, pos_label=0))
        metrics |= {"specificity": specificity, "accuracy_normal": specificity}
    if tp + fn and tn + fp:
        metrics |= {
            "balanced_accuracy": (sensitivity + specificity) / 2,
            "auroc": float(roc_auc_score(label, probability)),
            "auprc": float(average_precision_score(label, probability)),
        }
    return metrics


def expected_calibration_error(
    label: NDArray[np.int64], probability: NDArray[np.float64], bins: int
) -> float:
    """Mean distance between predicted probability and observed frequency of pneumonia, over equal bins.

    sum over bins of n_bin / N * |mean probability - fraction of pneumonia|: Naeini, Cooper and
    Hauskrecht, "Obtaining Well Calibrated Probabilities Using Bayesian Binning", AAAI 2015, of the
    positive class; Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, take the
    probability of the predicted class instead.
    """
    table = calibration_bins(label, probability, bins)
    distance = (table["predicted"] - table["observed"]).abs()
    return float((distance * table["n"]).sum() / table["n"].sum())


def calibration_bins(label: NDArray[np.int64], probability: NDArray[np.float64], bins: int) -> pd.DataFrame:
    """Group by probability into bins of equal width, [0, 1/B], (1/B, 2/B], ..., as scikit-learn does.

    Returns:
        A row a bin that has images, ascending: predicted (mean probability), observed (fraction of
        pneumonia), n.
    """
    inner_edges = np.linspace(0, 1, bins + 1)[1:-1]
    images = pd.DataFrame({"predicted": probability, "observed": label})
    grouped = images.groupby(np.searchsorted(inner_edges, probability))
    return grouped.mean().assign(n=grouped.size()).reset_index(drop=True)


def require_valid(label: NDArray[np.int64], probability: NDArray[np.float64]) -> None:
    """Check what every metric takes for granted.

    Raises:
        ValueError: shapes differ, there is no image, a label is not 0 or 1, a probability not in 0..1.
    """
    if label.ndim != 1 or label.shape != probability.shape:
        raise ValueError(
            f"expected label and probability of one shape (N,), got {label.shape}, {probability.shape}"
        )
    if len(label) == 0:
        raise ValueError("metrics need at least one image")
    if not np.isin(label, (0, 1)).all():
        raise ValueError("labels must be 0 or 1")
    if not ((probability >= 0) & (probability <= 1)).all():
        raise ValueError("probabilities must be numbers from 0 to 1")
