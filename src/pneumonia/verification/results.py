"""Whether the results files follow from the files that they were made of: recomputed, with the same library.

Not recomputed is what would need the network again (the probabilities, the loss of each epoch) or all pairs
of images (near-duplicates, and what they keep on one side of the split).
"""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pneumonia import paths
from pneumonia.evaluation.curves import curves
from pneumonia.evaluation.predictions import as_positive, predict, read_predictions
from pneumonia.evaluation.subgroups import SUBGROUPS, subgroups_of
from pneumonia.evaluation.summary import evaluate, evaluate_subgroups
from pneumonia.evaluation.threshold import choose_threshold
from pneumonia.nested import leaves
from pneumonia.params import load_params
from pneumonia.splitting.assign import Assignment
from pneumonia.splitting.report import data_report
from pneumonia.splitting.statistics import grey_statistics
from pneumonia.store import open_images
from pneumonia.verification.outcome import Outcome, differing, equal, read_results, readable, shown
from pneumonia.verification.separation import read_tables

TAKEN_FROM_INDEX = ("file", "split", "label", "patient", "group", *SUBGROUPS)
NOT_RECOUNTED = ("duplicates.near_duplicates", "duplicates.kept_on_one_side")
LOWER_IS_BETTER = ("val_loss",)


def check_predictions(root: Path) -> Outcome:
    """Compare what predictions.csv says of its images with index and split; the probabilities are its own."""
    predictions, (index, split) = _predictions(root), read_tables(root)
    known = index.assign(split=split, **subgroups_of(index))
    expected = known[split.isin(("val", "test"))].reset_index(drop=True)
    says = (str(paths.PREDICTIONS), "index and split")
    if list(predictions["file"]) != list(expected["file"]):
        return Outcome((f"{says[0]} does not list the val and test images of the split in their order",))
    differences = _differing_rows(predictions, expected[list(TAKEN_FROM_INDEX)], "file", says)
    return Outcome(tuple(differences), f"{len(predictions):,} images")


def check_evaluation(root: Path) -> Outcome:
    """Recompute threshold, classes, metrics/evaluate.json and subgroups.json from the predictions."""
    settings = load_params(root / "params.yaml").evaluate
    predictions = _predictions(root)
    with readable(paths.PREDICTIONS):
        threshold = _threshold(root, predictions)
        metrics = evaluate(predictions, threshold, settings)
        subgroups = evaluate_subgroups(predictions, threshold, settings)
    stated, stated_subgroups, card = (
        read_results(root / path) for path in (paths.EVALUATE_METRICS, paths.SUBGROUPS, paths.MODEL_CARD)
    )
    # From the logits, which nobody keeps: that both files say the same is what can be checked.
    metrics |= {"calibration": card["calibration"]} if "calibration" in card else {}
    differences = [
        *differing(stated, metrics, (str(paths.EVALUATE_METRICS), "the predictions")),
        *differing(stated_subgroups, subgroups, (str(paths.SUBGROUPS), "the predictions")),
    ]
    if not equal(card.get("threshold"), threshold):
        differences.append(
            f"the threshold is {shown(card.get('threshold'))} in {paths.MODEL_CARD}, {shown(threshold)} "
            "by the rule of params.yaml on the validation predictions"
        )
    wrong = predictions["predicted"] != predict(predictions, threshold)["predicted"]
    if wrong.any():
        differences.append(
            f"{wrong.sum():,} images are not predicted as their probability and the threshold say, the first "
            f"is {predictions.loc[wrong, 'file'].iloc[0]}"
        )
    return Outcome(tuple(differences), f"recomputed from {len(predictions):,} predictions")


def check_curves(root: Path) -> Outcome:
    """Recompute the tables of plots/curves from the predictions."""
    settings = load_params(root / "params.yaml").evaluate
    predictions = _predictions(root)
    with readable(paths.PREDICTIONS):
        tables = curves(predict(predictions, _threshold(root, predictions)), settings.calibration_bins)
    differences: list[str] = []
    for name, expected in tables.items():
        path = paths.CURVES / f"{name}.csv"
        with readable(path):
            stated = pd.read_csv(root / path)
        if list(stated) != list(expected) or len(stated) != len(expected):
            differences.append(f"{path} has other rows or columns than the curve of the predictions")
        else:
            differences += _differing_rows(stated, expected, None, (str(path), "the predictions"))
    return Outcome(
        tuple(differences), f"{len(tables)} tables recomputed from {len(predictions):,} predictions"
    )


