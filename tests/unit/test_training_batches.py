"""Batches: everything once an epoch, in an order of seed and epoch alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pneumonia.training.batches import EpochOrder, PackedImages, epoch_generator, in_order, make_loader


@given(count=st.integers(1, 200), batch_size=st.integers(1, 64), seed=st.integers(0, 2**31 - 1))
def test_an_epoch_shows_every_image_once(count: int, batch_size: int, seed: int) -> None:
    order = EpochOrder(np.arange(count) % 2, batch_size, seed, oversample=False)
    batches = list(order)
    assert len(batches) == len(order)
    assert sorted(position for batch in batches for position in batch) == list(range(count))
    assert {len(batch) for batch in batches[:-1]} <= {batch_size}


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


def test_a_loader_gives_the_rows_and_labels_that_belong_together() -> None:
    images = np.arange(10, dtype=np.uint8)[:, None, None].repeat(4, 1).repeat(4, 2)
    rows = np.array([9, 3, 5])
    packed = PackedImages(images, rows, rows % 2)
    assert len(packed) == 3
    batches = list(make_loader(packed, in_order(3, 2)))
    assert [batch.shape for batch, _ in batches] == [(2, 4, 4), (1, 4, 4)]
    assert [int(image[0, 0]) for batch, _ in batches for image in batch] == [9, 3, 5]
    assert [int(label) for _, labels in batches for label in labels] == [1, 1, 1]
