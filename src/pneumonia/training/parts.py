"""Which part of each batch a process takes, where several train together.

A batch stays what it is with one process, `batch_size` images. In training each process takes a part of it;
in validation, which has no steps to take together, whole batches.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from pneumonia.processes import Process
from pneumonia.training.batches import EpochOrder


class Share(NamedTuple):
    """What a process has of a batch."""

    batch: int
    """Of the epoch, from 0."""
    rank: int
    """Of the process; 0 for a whole batch, whoever has it."""
    factor: float
    """Of the part's mean loss, so that the mean over the processes is that of the whole batch."""
    own: bool = True
    """Whether its images are no other's: where a batch leaves a process nothing, it has one of another's."""


def whole(batch: int) -> Share:
    """A batch that is not shared."""
    return Share(batch, 0, 1.0)


class TrainingParts(Sampler[list[int]]):
    """Part of one process in each batch of an order: every `world`-th image, disjoint from the others' parts.

    A process for which a last, incomplete batch leaves nothing takes its first image with a factor of 0: the
    gradients of all processes are waited for.
    """

    def __init__(self, order: EpochOrder, weights: NDArray[np.float64], process: Process) -> None:
        """Take part in an order.

        Args:
            order: of the whole batches.
            weights: of each image in the mean loss of a batch, by position.
            process: which this is.
        """
        self.order = order
        self.weights = weights
        self.process = process
        self.shares: list[Share] = []

    def set_epoch(self, epoch: int) -> None:
        """Called by the trainer before each epoch."""
        self.order.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[list[int]]:
        self.shares = []
        rank, world = self.process.rank, self.process.world
        for number, batch in enumerate(self.order):
            part = batch[rank::world]
            fraction = float(self.weights[part].sum() / self.weights[batch].sum()) if part else 0.0
            self.shares.append(Share(number, rank, world * fraction, own=bool(part)))
            yield part or batch[:1]


class ValidationParts(Sampler[list[int]]):
    """Every `world`-th batch; one that another process has too, where there are fewer batches than processes.

    Without any, the trainer would leave validation out, and the others would wait for this process.
    """

    def __init__(self, batches: list[list[int]], process: Process) -> None:
        numbers = range(len(batches))[process.rank :: process.world] or [process.rank % len(batches)]
        self.batches = [batches[number] for number in numbers]
        self.shares = [whole(number) for number in numbers]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.batches)


Parts = tuple[TrainingParts, ValidationParts]