def check_training(root: Path) -> Outcome:
    """Compare metrics/train.json with its row of plots/history.csv, and the row with the monitored metric."""
    params = load_params(root / "params.yaml")
    monitor = params.monitor
    stated = read_results(root / paths.TRAIN_METRICS)
    with readable(paths.HISTORY):
        history = pd.read_csv(root / paths.HISTORY).set_index("epoch")
        best = history[monitor].min() if monitor in LOWER_IS_BETTER else history[monitor].max()
    epoch = stated.get("best_epoch")
    if epoch not in history.index:
        return Outcome(
            (f"best_epoch is {epoch} in {paths.TRAIN_METRICS}; {paths.HISTORY} has no such epoch",)
        )
    row = history.loc[epoch]
    expected = {"epochs": len(history), **{name: float(row[name]) for name in history if name in stated}}
    says = (str(paths.TRAIN_METRICS), str(paths.HISTORY))
    differences = list(differing({name: stated.get(name) for name in expected}, expected, says))
    if params.keep == "last":
        if epoch != history.index[-1]:
            differences.append(
                f"best_epoch is {epoch} in {paths.TRAIN_METRICS}, not the last of {paths.HISTORY}, which "
                "params.yaml keeps"
            )
    elif not equal(float(row[monitor]), float(best)):
        differences.append(
            f"the best epoch is {epoch} in {paths.TRAIN_METRICS}, but {monitor} is {shown(float(best))} in "
            f"another row of {paths.HISTORY} and {shown(float(row[monitor]))} in this one"
        )
    return Outcome(tuple(differences), f"{len(history)} epochs")


def check_data_report(root: Path) -> Outcome:
    """Count metrics/data.json again from archive, images, index and split."""
    index, split = read_tables(root)
    stated = read_results(root / paths.DATA_REPORT)
    with readable(paths.REJECTED):
        rejected = pd.read_csv(root / paths.REJECTED, dtype=str, keep_default_na=False)
        reasons = rejected[["reason"]]
    with readable(paths.IMAGES):
        images = open_images(root / paths.IMAGES)
    statistics = grey_statistics(images, np.flatnonzero(split == "train"))
    # Of near-duplicates only copies are known here, and the stratification is taken as stated.
    index["near_duplicate"] = index["pixels_sha256"]
    assignment = Assignment(split, stated.get("stratified_by", {}))
    with (root / paths.RAW_ARCHIVE).open("rb") as archive:
        archive_sha256 = hashlib.file_digest(archive, "sha256").hexdigest()
    expected = data_report(index, assignment, reasons, statistics, archive_sha256)
    differences = [
        *differing(_recounted(stated), _recounted(expected), (str(paths.DATA_REPORT), "the data")),
        *differing(
            read_results(root / paths.STATISTICS),
            statistics._asdict(),
            (str(paths.STATISTICS), "the images"),
        ),
    ]
    return Outcome(
        tuple(differences), f"{len(index):,} images counted, the archive and the grey levels measured"
    )


def _predictions(root: Path) -> pd.DataFrame:
    with readable(paths.PREDICTIONS):
        predictions = read_predictions(root / paths.PREDICTIONS)
        return predictions[[*TAKEN_FROM_INDEX, "probability", "predicted"]]


def _recounted(report: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in leaves(report) if not key.startswith(NOT_RECOUNTED)}


def _threshold(root: Path, predictions: pd.DataFrame) -> float:
    val = predictions[predictions["split"] == "val"]
    settings = load_params(root / "params.yaml").evaluate
    return choose_threshold(as_positive(val["label"]), val["probability"].to_numpy(), settings)


def _differing_rows(
    stated: pd.DataFrame, expected: pd.DataFrame, name: str | None, says: tuple[str, str]
) -> Iterator[str]:
    """A sentence for each column that differs, with the number of rows and the first of them."""
    for column in expected:
        left, right = stated[column], expected[column].reset_index(drop=True)
        if pd.api.types.is_float_dtype(right):
            wrong = ~np.isclose(_numbers(left), right, rtol=1e-9, atol=1e-6)
        else:
            wrong = (left.astype(str) != right.astype(str)).to_numpy()
        if wrong.any():
            first = int(np.flatnonzero(wrong)[0])
            where = stated[name].iloc[first] if name else f"row {first + 1}"
            yield (
                f"{column} differs in {wrong.sum():,} rows, first in {where}: {_cell(left, first)} in "
                f"{says[0]}, {_cell(right, first)} by {says[1]}"
            )


def _numbers(column: pd.Series) -> Any:
    return pd.to_numeric(column, errors="coerce")


def _cell(column: pd.Series, row: int) -> str:
    value = column.iloc[row]
    return shown(float(value) if isinstance(value, float) else value)
