"""Compressed frames that describe themselves: the JPEG family and JPEG 2000.

The decoder is chosen by what the frame says of itself, not by the transfer syntax: real files name the
wrong one, or none. Pictures a second, 1024 x 1024, 12 bits where not said, one core; all give the same
pixels. Deaths are of the whole process, in 1,500 frames with random damage each:

==================  ============================  =====================================================
coding              taken                         also measured
==================  ============================  =====================================================
JPEG, 8 bits        imagecodecs          965      OpenCV 619, prints about damaged frames; Pillow 490
JPEG, 12 bits       imagecodecs          174      GDCM 53, 29 deaths
JPEG lossless       imagecodecs          176      GDCM 55, 52 deaths; imagecodecs.ljpeg 110, 45 deaths
JPEG-LS             imagecodecs           67      GDCM 44; pyjpegls 66
JPEG 2000 lossless  imagecodecs          9.7      pylibjpeg-openjpeg 9.7; OpenCV 9.5; GDCM 8.6
JPEG 2000 lossy     imagecodecs           49      pylibjpeg-openjpeg 49; OpenCV 48; GDCM 32
HTJ2K               imagecodecs          106      pylibjpeg-openjpeg 106; OpenJPH 231, 14 deaths
==================  ============================  =====================================================

What is taken had no death in 15,000 frames of each kind. imagecodecs (BSD-3-Clause) brings libjpeg-turbo,
CharLS and OpenJPEG, all under permissive licences. Where it has no wheel for the platform, JPEG of 8 bits
still comes out of Pillow, with the same pixels; the rest is rejected by the name of the package.
"""

from dataclasses import dataclass
from io import BytesIO
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pneumonia.imaging.grey import Codes, as_codes, luminance
from pneumonia.imaging.limits import check_size
from pneumonia.imaging.rejection import Reason, Rejected
from pneumonia.imaging.third_party import failing, parsing

try:
    import imagecodecs
except ModuleNotFoundError:
    imagecodecs = None  # type: ignore[assignment]

Buffer = bytes | memoryview
"""A frame within its file, so that nothing is copied; most are decoded without being looked through."""

Coding = Literal["jpeg", "jpeg-12", "jpeg-lossless", "jpeg-ls", "jpeg-2000"]

_END = b"\xff\xd9"
"""EOI of the JPEG family and EOC of JPEG 2000."""
_SCAN = b"\xff\xda"
_TILE = b"\xff\x93"


@dataclass(frozen=True, slots=True)
class Codestream:
    """What a compressed frame says of itself."""

    coding: Coding
    height: int
    width: int
    samples: int
    precision: int
    """Bits of a sample."""
    colour_told: bool = False
    """A JPEG says of itself whether it is RGB or YCbCr, by a JFIF or an Adobe segment."""


