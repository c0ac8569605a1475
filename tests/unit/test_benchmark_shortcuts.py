import numpy as np
import pytest

from benchmarks.shortcuts import THUMBNAIL, acquisition, learnt, thumbnail


def test_numbers_of_a_film_are_what_they_are_called() -> None:
    film = np.full((32, 32), 100, dtype=np.uint8)
    film[:, :8], film[:, 8:12] = 0, 255
    mean, _, low, high, black, white, *_ = acquisition(film)
    assert mean == pytest.approx((255 * 4 + 100 * 20) / 32)
    assert (low, high) == (0, 255)
    assert (black, white) == (8 / 32, 4 / 32)


def test_edges_and_grain_are_nothing_on_a_flat_film_and_more_on_a_sharper_one() -> None:
    sharp = np.random.default_rng(0).integers(0, 256, (32, 32), dtype=np.uint8)
    assert acquisition(np.full((32, 32), 9, dtype=np.uint8))[6:] == pytest.approx([0, 0, 0], abs=1e-5)
    coarse = sharp[::2, ::2].repeat(2, axis=0).repeat(2, axis=1)
    assert acquisition(sharp)[6] > 1.5 * acquisition(coarse)[6]


def test_a_thumbnail_holds_the_means_of_squares() -> None:
    film = np.kron(np.arange(THUMBNAIL**2).reshape(THUMBNAIL, -1), np.ones((2, 2))).astype(np.uint8)
    np.testing.assert_array_equal(thumbnail(film), np.arange(THUMBNAIL**2))


def test_only_training_films_are_learnt_and_only_validation_films_judged() -> None:
    numbers = np.tile([[0.0], [1.0]], (150, 1))
    label = np.tile([0, 1], 150)
    split = np.repeat(np.array(["train", "val", "test"], dtype=object), 100)
    label[200:] = 1 - label[200:]
    assert learnt(numbers, label, split)["auroc"] == 1
    label[100:200] = 1 - label[100:200]
    assert learnt(numbers, label, split)["auroc"] == 0
