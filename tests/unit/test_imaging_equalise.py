"""Equalised pictures: flat histograms, and the order of grey levels kept where it should be."""

import numpy as np
import pytest
from numpy.typing import NDArray

from pneumonia.imaging.equalise import equalise


@pytest.fixture
def square() -> NDArray[np.uint8]:
    """A dull picture, darker on the left than on the right."""
    noise = np.random.default_rng(0).normal(0, 6, (64, 64))
    return (np.linspace(60, 120, 64) + noise).clip(0, 255).astype(np.uint8)


def test_none_is_the_picture_itself(square: NDArray[np.uint8]) -> None:
    assert equalise(square, "none") is square


def test_a_flattened_histogram_is_flat_and_keeps_the_order(square: NDArray[np.uint8]) -> None:
    flat = equalise(square, "histogram")
    assert (flat.min(), flat.max()) == (0, 255)
    assert (
        np.abs(np.percentile(flat, [10, 25, 50, 75, 90]) - 255 * np.array([0.1, 0.25, 0.5, 0.75, 0.9])).max()
        < 6
    )
    by_grey = flat.ravel()[np.argsort(square.ravel(), kind="stable")]
    assert (np.diff(by_grey.astype(int)) >= 0).all()


def test_tiles_see_their_surroundings_and_limited_contrast(square: NDArray[np.uint8]) -> None:
    local = equalise(square, "clahe")
    left, right = local[:, :8].mean(), local[:, -8:].mean()
    flat = equalise(square, "histogram")
    assert right - left < flat[:, -8:].mean() - flat[:, :8].mean()  # the slope over the picture shrinks
    assert square.std() < local.std() < flat.std()


def test_light_and_contrast_of_the_film_hardly_matter_to_the_histogram(square: NDArray[np.uint8]) -> None:
    other = (square.astype(int) * 2 - 40).clip(0, 255).astype(np.uint8)
    difference = equalise(square, "histogram").astype(int) - equalise(other, "histogram")
    assert np.abs(difference).mean() < 3 < np.abs(square.astype(int) - other).mean()


@pytest.mark.parametrize("method", ["histogram", "clahe"])
@pytest.mark.parametrize("size", [16, 50, 224])
def test_any_square_keeps_shape_and_type_and_repeats(size: int, method: str) -> None:
    square = np.random.default_rng(1).integers(0, 256, (size, size), dtype=np.uint8)
    before = square.copy()
    first, again = (equalise(square, method) for _ in range(2))  # type: ignore[arg-type]
    assert first.shape == (size, size)
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(square, before)
