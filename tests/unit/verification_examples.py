"""A made-up checkout in which all stages have run, for the tests of its verification."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pneumonia import paths
from pneumonia.evaluation.curves import curves
from pneumonia.evaluation.predictions import as_positive, predict, tabulate
from pneumonia.evaluation.summary import evaluate, evaluate_subgroups
from pneumonia.evaluation.threshold import choose_threshold
from pneumonia.params import load_params
from pneumonia.split_table import write_split
from pneumonia.splitting.assign import assign
from pneumonia.splitting.report import data_report
from pneumonia.splitting.statistics import grey_statistics
from pneumonia.store import INDEX_COLUMNS, write_images
from pneumonia.writing import write_metrics, write_table

REPOSITORY = Path(__file__).parents[2]
COUNT, SIZE = 90, 16
ARCHIVE = b"an archive"


def write_checkout(root: Path) -> None:
    """Write what the stages hand to each other, by the library's own functions, for 90 images of noise."""
    text = (REPOSITORY / "params.yaml").read_text(encoding="utf-8")
    (root / "params.yaml").write_text(text.replace("bootstrap: 2000", "bootstrap: 100"), encoding="utf-8")
    params = load_params(root / "params.yaml")
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (COUNT, SIZE, SIZE), dtype=np.uint8)
    write_images(root / paths.IMAGES, images, SIZE)
    index = _index(root)
    rejected = pd.DataFrame({"file": ["bad.dcm"], "reason": ["too_small"]})
    rejected.to_csv(root / paths.REJECTED, index=False)
    (root / paths.RAW_ARCHIVE).parent.mkdir(parents=True)
    (root / paths.RAW_ARCHIVE).write_bytes(ARCHIVE)
    _write_split(root, index, images, rejected)
    _write_training(root)
    split = assign(index, params.split).split
    rows = np.flatnonzero(split.isin(("val", "test")))
    positive = (index["label"] == "pneumonia").to_numpy()[rows]
    probability = np.clip(rng.normal(0.35 + 0.3 * positive, 0.2), 0, 1)
    table = tabulate(index.iloc[rows], split.iloc[rows], probability)
    val = table[table["split"] == "val"]
    threshold = choose_threshold(as_positive(val["label"]), val["probability"].to_numpy(), params.evaluate)
    predictions = predict(table, threshold)
    write_table(root / paths.PREDICTIONS, predictions)
    write_metrics(root / paths.EVALUATE_METRICS, evaluate(predictions, threshold, params.evaluate))
    write_metrics(root / paths.SUBGROUPS, evaluate_subgroups(predictions, threshold, params.evaluate))
    for name, curve in curves(predictions, params.evaluate.calibration_bins).items():
        write_table(root / paths.CURVES / f"{name}.csv", curve)
    (root / paths.WEIGHTS).parent.mkdir()
    (root / paths.WEIGHTS).write_bytes(b"weights")
    (root / paths.MODEL_CARD).write_text(json.dumps({"threshold": threshold}), encoding="utf-8")


def change_json(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the values in a JSON file in place."""
    values = json.loads(path.read_text(encoding="utf-8"))
    change(values)
    path.write_text(json.dumps(values), encoding="utf-8")


def change_table(path: Path, change: Callable[[pd.DataFrame], pd.DataFrame | None]) -> None:
    """Change the cells, all of them text, of a CSV file; `change` works in place or returns a new table."""
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    changed = change(table)
    (table if changed is None else changed).to_csv(path, index=False, lineterminator="\n")


def _index(root: Path) -> pd.DataFrame:
    numbers = np.arange(COUNT)
    patients = numbers // 2
    columns: dict[str, Any] = {
        "file": [f"images/{n:03d}.png" for n in numbers],
        "label": np.where(patients % 5 < 2, "normal", "pneumonia"),
        "patient": [f"p{patient}" for patient in patients],
        "group": np.where(patients % 5 < 2, "normal", np.where(patients % 2, "bacterial", "viral")),
        "age": ["" if n % 7 == 0 else str(n) for n in numbers],
        "sex": np.where(patients % 3 == 0, "F", "M"),
        "view": np.where(patients % 4 == 0, "", "PA"),
        "sha256": [f"file{n}" for n in numbers],
        "pixels_sha256": [f"pixels{n}" for n in numbers],
        "phash": "0" * 16,
        "height": SIZE,
        "width": SIZE,
    }
    index = pd.DataFrame({name: columns.get(name, "") for name in INDEX_COLUMNS})
    index.to_csv(root / paths.INDEX, index=False, lineterminator="\n")
    return index.assign(near_duplicate=numbers)


def _write_split(root: Path, index: pd.DataFrame, images: np.ndarray, rejected: pd.DataFrame) -> None:
    assignment = assign(index, load_params(root / "params.yaml").split)
    statistics = grey_statistics(images, np.flatnonzero(assignment.split == "train"))
    write_split(root / paths.SPLIT, index, assignment.split)
    write_metrics(root / paths.STATISTICS, statistics._asdict())
    archive_sha256 = hashlib.sha256(ARCHIVE).hexdigest()
    report = data_report(index, assignment, rejected, statistics, archive_sha256)
    write_metrics(root / paths.DATA_REPORT, report)


def _write_training(root: Path) -> None:
    history = pd.DataFrame(
        {
            "epoch": [0, 1, 2],
            "lr": [1e-3, 1e-3, 1e-4],
            "train_loss": [0.7, 0.6, 0.5],
            "val_loss": [0.71, 0.61, 0.62],
            "val_auroc": [0.6, 0.8, 0.75],
        }
    )
    write_table(root / paths.HISTORY, history)
    best = {
        "best_epoch": 1,
        "epochs": 3,
        "device": "cpu",
        "train_loss": 0.6,
        "val_loss": 0.61,
        "val_auroc": 0.8,
    }
    write_metrics(root / paths.TRAIN_METRICS, best)
