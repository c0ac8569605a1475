"""From stored values to 8-bit grey: the greyscale transformations of DICOM PS3.3 C.11 and C.7.6.3.1.2.

Every step is a function of a single stored value, so the chain is computed once for each value that the
bits can hold and applied to the picture as one table: exact, and as fast for 16 bits as for 8.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, cast

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Floats = NDArray[np.float64]
Codes = NDArray[np.uint8] | NDArray[np.uint16]


def as_codes(samples: NDArray[Any], bits: int) -> Codes:
    """The same samples in the smallest unsigned type that holds `bits` bits, in the machine's byte order."""
    wanted: Any = _UINT8 if bits <= 8 else _UINT16
    return samples if samples.dtype == wanted else samples.astype(wanted)


_UINT8, _UINT16 = np.dtype(np.uint8), np.dtype(np.uint16)


@dataclass(frozen=True, slots=True)
class Rendering:
    """The choices that the standard leaves to whoever shows the picture."""

    window_index: int = 0
    """Which of several windows or VOI tables, from 0 as they are written; the last one where there are
    fewer. In place of a damaged window comes the one before it, else the one after it."""
    no_window: Literal["percentiles", "range"] = "percentiles"
    """Grey levels of deeper than 8-bit pictures without a window: black and white at `percentiles` of the
    picture's values, or at its smallest and largest value."""
    percentiles: tuple[float, float] = (0.5, 99.5)
    """Of the pixels that are no padding. The tails are collimator, markers and dead pixels."""

    def __post_init__(self) -> None:
        low, high = self.percentiles
        if not 0 <= low < high <= 100:
            raise ValueError(f"percentiles are {self.percentiles}; two numbers of 0 to 100, ascending")
        if self.window_index < 0:
            raise ValueError(f"window_index is {self.window_index}; it must be at least 0")


@dataclass(frozen=True, slots=True)
class Rescale:
    """Modality transformation by slope and intercept (C.11.1.1.2)."""

    slope: float
    intercept: float

    def apply(self, values: Floats) -> Floats:
        """Stored values to modality values, elementwise."""
        scaled: Floats = values * self.slope + self.intercept
        return scaled


@dataclass(frozen=True, slots=True)
class LookupTable:
    """A modality or VOI table (C.11.1.1, C.11.2.1.1)."""

    first: int
    """The input that maps to the first entry; smaller ones do too, and large ones to the last."""
    entries: Floats
    bits: int
    """The entries range from 0 to 2^bits - 1."""

    def apply(self, values: Floats) -> Floats:
        """Inputs to entries, elementwise."""
        index = np.clip(np.rint(values) - self.first, 0, len(self.entries) - 1)
        entries: Floats = self.entries[index.astype(np.intp)]
        return entries

    def fraction(self, values: Floats) -> Floats:
        """Inputs to grey, 0 black to 1 white, elementwise."""
        fraction: Floats = self.apply(values) / (2**self.bits - 1)
        return fraction


@dataclass(frozen=True, slots=True)
class Window:
    """Window centre and width with their function (C.11.2.1.2 and C.11.2.1.3)."""

    centre: float
    width: float
    function: Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"] = "LINEAR"

    def fraction(self, values: Floats) -> Floats:
        """Modality values to grey, 0 black to 1 white, elementwise."""
        if self.function == "SIGMOID":
            # Beyond +-700 the exponential leaves the range of a double; the curve is flat long before.
            return 1 / (1 + np.exp(np.clip(-4 * (values - self.centre) / self.width, -700, 700)))
        centre, width = self.centre, self.width
        if self.function == "LINEAR":
            centre, width = centre - 0.5, width - 1
        if width == 0:
            return (values > centre).astype(np.float64)
        return np.clip((values - centre) / width + 0.5, 0, 1)


@dataclass(frozen=True, slots=True)
class Transformations:
    """What the header says about the way from stored values to grey."""

    modality: Rescale | LookupTable | None = None
    voi: Window | LookupTable | None = None
    inverted: bool = False
    """MONOCHROME1: the smallest value is white."""
    padding: tuple[int, int] | None = None
    """Stored values from the first to the second, both included, are no part of the picture."""


_NONE = Transformations()


@dataclass(frozen=True, slots=True)
class Stored:
    """The samples of one frame as they are stored."""

    codes: Codes
    """Shape (H, W), below 2^bits; two's complement in `bits` bits when signed."""
    bits: int
    signed: bool = False

    def values(self) -> Floats:
        """The value that each code stands for: shape (2^bits,)."""
        codes = np.arange(2**self.bits, dtype=np.float64)
        return np.where(codes < 2 ** (self.bits - 1), codes, codes - 2**self.bits) if self.signed else codes


