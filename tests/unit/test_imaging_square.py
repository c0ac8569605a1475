"""Squares: what is kept, what is added, and that nothing is invented."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pneumonia.imaging.square import box_in_square, to_square

SIDES = st.integers(1, 150)
FITS = ["squash", "pad", "crop"]


@given(SIDES, SIDES, st.integers(16, 100), st.sampled_from(FITS), st.integers(0, 255))
def test_constant_stays_constant(height, width, size, fit, level):
    square = to_square(np.full((height, width), level, np.uint8), size, fit)
    assert square.shape == (size, size)
    assert square.dtype == np.uint8
    expected = {0, level} if fit == "pad" else {level}
    assert set(np.unique(square)) <= expected
    assert level in square


@given(SIDES, SIDES, st.integers(16, 100))
def test_padding_keeps_the_aspect_and_centres(height, width, size):
    square = to_square(np.full((height, width), 200, np.uint8), size, "pad")
    rows, columns = np.flatnonzero(square.any(axis=1)), np.flatnonzero(square.any(axis=0))
    scale = size / max(height, width)
    assert abs(len(rows) - height * scale) <= 1
    assert abs(len(columns) - width * scale) <= 1
    assert max(len(rows), len(columns)) == size
    for kept in (rows, columns):
        assert np.array_equal(kept, np.arange(kept[0], kept[-1] + 1))
        assert abs(kept[0] - (size - 1 - kept[-1])) <= 1


@given(st.integers(1, 4), st.integers(16, 40), st.integers(0, 2**32))
def test_shrinking_averages_areas(factor, size, seed):
    grey = np.random.default_rng(seed).integers(0, 256, (factor * size,) * 2).astype(np.uint8)
    means = grey.reshape(size, factor, size, factor).mean(axis=(1, 3))
    for fit in FITS:
        # At a quarter it is by halves, which rounds twice.
        assert np.abs(to_square(grey, size, fit) - means).max() <= (0.501 if factor < 4 else 1.001)


def test_an_axis_that_shrinks_does_not_alias_where_the_other_grows():
    stripes = np.tile(np.array([100, 0, 200], np.uint8), (20, 32))
    assert set(np.unique(to_square(stripes, 32, "squash"))) == {100}
    assert set(np.unique(to_square(stripes.T, 32, "squash"))) == {100}


@given(st.integers(1, 4), st.integers(16, 40), st.data())
def test_one_axis_shrinks_by_area_before_the_other_grows(factor, size, data):
    short = data.draw(st.integers(1, size - 1))
    seed = data.draw(st.integers(0, 2**32))
    grey = np.random.default_rng(seed).integers(0, 256, (short, factor * size)).astype(np.uint8)
    means = np.rint(grey.reshape(short, size, factor).mean(axis=2)).astype(np.uint8)
    grown = cv2.resize(means, (size, size), interpolation=cv2.INTER_LINEAR).astype(int)
    # A mean of two or four may lie halfway between two levels.
    assert np.abs(to_square(grey, size, "squash") - grown).max() <= 1
    assert np.abs(to_square(grey.T, size, "squash") - grown.T).max() <= 1


@pytest.mark.parametrize("shape", [(1024, 1024), (1001, 1301), (899, 2500)])
def test_halving_first_changes_little(shape):
    y, x = np.indices(shape)
    waves = 128 + 50 * np.sin(x / 9) * np.cos(y / 7) + np.random.default_rng(0).normal(0, 8, shape)
    grey = np.clip(waves, 0, 255).astype(np.uint8)
    even = grey[: shape[0] // 2 * 2, : shape[1] // 2 * 2]
    at_once = cv2.resize(even, (224, 224), interpolation=cv2.INTER_AREA)
    difference = np.abs(to_square(grey, 224, "squash").astype(int) - at_once)
    assert 0 < difference.mean() < 1
    assert difference.max() <= 10


def test_a_square_of_the_right_size_is_unchanged():
    grey = np.random.default_rng(0).integers(0, 256, (64, 64)).astype(np.uint8)
    for fit in FITS:
        assert np.array_equal(to_square(grey, 64, fit), grey)


@pytest.mark.parametrize("shape", [(32, 96), (96, 32)])
def test_crop_takes_the_middle(shape):
    grey = np.zeros(shape, np.uint8)
    middle = np.random.default_rng(0).integers(1, 256, (32, 32)).astype(np.uint8)
    if shape[0] == 32:
        grey[:, 32:64] = middle
    else:
        grey[32:64] = middle
    assert np.array_equal(to_square(grey, 32, "crop"), middle)


def test_growing_interpolates():
    grey = np.array([[0, 100], [100, 200]], np.uint8).repeat(16, 0).repeat(16, 1)
    grown = to_square(grey, 128, "squash").astype(int)
    assert np.diff(grown, axis=0).min() >= 0
    assert np.diff(grown, axis=1).min() >= 0
    assert len(np.unique(grown)) > 4


def test_orientation_is_kept():
    grey = np.zeros((60, 90), np.uint8)
    grey[:30, 45:] = 255
    for fit in FITS:
        square = to_square(grey, 30, fit).astype(float)
        assert square[:15, 15:].mean() > 150
        assert square[15:].mean() < 10
        assert square[:, :15].mean() < 10


@given(SIDES, SIDES, st.integers(16, 100), st.sampled_from(FITS), st.data())
def test_a_box_goes_where_its_pixels_go(height, width, size, fit, data):
    left, right = sorted(data.draw(st.tuples(st.integers(0, width), st.integers(0, width))))
    top, bottom = sorted(data.draw(st.tuples(st.integers(0, height), st.integers(0, height))))
    image = np.zeros((height, width), np.uint8)
    image[top:bottom, left:right] = 255
    square = to_square(image, size, fit)
    box = box_in_square((left, top, right - left, bottom - top), image.shape, size, fit)
    if box is None:
        # Nothing, or less than a pixel, is to be seen.
        assert min((square > 127).any(axis=0).sum(), (square > 127).any(axis=1).sum()) <= 1
        return
    x, y, w, h = box
    assert 0 <= x < x + w <= size
    assert 0 <= y < y + h <= size
    seen = square > 127
    for first, length, axis in ((x, w, 0), (y, h, 1)):
        places = np.flatnonzero(seen.any(axis=axis))
        if len(places):
            # One pixel for rounding, and one source pixel where it is larger, as interpolation blurs it.
            blur = 1.5 + 0.5 * size / min(height, width)
            assert abs(places[0] - first) <= blur
            assert abs(places[-1] + 1 - first - length) <= blur


def test_boxes_of_a_wide_film_by_hand():
    shape, box = (100, 200), (150, 20, 40, 30)
    assert box_in_square(box, shape, 50, "squash") == (38, 10, 10, 15)
    assert box_in_square(box, shape, 50, "pad") == (38, 18, 10, 7)  # 17.5 to 25, even on a tie
    assert box_in_square((100, 20, 40, 30), shape, 50, "crop") == (25, 10, 20, 15)
    assert box_in_square(box, shape, 50, "crop") is None  # cut off
