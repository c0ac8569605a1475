"""A made-up run for the tests of the gallery and the report."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pneumonia.gallery.cases import Case, Gallery
from pneumonia.gallery.figures import Curves
from pneumonia.gallery.selection import KINDS
from pneumonia.params import Params, load_params

SIDE = 32
PARAMS: Params = load_params(Path(__file__).parents[2] / "params.yaml")


def case(**changes: Any) -> Case:
    """A false negative with a map."""
    image = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE), np.uint8)
    fields: dict[str, Any] = {
        "file": "test/PNEUMONIA/person1_virus_6.jpeg",
        "label": "pneumonia",
        "group": "viral",
        "predicted": "normal",
        "probability": 0.125,
        "image": image,
        "overlay": np.stack([image, image // 2, image // 3], axis=2),
        "has_evidence": True,
    }
    return Case(**fields | changes)


def gallery(cases: list[Case], kind: str = "false_negatives", **changes: Any) -> Gallery:
    """A gallery of all there are."""
    fields: dict[str, Any] = {"kind": kind, "cases": cases, "total": len(cases), "threshold": 0.4}
    return Gallery(**fields | changes)


def galleries(*cases: Case) -> list[Gallery]:
    """The same cases in each kind of gallery."""
    return [gallery(list(cases), kind) for kind in KINDS]


def split_metrics(accuracy: float, auroc: float) -> dict[str, Any]:
    """The part of metrics/evaluate.json for a split; the intervals reach 0.02 to either side."""
    values = {
        "accuracy": accuracy,
        "auroc": auroc,
        "sensitivity": 0.9,
        "specificity": 0.7,
    }
    intervals = {
        f"{name}_ci95": {"low": value - 0.02, "high": min(1, value + 0.02)} for name, value in values.items()
    }
    others = {"balanced_accuracy": 0.8, "auprc": 0.95, "precision": 0.75, "f1": 0.818, "brier": 0.11}
    return {
        "n": 2000,
        "threshold": 0.4,
        "loss": 0.35,
        "ece": 0.04,
        "confusion": {"tn": 700, "fp": 300, "fn": 100, "tp": 900},
        **values,
        **intervals,
        **others,
    }


def report_inputs(**changes: Any) -> dict[str, Any]:
    """Every input of `write_report` but the path."""
    group = {"n": 1000, "patients": 800, "sensitivity": 0.9, "sensitivity_ci95": {"low": 0.88, "high": 0.92}}
    data = {
        "images": {
            **{
                split: {"normal": 1000, "pneumonia": 1000, "total": 2000}
                for split in ("train", "val", "test")
            },
            "excluded": 7,
            "total": 6007,
        },
        "patients": {
            "train": 1500,
            "val": 1501,
            "test": 1502,
            "total": 4505,
            "with_several_images": 321,
            "unknown": 0,
        },
        "groups": {"train": {"viral": 11}, "val": {"viral": 12}, "test": {"viral": 13, "bacterial": 14}},
        "duplicates": {
            "identical_files": {"groups": 2, "images": 5},
            "identical_pixels": {"groups": 3, "images": 8},
            "near_duplicates": {"groups": 4, "images": 9, "of_several_patients": 2},
            "contradicting_labels": 1,
            "kept_on_one_side": 4,
        },
        "rejected": {"total": 3, "not_an_image": 2, "too_large": 1},
        "mean": 0.5,
        "std": 0.25,
        "archive_sha256": "0123456789abcdef" * 4,
    }
    history = pd.DataFrame(
        {
            "epoch": [0, 1, 2],
            "train_loss": [0.7, 0.5, 0.4],
            "val_loss": [0.8, 0.4, 0.5],
            "train_accuracy": [0.6, 0.8, 0.9],
            "val_accuracy": [0.5, 0.9, 0.8],
            "val_auroc": [0.6, 0.95, 0.9],
        }
    )
    inputs: dict[str, Any] = {
        "metrics": {
            "val": split_metrics(0.8, 0.9),
            "test": split_metrics(0.8, 0.9),
            "groups": {"test": {"viral": group}},
        },
        "subgroups": {
            "val": {},
            "test": {"view": {"AP": group | {"pneumonia": 777}, "PA": group | {"pneumonia": 55}}},
        },
        "data": data,
        "training": {
            "best_epoch": 1,
            "epochs": 3,
            "parameters": 123456,
            "precision": "bf16",
            "device": "cpu",
        },
        "history": history,
        "curves": curves(),
        "galleries": galleries(case()),
        "params": PARAMS,
        "model_card": {
            "arch": "resnet18",
            "size": 224,
            "outputs": 2,
            "mean": 0.5,
            "std": 0.25,
            "threshold": 0.4,
            "threshold_rule": "youden",
        },
    }
    return inputs | changes


def curves() -> Curves:
    """Small curves with round corners."""
    return Curves(
        roc=pd.DataFrame({"false_positive_rate": [0, 0, 0.5, 1], "true_positive_rate": [0, 0.5, 1, 1]}),
        precision_recall=pd.DataFrame({"recall": [0, 0.5, 1], "precision": [1, 0.9, 0.5]}),
        calibration=pd.DataFrame({"predicted": [0.1, 0.9], "observed": [0.2, 0.8], "n": [100, 400]}),
        thresholds=pd.DataFrame(
            {"threshold": [0, 0.5, 1], "sensitivity": [1, 0.9, 0], "specificity": [0, 0.7, 1]}
        ),
    )
