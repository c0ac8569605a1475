"""Batches: everything once an epoch, in an order of seed and epoch alone."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pneumonia.training import batches
from pneumonia.training.batches import (
    EpochOrder,
    PackedImages,
    epoch_generator,
    in_order,
    make_loader,
    place,
)


@given(count=st.integers(1, 200), batch_size=st.integers(1, 64), seed=st.integers(0, 2**31 - 1))
def test_an_epoch_shows_every_image_once(count: int, batch_size: int, seed: int) -> None:
    order = EpochOrder(np.arange(count) % 2, batch_size, seed, oversample=False)
    drawn = list(order)
    assert len(drawn) == len(order)
    assert sorted(position for batch in drawn for position in batch) == list(range(count))
    assert {len(batch) for batch in drawn[:-1]} <= {batch_size}


def test_the_order_is_that_of_seed_and_epoch() -> None:
    order = EpochOrder(np.zeros(50, int), 8, seed=3, oversample=False)
    first = list(order)
    order.set_epoch(1)
    second = list(order)
    order.set_epoch(0)
    assert list(order) == first != second
    assert list(EpochOrder(np.zeros(50, int), 8, seed=4, oversample=False)) != first


def test_oversampling_shows_both_classes_alike() -> None:
    labels = np.array([1] * 20 + [0] * 1980)
    order = EpochOrder(labels, 32, seed=0, oversample=True)
    shown = labels[[position for batch in order for position in batch]]
    assert len(shown) == 2000
    assert shown.mean() == pytest.approx(0.5, abs=0.05)


def test_generators_of_other_purposes_differ() -> None:
    seeds = {epoch_generator(0, e, purpose=p).initial_seed() for e in range(5) for p in range(3)}
    assert len(seeds) == 15
    assert epoch_generator(7, 2, purpose=1).initial_seed() == epoch_generator(7, 2, purpose=1).initial_seed()


ROWS = np.array([9, 3, 5])


def ten_images() -> np.ndarray:
    """Image i is all i."""
    return np.arange(10, dtype=np.uint8)[:, None, None].repeat(4, 1).repeat(4, 2)


@pytest.mark.parametrize("way", ["array", "tensor", "ahead"])
def test_a_loader_gives_the_rows_and_labels_that_belong_together(way: str) -> None:
    images = ten_images()
    packed = PackedImages(torch.from_numpy(images) if way == "tensor" else images, ROWS, ROWS % 2)
    assert len(packed) == 3
    given = list(make_loader(packed, in_order(3, 2), ahead=way == "ahead"))
    assert [batch.shape for batch, _ in given] == [(2, 4, 4), (1, 4, 4)]
    assert all(batch.dtype == torch.uint8 for batch, _ in given)
    assert [int(image[0, 0]) for batch, _ in given for image in batch] == [9, 3, 5]
    assert [int(label) for _, labels in given for label in labels] == [1, 1, 1]


def test_a_batch_is_picked_where_the_images_lie() -> None:
    packed = PackedImages(torch.from_numpy(ten_images()).to("meta"), ROWS, ROWS % 2)
    images, labels = packed[[0, 2]]
    assert images.device.type == labels.device.type == "meta"
    assert images.shape == (2, 4, 4)


@pytest.mark.parametrize(("first", "sent_whole"), [(0, False), (1, True)])
def test_a_process_is_sent_the_name_of_a_mapped_file_and_maps_it_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: int, sent_whole: bool
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (40, 64, 64), dtype=np.uint8)
    monkeypatch.chdir(tmp_path)
    np.save("images.npy", images)
    mapped = np.load("images.npy", mmap_mode="r")
    sent = pickle.dumps(PackedImages(mapped[first:] if first else mapped, ROWS, ROWS % 2))
    assert (len(sent) > images[first:].nbytes) == sent_whole
    monkeypatch.chdir(tmp_path.parent)
    received = pickle.loads(sent)
    assert isinstance(received.images, np.memmap)
    batch, labels = received[[2, 0]]
    assert np.array_equal(batch, images[first:][ROWS[[2, 0]]])
    assert labels.tolist() == [1, 1]


def test_images_move_to_the_device_when_they_leave_room_there() -> None:
    images = ten_images()
    meta = torch.device("meta")
    placed = place(images, meta, free_bytes=2 * images.nbytes)
    assert isinstance(placed, torch.Tensor)
    assert (placed.device, placed.shape, placed.dtype) == (meta, images.shape, torch.uint8)
    assert place(images, meta, free_bytes=2 * images.nbytes - 2) is images
    assert place(images, torch.device("cpu")) is images


def test_images_are_moved_piece_by_piece_and_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "BYTES_AT_ONCE", 3 * 16)
    there: list[torch.Tensor] = []
    empty = torch.empty
    # A tensor of the CPU in place of the device's.
    monkeypatch.setattr(
        torch, "empty", lambda *a, **k: there.append(empty(*a, dtype=k["dtype"])) or there[-1]
    )
    images = ten_images()
    images.flags.writeable = False  # as a mapped file is
    placed = place(images, torch.device("meta"), free_bytes=10**6)
    assert placed is there[0]
    assert np.array_equal(there[0].numpy(), images)
