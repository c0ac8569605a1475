"""Many small films, quickly: phantom films at an eighth of their side, each in hundreds of versions."""

from functools import cache
from unittest.mock import patch

import cv2
import numpy as np
from numpy.typing import NDArray

from pneumonia.imaging.decode import decode
from pneumonia.sources.phantom import radiograph, source
from pneumonia.sources.phantom.cohort import Film, deal_cohort

DRAWN = 500
"""Films that are really drawn; a film takes 25 ms, however small."""
SHAPES = tuple((height // 8, width // 8) for height, width in radiograph._SHAPES)
_draw_file = source.draw_file


def draw_small_file(film: Film, seed: int) -> bytes:
    """One of the drawn films, turned, zoomed, shifted and noisy in its own way, as PNG."""
    dice = np.random.default_rng([seed, film.index])
    drawn = _drawn(film.index % DRAWN)
    height, width = drawn.shape
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), dice.uniform(-12, 12), dice.uniform(0.8, 1.2))
    matrix[:, 2] += dice.uniform(-0.12, 0.12, 2) * (width, height)
    moved = cv2.warpAffine(drawn, matrix, (width, height), borderMode=cv2.BORDER_REFLECT)
    noisy = np.clip(moved + dice.normal(0, 6, moved.shape), 0, 255).astype(np.uint8)
    return bytes(cv2.imencode(".png", noisy)[1])


@cache
def _drawn(number: int) -> NDArray[np.uint8]:
    with patch.object(radiograph, "_SHAPES", SHAPES):
        return decode(_draw_file(_cohort()[number], 0), frontal_only=False)


@cache
def _cohort() -> list[Film]:
    return deal_cohort(DRAWN, 0)
