"""Learning-rate range test: the loss while the rate grows exponentially, and the rate that it suggests.

Smith, "Cyclical Learning Rates for Training Neural Networks", WACV 2017, doi 10.1109/WACV.2017.58. Only the
training images are looked at, and no weights are kept.
"""

import math
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pandas as pd
from lightning.pytorch.callbacks import Callback
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from pneumonia.params import Training
from pneumonia.training.classifier import Classifier, DivergedError
from pneumonia.training.loop import TrainingData, make_loaders, make_trainer, prepare
from pneumonia.training.optimisation import PEAK_MOMENTUM

GIVE_UP = 4.0
"""The test ends when the smoothed loss is so many times its lowest."""
SPAN = 0.1
"""Of all steps: how many losses are smoothed together."""
NOISE = 5.0
"""Standard errors of a smoothed loss by which it must fall; in 2 % of tests of 150 steps mere noise does."""


def measure(
    params: Training, data: TrainingData, root: Path, rates: tuple[float, float], steps: int
) -> pd.DataFrame:
    """Train for some steps, with a rate that grows from the first to the second by the same factor each step.

    Model, objective, optimiser, batches and augmentation are those of a training; its schedule, early
    stopping and, with head_then_all, its second stage are not: it is the head whose `lr` is looked for.
    The momentum of sgd is that which goes with the highest rate.
    It runs in one process, whatever `devices` and `nodes` are: batches are the same.

    Args:
        params: the top-level keys of params.yaml; their `lr` does not matter.
        data: of which only the training images are used.
        root: of the repository: what a relative path of `pretrained` counts from.
        rates: lowest and highest.
        steps: how many at most; the test ends earlier when the loss explodes.

    Returns:
        A row a step: step (from 0), lr, loss (of the batch), smoothed (see `smooth`).

    Raises:
        UserError: a parameter that this machine or these data cannot serve.
    """
    low, high = rates
    epochs = math.ceil(steps / math.ceil(len(data.train_rows) / params.batch_size))
    finetune = "head" if params.finetune == "head_then_all" else params.finetune
    # one_cycle moves the momentum too, and the steps of sgd grow with it as they do with the rate.
    momentum = PEAK_MOMENTUM if params.schedule == "one_cycle" else params.momentum
    changes = {"lr": low, "epochs": epochs, "schedule": "constant", "warmup_epochs": 0, "patience": 0}
    alone = {"devices": 1, "nodes": 1}
    tested = params.model_copy(update={**changes, **alone, "finetune": finetune, "momentum": momentum})
    compute, _, classifier = prepare(tested, data, root)
    growing = _GrowingRate((high / low) ** (1 / (steps - 1)), span_of(steps))
    trainer = make_trainer(tested, compute, [growing], steps)
    loader, _ = make_loaders(tested, data, compute.device)
    warnings.filterwarnings("ignore", message=".*have no `val_dataloader`.*")
    with suppress(DivergedError):  # as far as it went
        trainer.fit(classifier, loader)
    losses = np.array(growing.losses)
    return pd.DataFrame(
        {
            "step": np.arange(len(losses)),
            "lr": growing.rates,
            "loss": losses,
            "smoothed": smooth(losses, growing.span),
        }
    )


def span_of(steps: int) -> int:
    """How many losses are smoothed together: an odd number, at least 5."""
    return 2 * max(2, round(SPAN * steps / 2)) + 1


def smooth(losses: NDArray[np.float64], span: int) -> NDArray[np.float64]:
    """Median of the `span` losses around each, of fewer at both ends; float (N,).

    A mean would fall steeply behind a single batch with a high loss.
    """
    half = span // 2
    return np.array([np.median(losses[max(0, i - half) : i + half + 1]) for i in range(len(losses))])


def suggest(curve: pd.DataFrame, span: int) -> float | None:
    """The rate at which the smoothed loss falls most steeply over the rate's logarithm, before its lowest.

    Its slope at a rate is that of the straight line that fits the `span` values around it best.

    Args:
        curve: of `measure`.
        span: of `span_of`.

    Returns:
        A rate of the curve; None where the loss falls by no more than its noise, or the test ended within
        one span.
    """
    if len(curve) < span:
        return None
    half = span // 2
    smoothed = curve["smoothed"].to_numpy()
    offsets = np.arange(-half, half + 1)
    slopes = sliding_window_view(smoothed, span) @ offsets / (offsets @ offsets)
    whole = smoothed[half : len(smoothed) - half]  # of a whole span
    # Of normal noise: its standard deviation, and from it that of a median.
    deviation = 1.4826 * float((curve["loss"] - curve["smoothed"]).abs().median())
    if whole[0] - whole.min() <= NOISE * math.sqrt(math.pi / 2 / span) * deviation:
        return None
    return float(curve["lr"].iloc[half + int(slopes[: whole.argmin() + 1].argmin())])


class _GrowingRate(Callback):
    """Sets the rate before each step and keeps the loss after it."""

    def __init__(self, factor: float, span: int) -> None:
        self.factor = factor
        self.span = span
        self.rates: list[float] = []
        self.losses: list[float] = []

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Grow the rate of every group of parameters alike."""
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = group["initial_lr"] * self.factor**trainer.global_step

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Keep what the step gave; end the test when the loss has exploded."""
        assert isinstance(pl_module, Classifier)
        pl_module.require_finite("loss")
        self.rates.append(pl_module.rate)
        self.losses.append(float(outputs["loss"]))
        if len(self.losses) < self.span:
            return
        medians = np.median(sliding_window_view(np.array(self.losses), self.span), axis=1)
        if medians[-1] > GIVE_UP * medians.min():
            trainer.should_stop = True
