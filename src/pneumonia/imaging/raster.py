"""A PNG or JPEG file to 8-bit grey.

Pillow and not OpenCV, at the same speed (1024 x 1024 PNG: 245 a second each, one core): OpenCV shows what
is missing of a truncated file as grey without saying so, and its greys of palettes, alpha and CMYK are its
own. Of a JPEG that has lost data but not its end nobody says so here either: see `decode_codestream`.
"""

import struct
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from pneumonia.imaging.codestream import decode_codestream, decode_png, read_codestream_header
from pneumonia.imaging.grey import Rendering, Stored, Transformations, luminance, to_grey
from pneumonia.imaging.limits import check_size
from pneumonia.imaging.rejection import Reason, Rejected
from pneumonia.imaging.third_party import failing, parsing

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_PNG_END = b"IEND"
_JPEG_END = b"\xff\xd9"
_EXIF_WITHIN = 2**17
"""Bytes: the EXIF segment is the first, or follows JFIF and a colour profile."""


def looks_like_raster(content: bytes) -> bool:
    """Whether the bytes begin as PNG or JPEG do."""
    return content.startswith((_PNG, _JPEG))


def decode_raster(content: bytes, rendering: Rendering) -> NDArray[np.uint8]:
    """Decode a PNG or a file of the JPEG family.

    Colour becomes luminance; what is transparent shows black, the background of a radiograph; CMYK goes by
    way of RGB; the EXIF orientation is followed. 16-bit grey and 12- or 16-bit JPEG hold a scanner's or a
    detector's values as DICOM does, and are rendered by the same rule as DICOM without a window. 16-bit
    colour is ready to be shown: its upper 8 bits are taken.

    Args:
        content: a file for which `looks_like_raster` holds.
        rendering: the rule for deep grey.

    Returns:
        Shape (H, W), dtype uint8, 0 black, 255 white.

    Raises:
        Rejected: truncated, damaged, too small or too large. A JPEG that has lost data but not its end may
            pass.
    """
    if content.startswith(_JPEG):
        header = read_codestream_header(content)
        if header.coding != "jpeg" or header.samples != 4:
            return _decode_jpeg(content, rendering)
        size = (header.width, header.height)
    else:
        size = _png_size(content)
    return _decode_by_pillow(content, size, rendering)


def _decode_jpeg(content: bytes, rendering: Rendering) -> NDArray[np.uint8]:
    samples, header = decode_codestream(content)
    if header.coding != "jpeg":
        if samples.ndim == 3:
            return luminance(samples, header.precision)
        return to_grey(Stored(samples, header.precision), Transformations(), rendering)
    grey = samples.astype(np.uint8, copy=False)
    if b"Exif\0\0" not in content[:_EXIF_WITHIN]:
        return grey
    with parsing(Reason.UNREADABLE, "damaged EXIF"), Image.open(BytesIO(content), formats=["JPEG"]) as image:
        return np.asarray(_turn_upright(image, Image.fromarray(grey)))


def _decode_by_pillow(content: bytes, size: tuple[int, int], rendering: Rendering) -> NDArray[np.uint8]:
    # A damaged file without its end has lost it; one with its end has lost something within.
    end = _JPEG_END if content.startswith(_JPEG) else _PNG_END
    reason = Reason.UNREADABLE if end in content[-1024:] else Reason.TRUNCATED
    with parsing(reason, "damaged PNG or CMYK JPEG"):
        image = Image.open(BytesIO(content), formats=["PNG", "JPEG"])
        if image.size != size:
            raise ValueError("two sizes")
        flat = _flatten(image, content)
        image.load()  # damage of pixels is not forgiven, as that of EXIF data is
        flat = _turn_upright(image, flat)
        pixels = np.asarray(flat)
        transparent = flat.info.get("transparency")
    if pixels.dtype == np.uint8:
        return pixels
    padding = (transparent, transparent) if isinstance(transparent, int) else None
    return to_grey(Stored(pixels.astype(np.uint16), 16), Transformations(padding=padding), rendering)


def _png_size(content: bytes) -> tuple[int, int]:
    """Width and height, before Pillow is asked: it reads the text of a PNG first, whatever the size."""
    if content[12:16] != b"IHDR" or len(content) < 24:
        raise Rejected(Reason.UNREADABLE if _PNG_END in content else Reason.TRUNCATED, "a PNG without header")
    width, height = struct.unpack_from(">II", content, 16)
    check_size(height, width)
    return width, height


_GREY_WITH_ALPHA_OF_16_BITS = b"\x10\x04"
"""Depth and colour type in the header of a PNG."""


def _flatten(image: Image.Image, content: bytes) -> Image.Image:
    """To mode L or I;16, the latter with the level of what is transparent, where there is any."""
    if content.startswith(_PNG) and content[24:26] == _GREY_WITH_ALPHA_OF_16_BITS:
        # Of these Pillow keeps the upper 8 bits, where a detector's 12 are nearly black.
        grey, alpha = np.moveaxis(decode_png(content).astype(np.uint32), -1, 0)
        return _without_alpha(grey, alpha)
    if image.mode.startswith("I") or (image.mode == "L" and not image.has_transparency_data):
        return image
    if image.has_transparency_data:
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        return Image.alpha_composite(black, image.convert("RGBA")).convert("L")
    if image.mode in ("P", "CMYK"):
        image = image.convert("RGB")
    return image.convert("L")


def _without_alpha(grey: NDArray[np.uint32], alpha: NDArray[np.uint32]) -> Image.Image:
    """Grey on black: both of shape (H, W), up to 65,535, to mode I;16.

    Where anything is fully transparent, level 0 is left to it alone, as a PNG's own transparent level is.
    """
    levels = (grey * alpha // 0xFFFF).astype(np.uint16)
    if alpha.all():
        return Image.fromarray(levels)
    # From 0 to 1 of 65,535: black stays black, and counts as a pixel.
    image = Image.fromarray(np.where(alpha > 0, np.maximum(levels, 1), 0).astype(np.uint16))
    image.info["transparency"] = 0
    return image


_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _turn_upright(original: Image.Image, flat: Image.Image) -> Image.Image:
    """Undo the orientation of the EXIF data of `original` (CIPA DC-008 4.6.4) in `flat`."""
    orientation = _orientation(original)
    return flat.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else flat


def _orientation(image: Image.Image) -> object:
    """As the EXIF data say; 1, upright, where they are damaged: the pixels may be whole."""
    try:
        with failing(Reason.UNREADABLE, "damaged EXIF"):
            return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Rejected:
        return 1
