"""Calibration of the logits, fitted to the validation split."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from pneumonia.classes import CLASSES
from pneumonia.errors import UserError
from pneumonia.evaluation.predictions import require_numbers
from pneumonia.network.reading import Calibration
from pneumonia.writing import short

SLOPES = (0.01, 100.0)
"""The line must rise, else it would turn the order of the images round."""


def fit_calibration(
    label: NDArray[np.int64], logit: NDArray[np.float64], method: Literal["none", "temperature", "platt"]
) -> Calibration | None:
    """The line through which the logits say best how likely pneumonia is.

    temperature: a slope alone (Guo et al. 2017, arXiv 1706.04599). platt: slope and intercept (Platt 1999).
    Both minimise the cross entropy against Platt's targets, (n1 + 1) / (n1 + 2) and 1 / (n0 + 2), which are
    finite where labels of 1 and 0 would ask for an infinite slope: where no image is on the wrong side.

    Args:
        label: (N,), 1 for pneumonia, 0 for normal.
        logit: (N,), of the network.
        method: none for no calibration.

    Returns:
        The line, its numbers rounded as they are written; None for none.

    Raises:
        UserError: validation lacks a class; a logit is not finite.
    """
    if method == "none":
        return None
    require_numbers(logit)
    counts = np.bincount(label, minlength=2)
    if not counts.all():
        raise UserError(
            f"The validation split has no {CLASSES[int(counts.argmin())]} image, so evaluate.calibration "
            f"{method} cannot be fitted; set it to none, or raise split.val_fraction."
        )
    targets = np.where(label == 1, (counts[1] + 1) / (counts[1] + 2), 1 / (counts[0] + 2))
    # In steps of their own width, so that both numbers are of the same size in the search.
    width = max(float(np.std(logit)), 1e-6)
    scaled = logit / width

    def cross_entropy(line: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        z = line[0] * scaled + line[1]
        wrong = 1 / (1 + np.exp(-z.clip(-500, 500))) - targets
        return float(np.mean(np.logaddexp(0, z) - targets * z)), np.array(
            [np.mean(wrong * scaled), np.mean(wrong)]
        )

    intercepts = (None, None) if method == "platt" else (0.0, 0.0)
    slopes = (SLOPES[0] * width, SLOPES[1] * width)
    fit = minimize(
        cross_entropy,
        np.array([np.clip(1.0, *slopes), 0.0]),
        jac=True,
        method="L-BFGS-B",
        bounds=[slopes, intercepts],
        options={"ftol": 1e-14, "gtol": 1e-10},
    )
    return Calibration(slope=short(fit.x[0] / width), intercept=short(fit.x[1]))


def with_calibration(metrics: dict[str, Any], calibration: Calibration | None) -> dict[str, Any]:
    """What metrics/evaluate.json holds: the metrics, and the line where there is one."""
    return metrics if calibration is None else {**metrics, "calibration": calibration.model_dump()}
