"""Bootstrap intervals that respect that images of one patient resemble each other."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
CELLS_AT_ONCE = 2**20  # of a resamples x images array of int64: 8 MiB

Interval = dict[str, float]


def patient_intervals(
    label: NDArray[np.int64],
    probability: NDArray[np.float64],
    patient: NDArray[np.object_],
    threshold: float,
    resamples: int,
    seed: int,
) -> dict[str, Interval]:
    """95 % percentile bootstrap intervals, resampling patients with all their images (Efron 1979).

    Images of one patient are not independent; resampling images would make intervals too narrow.
    Resamples without one of the classes are left out of the intervals that need it: sensitivity,
    specificity or auroc. The threshold is taken as given: that it was itself chosen on some split is no
    part of the interval.

    Args:
        label: (N,), 1 for pneumonia, 0 for normal.
        probability: (N,), of pneumonia.
        patient: (N,), equal for images of one patient.
        threshold: positive is probability >= threshold.
        resamples: how many; resample b draws P of P patients by the b-th `rng.integers(P, size=P)`,
            patients numbered in the order of their sorted names.
        seed: of `numpy.random.default_rng`.

    Returns:
        {metric: {"low", "high"}} of accuracy, auroc, sensitivity, specificity; without those for which
        there is no image of a class that they need.
    """
    names, code = np.unique(patient, return_inverse=True)
    positive, negative = label == 1, label == 0
    right = (probability >= threshold) == positive
    # Columns: positives, negatives, positives found, negatives found.
    tallies = np.stack(
        [
            np.bincount(code, weights=flag, minlength=len(names)).astype(np.int64)
            for flag in (positive, negative, positive & right, negative & right)
        ],
        axis=1,
    )
    ranking = _Ranking(label, probability, code)
    totals, concordant = [], []
    for counts in _resampled_counts(len(names), resamples, seed, max(1, CELLS_AT_ONCE // len(label))):
        totals.append(counts @ tallies)
        concordant.append(ranking.concordant_halves(counts))
    positives, negatives, true_positives, true_negatives = np.concatenate(totals).T
    ratios = {
        "accuracy": (true_positives + true_negatives, positives + negatives),
        "auroc": (np.concatenate(concordant), 2 * positives * negatives),
        "sensitivity": (true_positives, positives),
        "specificity": (true_negatives, negatives),
    }
    return {
        name: _percentiles(numerator[denominator > 0] / denominator[denominator > 0])
        for name, (numerator, denominator) in ratios.items()
        if denominator.any()
    }


def _resampled_counts(patients: int, resamples: int, seed: int, at_once: int) -> Iterator[NDArray[np.int64]]:
    """Yield how often each resample drew each patient: int64 (up to at_once, patients) arrays."""
    rng = np.random.default_rng(seed)
    for start in range(0, resamples, at_once):
        rows = min(at_once, resamples - start)
        drawn = rng.integers(patients, size=(rows, patients))
        drawn += np.arange(rows)[:, np.newaxis] * patients  # one bincount for all rows
        yield np.bincount(drawn.ravel(), minlength=rows * patients).reshape(rows, patients)


class _Ranking:
    """AUROC of weighted images, for many weightings at once.

    The AUROC is the chance that a positive image scores above a negative one, ties counting half (Hanley
    and McNeil, Radiology 1982). Negatives are sorted once; a weighting then needs the running sum of
    their weights, read off below and through the score of each positive.
    """

    def __init__(
        self, label: NDArray[np.int64], probability: NDArray[np.float64], code: NDArray[np.int64]
    ) -> None:
        negatives = np.flatnonzero(label == 0)
        negatives = negatives[np.argsort(probability[negatives])]
        positives = np.flatnonzero(label == 1)
        self.negative_patient, self.positive_patient = code[negatives], code[positives]
        self.below = np.searchsorted(probability[negatives], probability[positives], "left")
        self.through = np.searchsorted(probability[negatives], probability[positives], "right")

    def concordant_halves(self, counts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Twice the weight of the rightly ordered pairs: counts (R, P) of the patients -> (R,)."""
        running = np.zeros((len(counts), len(self.negative_patient) + 1), dtype=np.int64)
        np.cumsum(counts.take(self.negative_patient, axis=1), axis=1, out=running[:, 1:])
        halves = running.take(self.below, axis=1)
        halves += running.take(self.through, axis=1)
        halves *= counts.take(self.positive_patient, axis=1)
        total: NDArray[np.int64] = halves.sum(axis=1)
        return total


def _percentiles(values: NDArray[np.float64]) -> Interval:
    low, high = np.quantile(values, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return {"low": float(low), "high": float(high)}
