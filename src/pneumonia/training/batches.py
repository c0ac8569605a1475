"""Which images make a batch, and how they get to the network."""

import math
from collections.abc import Iterator
from mmap import mmap
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from pneumonia.network.device import send
from pneumonia.store import open_images

Loader = DataLoader[tuple[Tensor, Tensor]]

SHARE = 0.5
"""Of a GPU's free memory that the packed images may take: RSNA's take 1.3 GB at 224 x 224."""
BYTES_AT_ONCE = 2**26
"""Of images on their way to the device."""


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

    Images stay uint8: they are smaller to move than floats and quick to convert where the network runs. Where
    they lie there already, see `place`, only the positions cross.
    """

    def __init__(
        self, images: NDArray[np.uint8] | Tensor, rows: NDArray[np.int64], labels: NDArray[np.int64]
    ) -> None:
        self.images = images
        self.rows = rows
        self.labels = torch.from_numpy(labels)
        if isinstance(images, Tensor):
            self.rows_there = torch.from_numpy(rows).to(images.device)
            self.labels = self.labels.to(images.device)

    def __getstate__(self) -> dict[str, Any]:
        """What a process is sent that is started anew: of a mapped file its name, not its content."""
        images = self.images
        # A part of a mapped file, whose base is another array and not the map, has the file's name, too.
        if isinstance(images, np.memmap) and isinstance(images.base, mmap):
            return {**self.__dict__, "images": Path(images.filename)}
        return self.__dict__

    def __setstate__(self, state: dict[str, Any]) -> None:
        images = state["images"]
        self.__dict__ = {**state, "images": open_images(images) if isinstance(images, Path) else images}

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, positions: list[int]) -> tuple[Tensor, Tensor]:
        if isinstance(self.images, Tensor):
            there = send(torch.tensor(positions), self.images.device)
            return self.images[self.rows_there[there]], self.labels[there]
        return torch.from_numpy(self.images[self.rows[positions]]), self.labels[positions]


def place(
    images: NDArray[np.uint8], device: torch.device, free_bytes: int | None = None
) -> NDArray[np.uint8] | Tensor:
    """Copy the packed images to the device that trains, where they leave enough room.

    Args:
        images: shape (N, S, S).
        device: where the network is.
        free_bytes: of the device's memory; None to ask it.

    Returns:
        The array itself on the CPU, and where it takes more than SHARE of what is free; else its copy.
    """
    if device.type == "cpu":
        return images
    free = torch.cuda.mem_get_info(device)[0] if free_bytes is None else free_bytes
    if images.nbytes > SHARE * free:
        return images
    copy = torch.empty(images.shape, dtype=torch.uint8, device=device)
    at_once = max(1, BYTES_AT_ONCE // images[0].nbytes)
    for start in range(0, len(images), at_once):  # a mapped file is not read into memory as a whole
        copy[start : start + at_once] = torch.from_numpy(np.array(images[start : start + at_once]))
    return copy


def make_loader(
    images: PackedImages, order: Sampler[list[int]] | list[list[int]], *, ahead: bool = False
) -> Loader:
    """Loader whose every item is a batch: images uint8 (B, S, S), labels int64 (B,).

    Args:
        images: what batches are made of.
        order: positions of each batch.
        ahead: whether a process beside reads the next batches, into memory that a GPU copies from while it
            works. For a GPU that the images do not fit on; the same batches in the same order.
    """
    return DataLoader(
        images,
        sampler=order,
        batch_size=None,
        num_workers=1 if ahead else 0,
        persistent_workers=ahead,
        pin_memory=ahead and torch.cuda.is_available(),
        # Each pass draws a seed for workers; from PyTorch's own generator it would change what dropout draws.
        generator=Generator(),
    )


def in_order(count: int, batch_size: int) -> list[list[int]]:
    """Positions 0 to count - 1, batch by batch."""
    return [list(range(start, min(start + batch_size, count))) for start in range(0, count, batch_size)]


def epoch_generator(seed: int, epoch: int, purpose: int, rank: int = 0) -> Generator:
    """Make a CPU generator for one purpose in one epoch and process, independent of all others."""
    state = np.random.SeedSequence([seed, epoch, purpose, *([rank] if rank else [])]).generate_state(
        1, np.uint64
    )[0]
    return Generator().manual_seed(int(state >> np.uint64(1)))