def to_grey(stored: Stored, transformations: Transformations, rendering: Rendering) -> NDArray[np.uint8]:
    """Apply modality, VOI and presentation in the standard's order.

    Padding is shown black, whatever the photometric interpretation: it is background, as are the margins
    that padding to a square adds.

    Args:
        stored: one frame.
        transformations: what the header says.
        rendering: what it leaves open.

    Returns:
        Shape (H, W), dtype uint8, 0 black, 255 white.
    """
    if stored.bits == 8 and not stored.signed and transformations == _NONE:
        return cast("NDArray[np.uint8]", as_codes(stored.codes, 8))
    values = stored.values()
    padded = np.zeros(values.shape, bool)
    if transformations.padding is not None:
        first, last = transformations.padding
        padded = (values >= first) & (values <= last)

    # A width next to nothing divides to infinity, which the clipping after it takes for black or white.
    with np.errstate(over="ignore"):
        modality = values if transformations.modality is None else transformations.modality.apply(values)
        if transformations.voi is not None:
            fraction = transformations.voi.fraction(modality)
        elif stored.bits == 8 and not stored.signed and transformations.modality is None:
            fraction = values / 255
        else:
            counts = np.where(padded, 0, histogram(stored.codes, stored.bits))
            fraction = _spread(modality, counts, rendering)
    if transformations.inverted:
        fraction = 1 - fraction

    table = np.rint(255 * fraction).astype(np.uint8)
    table[padded] = 0
    grey = np.empty(stored.codes.shape, np.uint8)
    for rows in _blocks(stored.codes):
        np.take(table, stored.codes[rows], out=grey[rows], mode="clip")
    return grey


def _blocks(codes: Codes) -> Iterator[slice]:
    """Rows of about a million pixels: take and bincount make 8-byte integers of all that they are given."""
    step = max(1, 2**20 // codes.shape[1])
    return (slice(top, top + step) for top in range(0, codes.shape[0], step))


def histogram(codes: Codes, bits: int) -> NDArray[np.int64]:
    """How often each code occurs: shape (2^bits,), dtype int64."""
    counts = np.zeros(2**bits, np.int64)
    for rows in _blocks(codes):
        counts += np.bincount(codes[rows].ravel(), minlength=2**bits)
    return counts


def _spread(modality: Floats, counts: NDArray[np.int64], rendering: Rendering) -> Floats:
    """Grey for a picture without a window, by its own values; `counts` is how often each occurs."""
    low_percentile, high_percentile = (
        rendering.percentiles if rendering.no_window == "percentiles" else (0, 100)
    )
    low, high = (percentile(modality, counts, q) for q in (low_percentile, high_percentile))
    if np.count_nonzero((modality >= low) & (modality <= high)) < MIN_LEVELS:
        # Stretching would turn the noise of an empty picture into a picture.
        return np.zeros(modality.shape)
    return np.clip((modality - low) / (high - low), 0, 1)


def percentile(values: Floats, counts: NDArray[np.int64], q: float) -> float:
    """The smallest value that at least q percent of the pixels do not exceed (the inverted CDF).

    Args:
        values: shape (K,), in any order.
        counts: shape (K,), how many pixels have each value.
        q: 0 to 100; 0 gives the smallest value that occurs.

    Returns:
        One of `values`; 0 when there are no pixels.
    """
    occurs = counts > 0
    if not occurs.any():
        return 0.0
    values, counts = values[occurs], counts[occurs]
    order = np.argsort(values, kind="stable")
    cumulative = np.cumsum(counts[order])
    return float(values[order][np.searchsorted(cumulative, q * cumulative[-1] / 100)])


def luminance(rgb: Codes, bits: int) -> NDArray[np.uint8]:
    """RGB to grey by ITU-R BT.601: 0.299 R + 0.587 G + 0.114 B, rounded.

    It is the Y of YBR_FULL and of JPEG's YCbCr, so that a colour file gives the same grey in each encoding.

    Args:
        rgb: shape (H, W, 3).
        bits: of a sample; of more than 8 the upper 8 are taken.

    Returns:
        Shape (H, W), dtype uint8.
    """
    eight_bits = as_codes(rgb >> max(0, bits - 8), 8)
    return np.asarray(Image.fromarray(np.ascontiguousarray(eight_bits)).convert("L"))


MIN_LEVELS = 8
"""Neighbouring grey levels or stored values; what lies within fewer shows nothing."""


def near_constant(grey: NDArray[np.uint8]) -> bool:
    """Whether the central 98 % of the pixels lie within fewer than MIN_LEVELS neighbouring grey levels.

    Judged on a grid of at most 128 x 128 pixels, which is enough for two percentiles.
    """
    steps = tuple(-(-side // 128) for side in grey.shape)
    sample = grey[:: steps[0], :: steps[1]]
    if _varies(sample[::16].tobytes(), sample.size):
        return False
    # Unlike bincount it makes no 8-byte integers of them first; a float counts so few exactly.
    counts = cv2.calcHist([np.ascontiguousarray(sample)], [0], None, [256], [0, 256])
    first, last = counts.ravel().cumsum().searchsorted((0.01 * sample.size, 0.99 * sample.size))
    return bool(last - first < MIN_LEVELS - 1)


_ALL_LEVELS = bytes(range(256))


def _varies(some: bytes, total: int) -> bool:
    """Whether `some` pixels of `total` are enough to say that the central 98 % span MIN_LEVELS levels.

    They nearly always are, and the others would have to come from memory: more than a hundredth of all lies
    MIN_LEVELS - 1 levels or more above another hundredth. Bytes alone, as numpy's code has to come too.
    """
    middle = sum(some) // len(some)
    dark = len(some) - len(some.translate(None, _ALL_LEVELS[: max(0, middle - MIN_LEVELS // 2 + 1)]))
    bright = len(some.translate(None, _ALL_LEVELS[: middle + MIN_LEVELS // 2]))
    return min(dark, bright) > 0.01 * total
