"""Which images make a batch, and how they get to the network."""

import math
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

Loader = DataLoader[tuple[Tensor, Tensor]]


class EpochOrder(Sampler[list[int]]):
    """Batches of positions, in an order that depends on seed and epoch alone.

    Not on what was drawn before: an epoch that is run again gives the same batches.
    """

    def __init__(self, labels: NDArray[np.int64], batch_size: int, seed: int, *, oversample: bool) -> None:
        self.labels = labels
        self.batch_size = batch_size
        self.seed = seed
        self.oversample = oversample
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the trainer before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return math.ceil(len(self.labels) / self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        order = self._draw(epoch_generator(self.seed, self.epoch, purpose=0)).tolist()
        for start in range(0, len(order), self.batch_size):
            yield order[start : start + self.batch_size]

    def _draw(self, generator: Generator) -> Tensor:
        count = len(self.labels)
        if not self.oversample:
            return torch.randperm(count, generator=generator)
        labels = torch.from_numpy(self.labels)
        weights = 1 / torch.bincount(labels, minlength=2).double()[labels]
        return torch.multinomial(weights, count, replacement=True, generator=generator)


class PackedImages(Dataset[tuple[Tensor, Tensor]]):
    """Rows of the packed image array; asked for a list of positions it gives a batch.

    Images stay uint8: they are smaller to move than floats and quick to convert where the network runs.
    """

    def __init__(self, images: NDArray[np.uint8], rows: NDArray[np.int64], labels: NDArray[np.int64]) -> None:
        self.images = images
        self.rows = rows
        self.labels = torch.from_numpy(labels)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, positions: list[int]) -> tuple[Tensor, Tensor]:
        return torch.from_numpy(self.images[self.rows[positions]]), self.labels[positions]


def make_loader(images: PackedImages, order: Sampler[list[int]] | list[list[int]]) -> Loader:
    """Loader whose every item is a batch: images uint8 (B, S, S), labels int64 (B,)."""
    # Each pass draws a seed for workers; from PyTorch's own generator it would change what dropout draws.
    return DataLoader(images, sampler=order, batch_size=None, num_workers=0, generator=Generator())


def in_order(count: int, batch_size: int) -> list[list[int]]:
    """Positions 0 to count - 1, batch by batch."""
    return [list(range(start, min(start + batch_size, count))) for start in range(0, count, batch_size)]


def epoch_generator(seed: int, epoch: int, purpose: int) -> Generator:
    """Make a CPU generator for one purpose in one epoch, independent of all others."""
    state = np.random.SeedSequence([seed, epoch, purpose]).generate_state(1, np.uint64)[0]
    return Generator().manual_seed(int(state >> np.uint64(1)))
