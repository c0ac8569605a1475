"""Metrics of one split, of each of its groups, and by sex, age and view."""

from typing import Any

import pandas as pd

from pneumonia.errors import UserError
from pneumonia.evaluation.intervals import patient_intervals
from pneumonia.evaluation.metrics import point_metrics
from pneumonia.evaluation.predictions import as_positive
from pneumonia.evaluation.subgroups import SUBGROUPS, UNKNOWN
from pneumonia.params import Evaluate

UNNAMED = "unnamed"  # images without a group


def evaluate(predictions: pd.DataFrame, threshold: float, settings: Evaluate) -> dict[str, Any]:
    """Everything in metrics/evaluate.json.

    Args:
        predictions: columns split (val, test), label, patient, group, probability.
        threshold: of the probability.
        settings: number and seed of resamples, bins of the calibration error.

    Returns:
        {"val": ..., "test": ..., "groups": {"val": {group: ...}, "test": ...}}; see `split_metrics` and
        `group_metrics`.

    Raises:
        UserError: there is no image of val or of test.
    """
    parts = {name: predictions[predictions["split"] == name] for name in ("val", "test")}
    for name, part in parts.items():
        if part.empty:
            raise UserError(f"The {name} split has no image to evaluate; run `dvc repro split`.")
    return {
        **{name: split_metrics(part, threshold, settings) for name, part in parts.items()},
        "groups": {name: group_metrics(part, threshold, settings) for name, part in parts.items()},
    }


def evaluate_subgroups(predictions: pd.DataFrame, threshold: float, settings: Evaluate) -> dict[str, Any]:
    """Everything in data/predictions/subgroups.json, a file of its own to keep `dvc metrics diff` short.

    Args:
        predictions: as of `evaluate`, with the columns of SUBGROUPS.
        threshold: of the probability.
        settings: number and seed of resamples, bins of the calibration error.

    Returns:
        {"val": {"sex": {"F": ...}}, "test": ...}, see `subgroup_metrics`; empty where no header says a thing.
    """
    parts = ((name, predictions[predictions["split"] == name]) for name in ("val", "test"))
    return {name: subgroup_metrics(part, threshold, settings) for name, part in parts}


def split_metrics(predictions: pd.DataFrame, threshold: float, settings: Evaluate) -> dict[str, Any]:
    """Point metrics, and for accuracy, auroc, sensitivity, specificity also <name>_ci95 {low, high}."""
    label = as_positive(predictions["label"])
    probability = predictions["probability"].to_numpy()
    metrics = point_metrics(label, probability, threshold, settings.calibration_bins)
    intervals = patient_intervals(
        label, probability, predictions["patient"].to_numpy(), threshold, settings.bootstrap, settings.seed
    )
    return {**metrics, **{f"{name}_ci95": interval for name, interval in intervals.items()}}


def group_metrics(predictions: pd.DataFrame, threshold: float, settings: Evaluate) -> dict[str, Any]:
    """Of each group, in the order of their names: n, patients, and what its images allow.

    A group with both classes has accuracy, sensitivity, specificity and auroc. In a group of one class
    accuracy is sensitivity or specificity, and goes by that name alone. Each with its <name>_ci95.
    """
    named = predictions["group"].replace("", UNNAMED)
    return {name: _of_group(part, threshold, settings) for name, part in predictions.groupby(named)}


def subgroup_metrics(
    predictions: pd.DataFrame, threshold: float, settings: Evaluate
) -> dict[str, dict[str, Any]]:
    """Of each column of SUBGROUPS that is known of an image, each of its words, as `group_metrics`.

    Each with `pneumonia`, its images of that class, too: on RSNA, say, most of them are AP films, so a
    network that told the view alone would seem to know the disease.
    """
    metrics: dict[str, dict[str, Any]] = {}
    for column in SUBGROUPS:
        if predictions[column].any():
            words = predictions[column].replace("", UNKNOWN)
            metrics[column] = {
                word: {
                    **_of_group(part, threshold, settings),
                    "pneumonia": int(as_positive(part["label"]).sum()),
                }
                for word, part in predictions.groupby(words)
            }
    return metrics


def _of_group(predictions: pd.DataFrame, threshold: float, settings: Evaluate) -> dict[str, Any]:
    metrics = split_metrics(predictions, threshold, settings)
    names = ["sensitivity", "specificity"]
    if "auroc" in metrics:
        names += ["accuracy", "auroc"]
    kept = [key for name in names for key in (name, f"{name}_ci95") if key in metrics]
    return {
        "n": metrics["n"],
        "patients": predictions["patient"].nunique(),
        **{key: metrics[key] for key in kept},
    }
