"""Many small films, quickly: phantom films at an eighth of their side, each in many versions."""

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from pneumonia.imaging.decode import decode
from pneumonia.sources.phantom import source
from pneumonia.sources.phantom.cohort import Film, deal_cohort

DRAWN = 250
"""Films that are really drawn, which takes 50 ms each."""
SHRINK = 1 / 8
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
    film = decode(_draw_file(_cohort()[number], 0), frontal_only=False)
    return cv2.resize(film, None, fx=SHRINK, fy=SHRINK, interpolation=cv2.INTER_AREA)


@cache
def _cohort() -> list[Film]:
    return deal_cohort(DRAWN, 0)
