"""A checkout in which all stages have run, and what MLflow has of it."""

import json
from pathlib import Path
from typing import Any

from pneumonia import paths
from pneumonia.network.build import build
from pneumonia.network.description import NetworkDescription
from pneumonia.network.weights import save_weights
from pneumonia.params import Params
from pneumonia.tracking import record, store

CLOSED_PORT = "http://127.0.0.1:9"
SIZE = 32
HISTORY = "epoch,lr,val_auroc\n1,0.001,0.6\n2,0.0005,0.7\n3,0.0001,\n"


def make_weights(folder: Path) -> bytes:
    description = NetworkDescription(arch="test_resnet", outputs=2, size=SIZE, mean=0.5, std=0.25)
    save_weights(folder / "model.safetensors", build("test_resnet", 2, SIZE), description)
    return (folder / "model.safetensors").read_bytes()


def write_checkout(folder: Path, weights: bytes) -> None:
    contents = {
        Path("src/pneumonia/code.py"): "x = 1\n",
        Path("stages/train.py"): "",
        paths.IMAGES: "images",
        paths.INDEX: "file\na.dcm\n",
        paths.SPLIT: "file,split\na.dcm,train\n",
        paths.DATA_REPORT: json.dumps({"images": {"train": {"total": 3}}, "archive_sha256": "00ff"}),
        paths.HISTORY: HISTORY,
        paths.TRAIN_METRICS: json.dumps({"best_epoch": 2, "val_auroc": 0.7, "precision": "bf16"}),
        paths.EVALUATE_METRICS: json.dumps({"test": {"auroc": 0.9, "confusion": {"tn": 4}}}),
        paths.SUBGROUPS: json.dumps({"val": {}, "test": {"sex": {"F": {"n": 4}}}}),
        paths.CURVES / "roc.csv": "x",
        paths.MODEL_CARD: json.dumps({"classes": ["normal", "pneumonia"], "size": SIZE, "threshold": 0.5}),
        paths.GALLERY / "false_negatives.png": "x",
        paths.REPORT: "<html>",
    }
    for path, text in contents.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    (folder / paths.WEIGHTS).parent.mkdir(exist_ok=True)
    (folder / paths.WEIGHTS).write_bytes(weights)


def train(checkout: Path, params: Params) -> None:
    with record.track_training(checkout, params) as log:
        log.log_epoch(1, {"lr": 0.001, "val_auroc": 0.60000004})
        log.log_epoch(2, {"lr": 0.0005, "val_auroc": 0.7})


def runs(root: Path) -> list[Any]:
    """All runs of the test's experiment, oldest first."""
    opened = store.open_store(root)
    return list(opened.client.search_runs([opened.experiment_id], order_by=["attributes.start_time"]))


def artifacts(root: Path, run: Any) -> list[str]:
    folder = root / store.ARTIFACTS / run.info.run_id / "artifacts"
    return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
