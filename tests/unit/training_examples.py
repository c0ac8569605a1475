"""A small training: a few images that one can learn, a tiny network."""

from pathlib import Path
from typing import Any

import numpy as np

from pneumonia.params import Training, load_params
from pneumonia.training.loop import TrainingData

SMALL: dict[str, Any] = {
    "arch": "test_resnet",
    "epochs": 3,
    "warmup_epochs": 0,
    "batch_size": 16,
    "lr": 3e-3,
    "precision": "fp32",
    "device": "cpu",
    "threads": 1,
}


def training(**values: Any) -> Training:
    """Hyperparameters of the checkout, made small."""
    return load_params(Path(__file__).parents[2] / "params.yaml").training.model_copy(
        update={**SMALL, **values}
    )


STILL = training().augment.model_copy(
    update={
        "flip_horizontal": 0.0,
        "rotation": 0.0,
        "translation": 0.0,
        "scale": [1.0, 1.0],
        "brightness": 0.0,
        "contrast": 0.0,
    }
)
"""No augmentation."""


def small_data() -> TrainingData:
    """96 images; those of pneumonia have a bright square."""
    rng = np.random.default_rng(0)
    labels = np.arange(96) % 2
    images = rng.integers(0, 120, (96, 32, 32), dtype=np.uint8)
    images[labels == 1, 8:24, 8:24] += 130
    rows = np.arange(96)
    return TrainingData(images, rows[:64], labels[:64], rows[64:], labels[64:], mean=0.3, std=0.2)
