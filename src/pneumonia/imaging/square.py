"""Any picture to a square of the wanted size."""

from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Fit = Literal["squash", "pad", "crop"]


def to_square(grey: NDArray[np.uint8], size: int, fit: Fit) -> NDArray[np.uint8]:
    """Resize to a square.

    Shrinking averages areas, which keeps fine structure from aliasing; growing interpolates linearly.

    Args:
        grey: shape (H, W), dtype uint8.
        size: side of the result in pixels.
        fit: squash (each axis scaled on its own) | pad (aspect kept, the rest black, centred) |
            crop (the central square).

    Returns:
        Shape (size, size), dtype uint8.
    """
    height, width = grey.shape
    if fit == "crop":
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        return _resize(grey[top : top + side, left : left + side], size, size)
    if fit == "squash":
        return _resize(grey, size, size)
    longest = max(height, width)
    inner_height = max(1, round(height * size / longest))
    inner_width = max(1, round(width * size / longest))
    top, left = (size - inner_height) // 2, (size - inner_width) // 2
    square = np.zeros((size, size), np.uint8)
    square[top : top + inner_height, left : left + inner_width] = _resize(grey, inner_height, inner_width)
    return square


def _resize(grey: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    shrinks = height <= grey.shape[0] and width <= grey.shape[1]
    resized = cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return np.asarray(resized, np.uint8)
