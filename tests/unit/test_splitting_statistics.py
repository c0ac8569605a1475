import numpy as np
import pytest

from pneumonia.errors import UserError
from pneumonia.splitting import statistics
from pneumonia.splitting.statistics import grey_statistics
from pneumonia.store import open_images, write_images


def noise(n: int, size: int) -> np.ndarray:
    return np.random.default_rng(0).integers(256, size=(n, size, size), dtype=np.uint8)


def test_two_by_two_by_hand() -> None:
    image = np.array([[[0, 255], [255, 255]]], dtype=np.uint8)
    mean, std = grey_statistics(image, np.array([0]))
    assert mean == 0.75
    assert std == pytest.approx((0.75 * 0.25) ** 0.5, rel=1e-15)


def test_equals_numpy_of_the_chosen_images_alone(tmp_path) -> None:
    images = noise(20, 16)
    images[7:] //= 3
    write_images(tmp_path / "images.npy", iter(images), 16)
    rows = np.array([19, 1, 8, 3])
    mean, std = grey_statistics(open_images(tmp_path / "images.npy"), rows)
    assert mean == pytest.approx((images[rows] / 255.0).mean(), rel=1e-12)
    assert std == pytest.approx((images[rows] / 255.0).std(), rel=1e-12)
    assert mean != pytest.approx((images / 255.0).mean(), rel=1e-3)


@pytest.mark.parametrize("pixels", [1, 3 * 256, 10**9])
def test_how_many_at_once_changes_not_one_bit(monkeypatch, pixels) -> None:
    images, rows = noise(10, 16), np.array([5, 2, 9, 0, 1, 3, 4])
    expected = grey_statistics(images, np.sort(rows))
    monkeypatch.setattr(statistics, "PIXELS_AT_ONCE", pixels)
    assert grey_statistics(images, rows) == expected


def test_a_faint_deviation_does_not_drown_in_rounding() -> None:
    images = np.full((64, 64, 64), 255, dtype=np.uint8)
    images[0, 0, 0] = 254
    n = images.size
    _, std = grey_statistics(images, np.arange(64))
    assert std == pytest.approx((n - 1) ** 0.5 / n / 255, rel=1e-14)


def test_images_of_one_grey_level_cannot_be_normalised() -> None:
    with pytest.raises(UserError, match="same grey level"):
        grey_statistics(np.full((3, 4, 4), 9, dtype=np.uint8), np.arange(3))


def test_no_image_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        grey_statistics(noise(3, 4), np.array([], dtype=np.int64))
