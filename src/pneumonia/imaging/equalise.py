"""Contrast that depends on the picture alone: its grey levels spread over the whole range."""

from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

CLIP_LIMIT = 2.0
TILES = (8, 8)


def equalise(square: NDArray[np.uint8], method: Literal["none", "histogram", "clahe"]) -> NDArray[np.uint8]:
    """Flatten the histogram of a picture.

    Args:
        square: shape (S, S), dtype uint8.
        method: none | histogram (of the whole picture) | clahe (of each of 8 x 8 tiles, interpolated, with
            the contrast limited; Zuiderveld 1994).

    Returns:
        Shape (S, S), dtype uint8; for none the picture itself.
    """
    match method:
        case "none":
            return square
        case "histogram":
            return np.asarray(cv2.equalizeHist(square), np.uint8)
        case "clahe":
            return np.asarray(cv2.createCLAHE(CLIP_LIMIT, TILES).apply(square), np.uint8)
