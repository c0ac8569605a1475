"""The threshold of the probability, chosen on the validation split."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumonia.classes import CLASSES
from pneumonia.errors import UserError
from pneumonia.evaluation.metrics import require_valid
from pneumonia.params import Evaluate
from pneumonia.writing import short

UNINFORMED = 0.5


def choose_threshold(label: NDArray[np.int64], probability: NDArray[np.float64], settings: Evaluate) -> float:
    """Apply the rule of params.yaml to the validation split; positive is probability >= threshold.

    Args:
        label: (N,), 1 for pneumonia, 0 for normal.
        probability: (N,), of pneumonia, 0..1.
        settings: threshold_rule and its threshold or sensitivity.

    Returns:
        fixed: the given number, `short` like the probabilities.
        youden, sensitivity: see `youden`, `highest_with_sensitivity`.

    Raises:
        UserError: validation lacks a class that the rule needs.
    """
    if settings.threshold_rule == "fixed":
        return short(settings.threshold)
    needed = (1,) if settings.threshold_rule == "sensitivity" else (0, 1)
    for number in needed:
        if number not in label:
            raise UserError(
                f"The validation split has no {CLASSES[number]} image, so evaluate.threshold_rule "
                f"{settings.threshold_rule} cannot choose a threshold; set it to fixed, or raise "
                "split.val_fraction."
            )
    require_valid(label, probability)
    if settings.threshold_rule == "sensitivity":
        return highest_with_sensitivity(label, probability, settings.sensitivity)
    return youden(label, probability)


def youden(label: NDArray[np.int64], probability: NDArray[np.float64]) -> float:
    """The threshold with the largest sensitivity + specificity - 1 (Youden, Cancer 1950).

    It lies midway between the two neighbouring scores, where it is likeliest to carry over to other
    images, rounded to four digits or as many as it takes to stay between them. Of several equally good
    gaps it takes the widest, of equally wide ones the highest. Where no gap is better than chance (all
    scores equal, or worse than guessing) it is 0.5.
    """
    score, rank = np.unique(probability, return_inverse=True)
    positive = np.bincount(rank, weights=label, minlength=len(score)).astype(np.int64)
    negative = np.bincount(rank, minlength=len(score)) - positive
    # Gap i lies between scores i and i + 1. In whole numbers, so that equally good gaps compare equal:
    # J = tp / P - fp / N, times P * N.
    true_positives = positive.sum() - positive.cumsum()[:-1]
    false_positives = negative.sum() - negative.cumsum()[:-1]
    informedness = true_positives * negative.sum() - false_positives * positive.sum()
    if informedness.max(initial=0) <= 0:
        return UNINFORMED
    best = np.flatnonzero(informedness == informedness.max())
    # Widths that are equal but for binary fractions tie.
    width = np.array([short(value) for value in score[best + 1] - score[best]])
    widest = best[width == width.max()][-1]
    return _midway(float(score[widest]), float(score[widest + 1]))


def chosen_by(rule: str, val: Mapping[str, Any]) -> str:
    """The rule of params.yaml, or "uninformed" where Youden's found nothing and 0.5 stands instead.

    Args:
        rule: evaluate.threshold_rule.
        val: metrics of validation at the threshold.
    """
    if rule != "youden":
        return rule
    tn, fp, fn, tp = (val["confusion"][name] for name in ("tn", "fp", "fn", "tp"))
    return rule if tp * (tn + fp) > fp * (tp + fn) else "uninformed"


def highest_with_sensitivity(
    label: NDArray[np.int64], probability: NDArray[np.float64], wanted: float
) -> float:
    """The highest threshold whose sensitivity is at least the wanted one: the score of a positive image."""
    descending = np.sort(probability[label == 1])[::-1]
    found = np.arange(1, len(descending) + 1) / len(descending)
    return float(descending[np.argmax(found >= wanted)])


def _midway(low: float, high: float) -> float:
    """A short number in (low, high], as near to the middle as its digits allow."""
    middle = (low + high) / 2
    for digits in range(4, 18):
        rounded = short(round(middle, digits))
        if low < rounded <= high:
            return rounded
    return high
