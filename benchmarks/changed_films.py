"""The same films as another device or archive would have made them: what a network must not depend on.

Each change is fixed, without chance. Tone, contrast, grain, edges and size are changed in training too, by
other amounts, where `augment` says so, and margins with `collimate`; JPEG and local contrast are not, and
show what a network does with what it has not been taught.
"""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

Film = NDArray[np.uint8]
"""Shape (S, S)."""


def _edges_enhanced(film: Film) -> Film:
    soft = cv2.GaussianBlur(film, (0, 0), film.shape[0] / 100)
    return cv2.addWeighted(film, 2.0, soft, -1.0, 0.0)


def _coarse(film: Film) -> Film:
    side = film.shape[0]
    half = cv2.resize(film, (side // 2, side // 2), interpolation=cv2.INTER_AREA)
    return cv2.resize(half, (side, side), interpolation=cv2.INTER_LINEAR)


def _compressed(film: Film) -> Film:
    content = cv2.imencode(".jpg", film, [cv2.IMWRITE_JPEG_QUALITY, 20])[1]
    read = cv2.imdecode(content, cv2.IMREAD_GRAYSCALE)
    assert read is not None
    return read


def _grainy(film: Film) -> Film:
    grain = np.random.default_rng(0).normal(0, 10, film.shape)
    return np.clip(film + grain, 0, 255).astype(np.uint8)


def _toned(film: Film, power: float) -> Film:
    return cv2.LUT(film, (255 * (np.arange(256) / 255) ** power).astype(np.uint8))


def _flat(film: Film) -> Film:
    return cv2.LUT(film, np.linspace(64, 192, 256).astype(np.uint8))


def _local_contrast(film: Film) -> Film:
    return cv2.createCLAHE(clipLimit=3.0, tileGridSize=(8, 8)).apply(film)


def _collimated(film: Film) -> Film:
    margin = film.shape[0] // 12
    narrow = np.zeros_like(film)
    narrow[margin:-margin, margin:-margin] = film[margin:-margin, margin:-margin]
    return narrow


def _cut_closer(film: Film) -> Film:
    side, margin = film.shape[0], film.shape[0] // 12
    return cv2.resize(film[margin:-margin, margin:-margin], (side, side), interpolation=cv2.INTER_LINEAR)


CHANGES: dict[str, Callable[[Film], Film]] = {
    "edges enhanced": _edges_enhanced,
    "half the resolution": _coarse,
    "JPEG quality 20": _compressed,
    "grainy": _grainy,
    "darker": lambda film: _toned(film, 1.6),
    "brighter": lambda film: _toned(film, 0.6),
    "half the contrast": _flat,
    "local contrast": _local_contrast,
    "black margins": _collimated,
    "cut closer": _cut_closer,
}


def changed(films: NDArray[np.uint8], change: Callable[[Film], Film]) -> NDArray[np.uint8]:
    """Change each film: uint8, shape (N, S, S), as they were."""
    return np.stack([change(film) for film in films])
