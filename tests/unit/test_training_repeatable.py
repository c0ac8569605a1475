"""What training may not depend on, and what it may not go on with."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from training_examples import small_data, training

from pneumonia.errors import UserError
from pneumonia.network.device import choose_compute
from pneumonia.params import Training
from pneumonia.training.loop import TrainingData, train
from pneumonia.training.objective import Objective


@pytest.fixture(scope="module")
def data() -> TrainingData:
    return small_data()


def weights(params: Training, data: TrainingData, root: Path) -> bytes:
    state = train(params, data, root).module.state_dict()
    return b"".join(tensor.numpy().tobytes() for tensor in state.values())


def test_the_parameter_fixes_the_threads_not_the_machine(data: TrainingData, tmp_path: Path) -> None:
    """PyTorch starts with as many threads as there are cores, or as OMP_NUM_THREADS says."""
    found = set()
    for of_the_machine in (1, 3):
        torch.set_num_threads(of_the_machine)
        found.add(weights(training(epochs=1, threads=1), data, tmp_path / f"{of_the_machine}"))
    assert len(found) == 1


@pytest.mark.parametrize("deterministic", [True, False])
def test_the_parameter_reaches_the_trainer(data: TrainingData, deterministic: bool, tmp_path: Path) -> None:
    seen = []
    train(
        training(epochs=1, deterministic=deterministic),
        data,
        tmp_path,
        on_epoch=lambda *_: seen.append(
            (torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark)
        ),
    )
    choose_compute("cpu", "fp32", 1, deterministic=True)
    assert seen == [(deterministic, not deterministic)]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_the_first_loss_that_is_no_number_stops_with_epoch_batch_and_rate(
    data: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str, value: str
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
        train(training(epochs=3, schedule="constant", lr=0.002, precision=precision), data, tmp_path)
    assert len(calls) == 9


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_rate_that_is_too_high_ends_in_that_sentence(
    data: TrainingData, tmp_path: Path, precision: str
) -> None:
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
        train(diverging, data, tmp_path)
