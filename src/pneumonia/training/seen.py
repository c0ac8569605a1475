"""What an epoch has shown: kept on the device that computed it, and looked at seldom.

To ask a GPU for a number is to wait until it has done all that it was told before.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc

from pneumonia.network.predict import pneumonia_logit


class NotFinite(NamedTuple):
    """A loss that is no number any more."""

    batch: int
    """Of the epoch, from 0."""
    loss: float
    rate: float


class Seen:
    """Outputs, labels and losses of an epoch."""

    def __init__(self) -> None:
        self.logits: list[Tensor] = []
        self.labels: list[Tensor] = []
        self.losses: list[Tensor] = []
        self.rates: list[float] = []
        self.looked = 0

    def add(self, outputs: Tensor, labels: Tensor, loss: Tensor, rate: float) -> None:
        """Add a batch: outputs (B, 1) or (B, 2), labels (B,), its mean loss, and the learning rate then."""
        self.logits.append(pneumonia_logit(outputs.detach()))
        self.labels.append(labels)
        self.losses.append(loss.detach())
        self.rates.append(rate)

    def first_not_finite(self) -> NotFinite | None:
        """The first loss that is not finite, of those added since the last look; waits for the device."""
        new = self.losses[self.looked :]
        if not new:
            return None
        for batch, loss in enumerate(torch.stack(new).tolist(), self.looked):
            if not math.isfinite(loss):
                return NotFinite(batch, loss, self.rates[batch])
        self.looked = len(self.losses)
        return None

    def summarise(self) -> dict[str, float]:
        """Loss, accuracy and balanced accuracy at 0.5, and AUROC of what was added; waits for the device."""
        counts = torch.tensor([len(labels) for labels in self.labels])
        logits, labels = torch.cat(self.logits).cpu(), torch.cat(self.labels).cpu()
        losses = torch.stack(self.losses).cpu()
        right = (logits >= 0).long() == labels
        recalls = [right[labels == label].double().mean().item() for label in (0, 1)]
        return {
            "loss": (losses * counts).sum().item() / len(labels),
            "accuracy": right.double().mean().item(),
            "balanced_accuracy": sum(recalls) / 2 if not any(map(math.isnan, recalls)) else math.nan,
            "auroc": binary_auroc(logits.double(), labels).item(),
        }
