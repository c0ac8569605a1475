"""What training reads of the files of the earlier stages."""

import json
from pathlib import Path

import numpy as np

from pneumonia.classes import CLASSES
from pneumonia.split_table import read_split
from pneumonia.store import open_images, read_index
from pneumonia.training.loop import TrainingData


def read_training_data(index_file: Path, split_file: Path, statistics: Path, images: Path) -> TrainingData:
    """Images and labels of training and validation; the test split is not looked at.

    Raises:
        UserError: a file is there but holds something else.
    """
    index = read_index(index_file)
    split = read_split(split_file, index)
    labels = index["label"].map(CLASSES.index).to_numpy()
    train_rows, val_rows = (np.flatnonzero(split == name) for name in ("train", "val"))
    grey = json.loads(statistics.read_text(encoding="utf-8"))
    return TrainingData(
        images=open_images(images),
        train_rows=train_rows,
        train_labels=labels[train_rows],
        val_rows=val_rows,
        val_labels=labels[val_rows],
        mean=grey["mean"],
        std=grey["std"],
    )
