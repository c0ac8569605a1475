"""One step of training and of validation, as the trainer calls them."""

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn, optim

from pneumonia.errors import SharedError
from pneumonia.network.build import head_of
from pneumonia.network.description import NetworkDescription
from pneumonia.network.predict import normalise
from pneumonia.params import Training
from pneumonia.processes import ALONE, Process
from pneumonia.training.augment import Augmenter
from pneumonia.training.batches import epoch_generator
from pneumonia.training.distributed import average_buffers
from pneumonia.training.mixup import mix
from pneumonia.training.objective import Objective
from pneumonia.training.optimisation import (
    make_optimizer,
    make_plateau_schedule,
    make_step_schedule,
    may_be_fused,
)
from pneumonia.training.parts import Parts, whole
from pneumonia.training.seen import Seen

LOOK_EVERY = 100
"""Batches after which a GPU is asked whether all losses were finite."""


class DivergedError(SharedError):
    """The loss is not finite any more."""


class Classifier(L.LightningModule):
    """A network, its objective and its optimiser."""

    def __init__(
        self,
        params: Training,
        network: nn.Module,
        objective: Objective,
        description: NetworkDescription,
        process: Process = ALONE,
    ) -> None:
        super().__init__()
        self.params = params
        self.network = network
        self.objective = objective
        self.description = description
        self.process = process
        self.parts: Parts | None = None
        self.augmenter = Augmenter(params.augment)
        self.generator = torch.Generator()
        self.seen = Seen(self.objective.weights)
        self.epoch_metrics: dict[str, float] = {}
        self.rate = params.lr

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Optimiser and schedule of params.yaml."""
        fused = may_be_fused(self.device, str(self.trainer.precision), self.params.gradient_clip)
        optimizer = make_optimizer(self.params, self.network, fused=fused)
        steps = int(self.trainer.estimated_stepping_batches) // self.params.epochs
        schedule = make_step_schedule(self.params, optimizer, steps)
        if schedule is not None:
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
        plateau = make_plateau_schedule(self.params, optimizer, monitor_mode(self.params.monitor))
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": plateau, "interval": "epoch", "monitor": self.params.monitor},
        }

    def configure_gradient_clipping(
        self,
        optimizer: optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the gradient's norm.

        The trainer's own way refuses every fused update in half precision, because it may take the scale out
        of the gradient only after this. In bf16 there is no scale; in fp16 see `may_be_fused`.
        """
        if gradient_clip_val:
            self.trainer.precision_plugin.clip_grad_by_norm(optimizer, gradient_clip_val)

    def on_train_epoch_start(self) -> None:
        """Freeze or thaw the backbone, and start the epoch's own streams of random numbers."""
        seed, epoch, rank = self.params.seed, self.current_epoch, self.process.rank
        self.generator = epoch_generator(seed, epoch, purpose=1, rank=rank)
        # What the network draws itself, for dropout, comes from PyTorch's own generators.
        torch.manual_seed(epoch_generator(seed, epoch, purpose=2, rank=rank).initial_seed())
        self.seen = Seen(self.objective.weights)
        frozen = self.params.finetune == "head" or (
            self.params.finetune == "head_then_all" and self.current_epoch < self.params.head_epochs
        )
        # A frozen backbone in training mode would still move its batch-norm statistics.
        self.network.train(not frozen).requires_grad_(not frozen)
        head_of(self.network).train().requires_grad_(True)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> Tensor:
        """Loss of one augmented batch, or of a part of it: images uint8 (B, S, S), labels (B,)."""
        images, labels = batch
        self.rate = float(self.trainer.optimizers[0].param_groups[0]["lr"])
        greys = self.augmenter(images, self.generator)
        targets = labels
        if self.params.mixup:
            greys, targets = mix(greys, labels, self.params.mixup, self.generator)
        outputs = self.network(normalise(greys, self.description))
        loss: Tensor = self.objective(outputs, targets)
        share = self.parts[0].shares[batch_index] if self.parts else whole(batch_index)
        if share.own:
            self.seen.add(outputs, labels, loss, share, self.rate)
        if (batch_index + 1) % self._look_every == 0:
            self.require_finite("loss")
        return loss if share.factor == 1 else loss * share.factor

    def on_validation_start(self) -> None:
        """Give all processes the same statistics of batch norm."""
        average_buffers(self.network)

    def on_validation_epoch_start(self) -> None:
        """Keep what training saw, and start anew."""
        average_buffers(self.network)  # of averaged weights, which are in place by now
        self.require_finite("loss")
        self.trained = self.seen
        self.seen = Seen(self.objective.weights)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> None:
        """Add one batch, not augmented, to the epoch's validation metrics."""
        images, labels = batch
        outputs = self.network(normalise(images, self.description))
        loss = self.objective(outputs, labels)
        share = self.parts[1].shares[batch_index] if self.parts else whole(batch_index)
        self.seen.add(outputs, labels, loss, share, self.rate)
        # Several processes have not the same number of batches to look after together.
        if self.parts is None and (batch_index + 1) % self._look_every == 0:
            self.require_finite("validation loss")

    @property
    def _look_every(self) -> int:
        return 1 if self.device.type == "cpu" else LOOK_EVERY

    def require_finite(self, name: str) -> None:
        """Look at the losses of this epoch that nobody has looked at yet, in all processes together.

        Args:
            name: what a loss is called in the message.

        Raises:
            DivergedError: one is not finite.
        """
        found = self.seen.first_not_finite()
        if found is not None:
            raise DivergedError(
                f"Training diverged: the {name} became {found.loss} in epoch {self.current_epoch}, batch "
                f"{found.batch}, at a learning rate of {found.rate:.3g}. Lower lr in params.yaml, or set "
                "gradient_clip."
            )

    def on_validation_epoch_end(self) -> None:
        """Compute the epoch's metrics; `epoch_metrics` holds them until the next epoch."""
        self.require_finite("validation loss")
        train, val = self.trained.summarise(), self.seen.summarise()
        self.epoch_metrics = {
            "lr": self.rate,
            "train_loss": train["loss"],
            "train_accuracy": train["accuracy"],
            **{f"val_{name}": value for name, value in val.items()},
        }
        self.log_dict({name: self.epoch_metrics[name] for name in MONITORS}, logger=False)


MONITORS = ("val_loss", "val_accuracy", "val_balanced_accuracy", "val_auroc")


def monitor_mode(monitor: str) -> str:
    """Whether the best value of the monitored metric is its `min` or its `max`."""
    return "min" if monitor == "val_loss" else "max"
