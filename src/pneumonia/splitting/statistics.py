"""Mean and standard deviation of the grey levels of the training images."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pneumonia.errors import UserError

PIXELS_AT_ONCE = 2**22  # bincount widens a pixel to eight bytes: 32 MiB


class GreyStatistics(NamedTuple):
    """Of grey levels as 0..1."""

    mean: float
    std: float


def grey_statistics(images: NDArray[np.uint8], rows: NDArray[np.int64]) -> GreyStatistics:
    """Mean and (population) standard deviation over all pixels of the given images.

    Exact but for the last rounding: the 256 grey levels are counted, sums are taken of whole numbers.
    Memory is bounded whatever the number of images.

    Args:
        images: uint8 (N, S, S), as from `pneumonia.store.open_images`.
        rows: numbers of the images that count, which are those of the training split alone.

    Raises:
        UserError: all pixels have the same grey level, so that images cannot be normalised.
    """
    if len(rows) == 0:
        raise ValueError("mean and standard deviation need at least one image")
    at_once = max(1, PIXELS_AT_ONCE // (images.shape[1] * images.shape[2]))
    histogram = np.zeros(256, dtype=np.int64)
    in_file_order = np.sort(rows)
    for start in range(0, len(rows), at_once):
        histogram += np.bincount(images[in_file_order[start : start + at_once]].ravel(), minlength=256)
    counts = histogram.tolist()  # Python's whole numbers do not overflow
    pixels = sum(counts)
    total = sum(level * count for level, count in enumerate(counts))
    squares = sum(level**2 * count for level, count in enumerate(counts))
    variance_numerator = pixels * squares - total**2
    if variance_numerator == 0:
        raise UserError(
            "All pixels of the training images have the same grey level; look at the images of the source."
        )
    return GreyStatistics(mean=total / pixels / 255, std=(variance_numerator / pixels**2) ** 0.5 / 255)
