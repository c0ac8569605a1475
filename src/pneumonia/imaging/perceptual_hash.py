"""A short number that stays nearly the same when a picture is saved, scaled or windowed anew."""

import cv2
import numpy as np
from numpy.typing import NDArray

_SIDE = 32
_LOW = 8


def perceptual_hash(square: NDArray[np.uint8]) -> str:
    """Hash a picture by the signs of its coarse structure (pHash; Zauner 2010, section 3.2.1).

    The 8 x 8 lowest frequencies of the cosine transform of the 32 x 32 picture, each a bit: above the median
    of them or not. The mean grey has no say. Two hashes differ in an even number of bits but for ties.

    Args:
        square: shape (S, S), dtype uint8.

    Returns:
        64 bits in 16 hexadecimal digits.
    """
    small = cv2.resize(square, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    coefficients = cv2.dct(small)[:_LOW, :_LOW].ravel()
    bits = coefficients > np.median(coefficients[1:])
    bits[0] = False
    return np.packbits(bits).tobytes().hex()
