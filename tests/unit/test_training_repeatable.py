"""What training may not depend on, and what it may not go on with."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pneumonia.errors import UserError
from pneumonia.network.device import choose_compute
from pneumonia.params import Training, load_params
from pneumonia.training.loop import TrainingData, train
from pneumonia.training.objective import Objective

SMALL: dict[str, Any] = {
    "arch": "test_resnet",
    "epochs": 1,
    "warmup_epochs": 0,
    "batch_size": 8,
    "precision": "fp32",
    "device": "cpu",
    "threads": 1,
}


def training(**values: Any) -> Training:
    return load_params(Path(__file__).parents[2] / "params.yaml").training.model_copy(
        update={**SMALL, **values}
    )


@pytest.fixture(scope="module")
def data() -> TrainingData:
    labels = np.arange(48) % 2
    images = np.random.default_rng(0).integers(0, 256, (48, 32, 32), dtype=np.uint8)
    rows = np.arange(48)
    return TrainingData(images, rows[:32], labels[:32], rows[32:], labels[32:], mean=0.5, std=0.3)


def weights(params: Training, data: TrainingData) -> bytes:
    state = train(params, data, Path()).module.state_dict()
    return b"".join(tensor.numpy().tobytes() for tensor in state.values())


def test_the_parameter_fixes_the_threads_not_the_machine(data: TrainingData) -> None:
    """PyTorch starts with as many threads as there are cores, or as OMP_NUM_THREADS says."""
    found = set()
    for of_the_machine in (1, 3):
        torch.set_num_threads(of_the_machine)
        found.add(weights(training(threads=1), data))
    assert len(found) == 1


@pytest.mark.parametrize("deterministic", [True, False])
def test_the_parameter_reaches_the_trainer(data: TrainingData, deterministic: bool) -> None:
    seen = []
    train(
        training(deterministic=deterministic),
        data,
        Path(),
        on_epoch=lambda *_: seen.append(
            (torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark)
        ),
    )
    choose_compute("cpu", "fp32", 1, deterministic=True)
    assert seen == [(deterministic, not deterministic)]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_the_first_loss_that_is_no_number_stops_with_epoch_batch_and_rate(
    data: TrainingData, monkeypatch: pytest.MonkeyPatch, precision: str, value: str
) -> None:
    compute_loss = Objective.forward
    calls: list[Tensor] = []

    def forward(self: Objective, outputs: Tensor, labels: Tensor) -> Tensor:
        calls.append(outputs)
        # Four batches of training and two of validation, then the third batch of the second epoch.
        return compute_loss(self, outputs, labels) + (float(value) if len(calls) == 9 else 0)

    monkeypatch.setattr(Objective, "forward", forward)
    sentence = rf"the loss became {value} in epoch 1, batch 2, at a learning rate of 0\.002\b.*Lower lr"
    with pytest.raises(UserError, match=sentence):
        train(training(epochs=3, schedule="constant", lr=0.002, precision=precision), data, Path())
    assert len(calls) == 9


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_rate_that_is_too_high_ends_in_that_sentence(data: TrainingData, precision: str) -> None:
    diverging = training(
        arch="test_vit",
        epochs=20,
        lr=10.0,
        optimizer="sgd",
        schedule="constant",
        gradient_clip=0.0,
        precision=precision,
    )
    with pytest.raises(UserError, match=r"diverged.*epoch \d+, batch \d+, at a learning rate of 10\b"):
        train(diverging, data, Path())
