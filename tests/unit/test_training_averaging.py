"""The moving average of the weights: its values, and that it is what is validated and kept."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training_examples import small_data, training

from pneumonia.network.predict import predict
from pneumonia.training import loop
from pneumonia.training.averaging import AverageWeights, warmed_up
from pneumonia.training.loop import Trained, TrainingData, train

BATCHES = 4  # an epoch
DECAY = 0.7

Weights = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def data() -> TrainingData:
    return small_data()


def test_the_memory_is_short_at_first_and_the_decay_asked_for_in_the_end() -> None:
    assert warmed_up(0.999, 0) == 0
    assert warmed_up(0.999, 7) == pytest.approx(0.75)  # 8 to the power of -2/3 is 1/4
    assert warmed_up(0.5, 7) == 0.5
    assert warmed_up(0.999, 10**6) == 0.999


def train_and_watch(data: TrainingData, root: Path, **values: Any) -> tuple[Trained, list[Weights]]:
    """Train; also the weights after every step."""
    steps: list[Weights] = []

    class Watched(AverageWeights):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, *arguments: Any) -> None:
            super().on_train_batch_end(trainer, pl_module, *arguments)
            steps.append({name: tensor.clone() for name, tensor in pl_module.network.state_dict().items()})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "AverageWeights", Watched)
        return train(training(average_weights=DECAY, **values), data, root), steps


def averaged(steps: list[Weights]) -> Weights:
    """The formula, in double precision; counts of batches are the last ones."""
    average = steps[0]
    for number, weights in enumerate(steps[1:], start=1):
        decay = min(DECAY, 1 - (1 + number) ** (-2 / 3))
        average = {
            name: decay * average[name].double() + (1 - decay) * tensor.double()
            if tensor.is_floating_point()
            else tensor
            for name, tensor in weights.items()
        }
    return average


@pytest.mark.parametrize("values", [{}, {"finetune": "head_then_all", "head_epochs": 1}])
def test_what_is_kept_is_the_average_over_the_steps(
    data: TrainingData, tmp_path: Path, values: dict[str, Any]
) -> None:
    trained, steps = train_and_watch(data, tmp_path, epochs=3, monitor="val_loss", **values)
    assert len(steps) == 3 * BATCHES
    steps = steps[: BATCHES * (trained.best_epoch + 1)]
    kept = trained.module.state_dict()
    for name, expected in averaged(steps).items():
        np.testing.assert_allclose(kept[name].double(), expected, atol=1e-6, err_msg=name)
    assert any(not torch.allclose(kept[name], tensor, atol=1e-4) for name, tensor in steps[-1].items())


def test_what_is_kept_is_what_was_validated(data: TrainingData, tmp_path: Path) -> None:
    trained, _ = train_and_watch(data, tmp_path, epochs=3)
    best = trained.history[trained.best_epoch]
    probability = predict(trained.module, trained.description, data.images, data.val_rows, trained.compute)
    right = np.where(data.val_labels == 1, probability, 1 - probability)
    assert -np.log(right).mean() == pytest.approx(best["val_loss"], rel=1e-4)


def test_training_goes_on_with_the_weights_as_they_are(data: TrainingData, tmp_path: Path) -> None:
    """The average changes what is validated, and nothing of what is trained."""
    plain = train(training(), data, tmp_path)
    trained, _ = train_and_watch(data, tmp_path)
    assert [epoch["train_loss"] for epoch in trained.history] == [
        epoch["train_loss"] for epoch in plain.history
    ]
    assert trained.history != plain.history
