"""How small and how large a picture may be; checked before memory is given to its pixels."""

from pneumonia.imaging.rejection import Reason, Rejected

MIN_SIDE = 28
"""Pixels: the smallest of PneumoniaMNIST. Below this are icons and previews."""

MAX_PIXELS = 80_000_000
"""A 35 x 43 cm film scanned at 50 micrometres has 60 million; the largest flat panels have 18 million.
It lies below the size at which Pillow starts to warn of decompression bombs. At the limit a 16-bit picture
takes 0.25 GB besides the file while it is decoded, from JPEG 2000 0.5 GB."""


def check_size(height: int, width: int) -> None:
    """Refuse a picture by the size that its header announces.

    Raises:
        Rejected: too small or too large.
    """
    if min(height, width) < MIN_SIDE:
        raise Rejected(Reason.TOO_SMALL, f"{height} x {width} pixels; each side must have {MIN_SIDE}")
    if height * width > MAX_PIXELS:
        raise Rejected(Reason.TOO_LARGE, f"{height} x {width} pixels; at most {MAX_PIXELS} are read")
