"""What an epoch has shown: kept on the device that computed it, and looked at seldom.

To ask a GPU for a number is to wait until it has done all that it was told before.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc

from pneumonia.network.predict import pneumonia_logit
from pneumonia.training.distributed import gather
from pneumonia.training.parts import Share


class NotFinite(NamedTuple):
    """A loss that is no number any more."""

    batch: int
    """Of the epoch, from 0."""
    loss: float
    rate: float


class Seen:
    """Outputs, labels and losses of an epoch."""

    def __init__(self, weights: Callable[[NDArray[np.int64]], NDArray[np.float64]]) -> None:
        """Begin with nothing.

        Args:
            weights: of images in the mean loss of their batch, from their labels, both shape (B,).
        """
        self.weights = weights
        self.logits: list[Tensor] = []
        self.labels: list[Tensor] = []
        self.losses: list[Tensor] = []
        self.shares: list[Share] = []
        self.rates: list[float] = []
        self.looked = 0

    def add(self, outputs: Tensor, labels: Tensor, loss: Tensor, share: Share, rate: float) -> None:
        """Add a batch.

        Args:
            outputs: shape (B, 1) or (B, 2).
            labels: shape (B,).
            loss: the mean.
            share: which batch it is, and what part of it.
            rate: of learning, then.
        """
        self.logits.append(pneumonia_logit(outputs.detach()))
        self.labels.append(labels)
        self.losses.append(loss.detach())
        self.shares.append(share)
        self.rates.append(rate)

    def first_not_finite(self) -> NotFinite | None:
        """The first loss that is not finite, of those added in any process since the last look.

        Waits for the device and for the other processes, which must look too.
        """
        return min((found for found in gather(self._first_here()) if found), default=None)

    def _first_here(self) -> NotFinite | None:
        new = self.losses[self.looked :]
        if not new:
            return None
        for number, loss in enumerate(torch.stack(new).tolist(), self.looked):
            if not math.isfinite(loss):
                return NotFinite(self.shares[number].batch, loss, self.rates[number])
        self.looked = len(self.losses)
        return None

    def summarise(self) -> dict[str, float]:
        """Loss, accuracy and balanced accuracy at 0.5, and AUROC of what was added in all processes.

        The loss is the mean over all images, each with its weight.

        Waits for the device and for the other processes.
        """
        batches = self._gather()
        logits = torch.cat([batch.logits for batch in batches])
        labels = torch.cat([batch.labels for batch in batches])
        losses = np.array([batch.loss.item() for batch in batches])
        # So that the loss does not depend on which images happen to share a batch.
        weights = [self.weights(batch.labels.numpy()).sum() for batch in batches]
        right = (logits >= 0).long() == labels
        recalls = [right[labels == label].double().mean().item() for label in (0, 1)]
        return {
            "loss": float(np.average(losses, weights=weights)),
            "accuracy": right.double().mean().item(),
            "balanced_accuracy": sum(recalls) / 2 if not any(map(math.isnan, recalls)) else math.nan,
            "auroc": binary_auroc(logits.double(), labels).item(),
        }

    def _gather(self) -> "list[_Batch]":
        """All batches on the CPU, each share once, in the order that one process would have."""
        counts = [len(labels) for labels in self.labels]
        crossed = [torch.cat(self.logits).cpu(), torch.cat(self.labels).cpu(), torch.stack(self.losses).cpu()]
        by_share = {}
        for shares, sizes, (logits, labels, losses) in gather((self.shares, counts, crossed)):
            pieces = zip(shares, torch.split(logits, sizes), torch.split(labels, sizes), losses, strict=True)
            by_share.update({(share.batch, share.rank): _Batch(share, *piece) for share, *piece in pieces})
        return [by_share[key] for key in sorted(by_share)]


class _Batch(NamedTuple):
    share: Share
    logits: Tensor
    labels: Tensor
    loss: Tensor
