"""Train the network on the training split; keep the epoch that is best on validation."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from pneumonia import paths
from pneumonia.classes import CLASSES
from pneumonia.network.device import deterministic_or_a_sentence
from pneumonia.network.weights import save_weights
from pneumonia.params import Params
from pneumonia.split_table import read_split
from pneumonia.store import open_images, read_index
from pneumonia.tracking.record import track_training
from pneumonia.training.loop import Trained, TrainingData
from pneumonia.training.loop import train as fit
from pneumonia.writing import write_metrics, write_table
from stages.entry import repository_root, run


def train(params: Params) -> None:
    """Write the best weights, the history of the epochs and the metrics of the best one."""
    data = read_training_data()
    with track_training(Path.cwd(), params) as log:
        with deterministic_or_a_sentence(params.arch):
            trained = fit(params.training, data, repository_root(), on_epoch=log.log_epoch)
        save_weights(paths.WEIGHTS, trained.module, trained.description)
        write_table(paths.HISTORY, pd.DataFrame(trained.history))
        write_metrics(paths.TRAIN_METRICS, summarise(trained))
    trained.states.remove()


def read_training_data() -> TrainingData:
    """Images and labels of training and validation; the test split is not looked at."""
    index = read_index(paths.INDEX)
    split = read_split(paths.SPLIT, index)
    labels = index["label"].map(CLASSES.index).to_numpy()
    train_rows, val_rows = (np.flatnonzero(split == name) for name in ("train", "val"))
    statistics = json.loads(paths.STATISTICS.read_text(encoding="utf-8"))
    return TrainingData(
        images=open_images(paths.IMAGES),
        train_rows=train_rows,
        train_labels=labels[train_rows],
        val_rows=val_rows,
        val_labels=labels[val_rows],
        mean=statistics["mean"],
        std=statistics["std"],
    )


def summarise(trained: Trained) -> dict[str, object]:
    """Metrics of the best epoch, and on what it was trained."""
    best = trained.history[trained.best_epoch]
    return {
        "best_epoch": trained.best_epoch,
        "epochs": len(trained.history),
        **{name: value for name, value in best.items() if name not in ("epoch", "lr")},
        "parameters": sum(parameter.numel() for parameter in trained.module.parameters()),
        "device": trained.compute.device.type,
        "precision": trained.compute.precision,
    }


if __name__ == "__main__":
    run(train)