def is_codestream(frame: Buffer) -> bool:
    """Whether the bytes begin as the JPEG family or JPEG 2000 do."""
    return bytes(frame[:12]).startswith((b"\xff\xd8\xff", b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0cjP  "))


def read_codestream_header(frame: Buffer) -> Codestream:
    """Read size and coding, decoding nothing.

    Raises:
        Rejected: damaged, of a coding that nobody uses, too small or too large.
    """
    reason = Reason.UNREADABLE if _has_end(frame) else Reason.TRUNCATED
    with failing(reason, "damaged header of a compressed frame"):
        header = _jpeg_header(frame) if frame[:2] == b"\xff\xd8" else _jpeg2000_header(bytes(frame))
    if not 2 <= header.precision <= 16 or header.samples not in (1, 3, 4):
        raise Rejected(
            Reason.UNREADABLE, f"compressed frame of {header.samples} samples with {header.precision} bits"
        )
    check_size(header.height, header.width)
    return header


def decode_codestream(frame: Buffer, *, stored_as_rgb: bool | None = None) -> tuple[Codes, Codestream]:
    """Decode one frame.

    Args:
        frame: the whole codestream; bytes after its end are ignored.
        stored_as_rgb: whether the header around the frame says that its three samples are RGB; None where
            there is no such header. Of lossless JPEG the samples come as they are stored, whatever they are;
            else it counts only where a JPEG frame does not say so itself.

    Returns:
        The samples and the frame's header. Samples have dtype uint8 up to 8 bits of precision, else uint16;
        negative ones of JPEG 2000 are in two's complement. Grey has shape (H, W), and so has the luminance,
        which is all that comes of 8-bit JPEG in colour; other colour has shape (H, W, 3), that of 12-bit JPEG
        as RGB.

    Raises:
        Rejected: truncated, damaged, too small or too large, or no decoder is installed. A JPEG (8 bits, 12
            bits or lossless) that has lost data but not its end may pass: libjpeg only warns and fills the
            gap, and imagecodecs drops the warning. JPEG-LS and JPEG 2000 are refused then.
    """
    header = read_codestream_header(frame)
    if not _has_end(frame):
        raise Rejected(Reason.TRUNCATED, "the compressed frame has no end")
    if header.samples == 4:
        raise Rejected(Reason.UNREADABLE, "compressed frame of 4 samples")
    rgb = bool(stored_as_rgb) and not header.colour_told
    as_stored = stored_as_rgb is not None and header.samples == 3
    damaged = f"damaged {header.coding} frame"
    if header.coding == "jpeg" and imagecodecs is not None:
        with failing(Reason.UNREADABLE, damaged):
            samples = _decode_jpeg(frame, rgb)
    else:
        with parsing(Reason.UNREADABLE, damaged):
            samples = _decode_rarer(bytes(frame), header.coding, rgb, as_stored)
    if samples.shape[:2] != (header.height, header.width):
        raise Rejected(Reason.UNREADABLE, "a compressed frame of two sizes")
    spare_bits = samples.dtype.kind == "u" and header.precision < 8 * samples.dtype.itemsize
    if spare_bits and int(samples.max()) >> header.precision:
        raise Rejected(Reason.UNREADABLE, f"samples of more than {header.precision} bits")
    return as_codes(samples, header.precision), header


def _has_end(frame: Buffer) -> bool:
    """Whether the last scan or tile ends; neither marker can occur within compressed data."""
    # Before the padding of a DICOM fragment, or before whatever a camera appends.
    if _END in bytes(frame[-64:]):
        return True
    frame = bytes(frame)
    return frame.rfind(_END) > max(frame.rfind(_SCAN), frame.rfind(_TILE))


def _decode_jpeg(frame: Buffer, rgb: bool) -> NDArray[np.uint8]:
    """To luminance, without decoding the colour of YCbCr; libjpeg takes a frame for that unless it knows."""
    samples: NDArray[np.uint8] = imagecodecs.jpeg8_decode(
        cast("bytes", frame), colorspace="RGB" if rgb else None, outcolorspace="GRAYSCALE"
    )
    return samples


def _decode_rarer(frame: bytes, coding: Coding, rgb: bool, as_stored: bool) -> NDArray[Any]:
    if coding == "jpeg":
        return _decode_jpeg_by_pillow(frame, rgb)
    if imagecodecs is None:
        raise Rejected(Reason.UNSUPPORTED_COMPRESSION, f"{coding}: install the package imagecodecs")
    samples: NDArray[Any]
    if coding == "jpeg-ls":
        samples = imagecodecs.jpegls_decode(frame)
    elif coding == "jpeg-2000":
        samples = imagecodecs.jpeg2k_decode(frame, numthreads=1)
    elif coding == "jpeg-12":
        samples = imagecodecs.jpeg8_decode(frame, colorspace="RGB" if rgb else None)
    else:
        # libjpeg takes a JFIF segment for YCbCr, and refuses to convert that without loss; RGB it need not.
        unchanged = "RGB" if as_stored else None
        samples = imagecodecs.jpeg8_decode(frame, colorspace=unchanged, outcolorspace=unchanged)
    return samples


def decode_png(content: bytes) -> NDArray[Any]:
    """Decode a PNG to what it holds: shape (H, W) or (H, W, samples), dtype uint8 or uint16.

    Raises:
        Rejected: no decoder is installed.
    """
    if imagecodecs is None:
        raise Rejected(Reason.UNSUPPORTED_COMPRESSION, "PNG: install the package imagecodecs")
    samples: NDArray[Any] = imagecodecs.png_decode(content)
    return samples


def _decode_jpeg_by_pillow(frame: bytes, rgb: bool) -> NDArray[np.uint8]:
    with Image.open(BytesIO(frame), formats=["JPEG"]) as image:
        if not rgb:
            image.draft("L", None)
            return np.asarray(image.convert("L"))
        # As "YCbCr" the samples come unchanged.
        image.draft("YCbCr", None)
        return luminance(np.asarray(image), 8)


_MAX_SCANS = 200
"""A progressive colour JPEG has about ten; thousands would keep a decoder busy for hours."""


def _jpeg_header(frame: Buffer) -> Codestream:
    """Find the start of frame: ITU-T T.81 B.2.2, and for JPEG-LS ITU-T T.87 C.2.2."""
    position, colour_told = 2, False
    while True:
        if frame[position] != 0xFF:
            raise ValueError("no marker where one must be")
        marker = frame[position + 1]
        if marker == 0xFF:
            position += 1
            continue
        if marker in _STARTS_OF_FRAME:
            coding = _STARTS_OF_FRAME[marker]
            precision = frame[position + 4]
            height = int.from_bytes(frame[position + 5 : position + 7], "big")
            width = int.from_bytes(frame[position + 7 : position + 9], "big")
            samples = frame[position + 9]
            if coding == "jpeg" and precision != 8:
                coding = "jpeg-12"
            if marker == _PROGRESSIVE and bytes(frame).count(_SCAN) > _MAX_SCANS:
                raise ValueError("too many scans")
            return Codestream(coding, height, width, samples, precision, colour_told)
        colour_told |= frame[position + 4 : position + 9] in (b"JFIF\0", b"Adobe")
        if marker == 0xDA:
            raise ValueError("a scan before the frame's header")
        position += 2 + int.from_bytes(frame[position + 2 : position + 4], "big")


_PROGRESSIVE = 0xC2
_STARTS_OF_FRAME: dict[int, Coding] = {
    0xC0: "jpeg",  # baseline
    0xC1: "jpeg",  # extended
    _PROGRESSIVE: "jpeg",
    0xC3: "jpeg-lossless",
    0xF7: "jpeg-ls",
}


def _jpeg2000_header(frame: bytes) -> Codestream:
    """Read the SIZ segment: ITU-T T.800 A.5.1. Some files wrap the codestream in the boxes of JP2."""
    start = frame.index(b"\xff\x4f\xff\x51")
    right, bottom, left, top = (
        int.from_bytes(frame[at : at + 4], "big") for at in range(start + 8, start + 24, 4)
    )
    samples = int.from_bytes(frame[start + 40 : start + 42], "big")
    precision = (frame[start + 42] & 0x7F) + 1
    return Codestream("jpeg-2000", bottom - top, right - left, samples, precision)
