"""What happens beside the loop: best weights, history, progress bar."""

import math
from collections.abc import Callable
from typing import Any, Literal

import lightning as L
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from tqdm import tqdm

from pneumonia.training.classifier import Classifier, monitor_mode

History = list[dict[str, float]]


class KeptWeights(Callback):
    """Keeps the weights of the epoch with the best monitored metric, of equals the first; or of the last."""

    def __init__(self, monitor: str, keep: Literal["best", "last"]) -> None:
        self.monitor = monitor
        self.keep = keep
        self.sign = -1 if monitor_mode(monitor) == "min" else 1
        self.epoch = -1
        self.best = -math.inf
        self.weights: dict[str, Tensor] = {}

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Compare this epoch with the one that is kept so far."""
        classifier = _classifier(pl_module)
        value = self.sign * classifier.epoch_metrics[self.monitor]
        if self.keep == "last" or value > self.best:
            self.best = value
            self.epoch = trainer.current_epoch
            state = classifier.network.state_dict()
            self.weights = {name: tensor.detach().cpu().clone() for name, tensor in state.items()}

    def state_dict(self) -> dict[str, Any]:
        """What an interrupted training keeps."""
        return {"epoch": self.epoch, "best": self.best, "weights": self.weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with it."""
        self.epoch, self.best = state_dict["epoch"], state_dict["best"]
        self.weights = state_dict["weights"]


class HistoryKeeper(Callback):
    """Keeps the metrics of every epoch, and tells them to somebody who wants to know at once."""

    def __init__(self, on_epoch: Callable[[int, dict[str, float]], None] | None) -> None:
        self.history: History = []
        self.on_epoch = on_epoch

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Add this epoch."""
        metrics = _classifier(pl_module).epoch_metrics
        self.history.append({"epoch": trainer.current_epoch, **metrics})
        if self.on_epoch is not None:
            self.on_epoch(trainer.current_epoch, metrics)

    def state_dict(self) -> dict[str, Any]:
        """What an interrupted training keeps."""
        return {"history": self.history}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with it, and tell what was told to nobody who is still there."""
        self.history = state_dict["history"]
        if self.on_epoch is not None:
            for epoch in self.history:
                self.on_epoch(int(epoch["epoch"]), {k: v for k, v in epoch.items() if k != "epoch"})


class _Bar(tqdm):  # type: ignore[type-arg]
    """A bar that asks what to show beside it only when it is drawn."""

    describe: Callable[[], str] | None = None

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Draw."""
        if self.describe is not None:
            self.set_postfix_str(self.describe(), refresh=False)
        super().display(msg, pos)


class ProgressBar(Callback):
    """One bar over the whole training, so that the time left is that of the whole training."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Open the bar."""
        total = int(trainer.estimated_stepping_batches)
        done = trainer.global_step
        self.bar = _Bar(
            total=total, initial=done, desc="train", unit="batch", mininterval=1, dynamic_ncols=True
        )
        self.bar.set_postfix_str(f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}")

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Show loss, learning rate and the last validation, when it is time to draw."""
        classifier = _classifier(pl_module)
        epoch, loss = trainer.current_epoch + 1, outputs["loss"]

        def describe() -> str:
            shown = [
                f"epoch {epoch}/{trainer.max_epochs}",
                f"loss {float(loss):.3f}",  # waits for the device
                f"lr {classifier.rate:.2g}",
            ]
            if classifier.epoch_metrics:
                shown.append(f"val_auroc {classifier.epoch_metrics['val_auroc']:.3f}")
            return ", ".join(shown)

        self.bar.describe = describe
        self.bar.update()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Close the bar."""
        self.bar.close()

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Close the bar, so that what is said of the failure has a line of its own."""
        if hasattr(self, "bar"):
            self.bar.describe = None  # a device that has failed would fail again
            self.bar.close()


def _classifier(module: L.LightningModule) -> Classifier:
    assert isinstance(module, Classifier)
    return module
