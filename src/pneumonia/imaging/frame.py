"""One frame of a DICOM file to its samples, whatever the transfer syntax."""

from dataclasses import dataclass, replace
from typing import Any, Literal, cast, get_args

import numpy as np
from pydicom.encaps import get_frame
from pydicom.pixels.decoders.base import get_decoder
from pydicom.tag import Tag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from pneumonia.imaging.codestream import Buffer, decode_codestream, is_codestream
from pneumonia.imaging.elements import code, integer
from pneumonia.imaging.grey import Codes, Stored, as_codes
from pneumonia.imaging.header import Header
from pneumonia.imaging.limits import check_size
from pneumonia.imaging.plain_header import UNDEFINED_LENGTH, AnyDataset, PlainDataset, by_pydicom
from pneumonia.imaging.rejection import Reason, Rejected
from pneumonia.imaging.third_party import parsing

Photometric = Literal[
    "MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"
]


_PHOTOMETRIC = frozenset(get_args(Photometric))


@dataclass(frozen=True, slots=True)
class Layout:
    """The Image Pixel module (PS3.3 C.7.6.3), with what broken files leave out filled in."""

    height: int
    width: int
    samples: int
    planar: int
    allocated: int
    stored: int
    high_bit: int
    signed: bool
    photometric: Photometric
    frames: int

    @property
    def frame_bytes(self) -> int:
        """Length of an uncompressed frame."""
        # Two pixels of YBR_FULL_422 share their colour: four samples instead of six.
        samples = 2 if self.photometric == "YBR_FULL_422" else self.samples
        return self.height * self.width * samples * self.allocated // 8


def read_layout(dataset: AnyDataset) -> Layout:
    """Read and check the shape of the pixel data.

    Raises:
        Rejected: missing, contradictory or unsupported values; too small or too large.
    """
    height, width = integer(dataset, "Rows"), integer(dataset, "Columns")
    check_size(height, width)
    samples = integer(dataset, "SamplesPerPixel", 1)
    allocated = integer(dataset, "BitsAllocated")
    if allocated not in (8, 16):
        raise Rejected(Reason.UNREADABLE, f"{allocated} bits allocated for a sample; 8 and 16 are supported")
    stored = integer(dataset, "BitsStored", allocated)
    if not 1 < stored <= allocated:
        raise Rejected(Reason.UNREADABLE, f"{stored} bits stored of {allocated} allocated")
    high_bit = integer(dataset, "HighBit", stored - 1)
    if not stored - 1 <= high_bit < allocated:
        # Seen in the wild, and ignored by viewers: the samples lie in the low bits.
        high_bit = stored - 1
    photometric = code(dataset, "PhotometricInterpretation") or ("MONOCHROME2" if samples == 1 else "RGB")
    if photometric not in _PHOTOMETRIC:
        raise Rejected(Reason.UNREADABLE, "unsupported photometric interpretation")
    grey = photometric in ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
    if samples != (1 if grey else 3):
        raise Rejected(Reason.UNREADABLE, f"{photometric} with {samples} samples a pixel")
    return Layout(
        height=height,
        width=width,
        samples=samples,
        planar=integer(dataset, "PlanarConfiguration", 0),
        allocated=allocated,
        stored=stored,
        high_bit=high_bit,
        signed=integer(dataset, "PixelRepresentation", 0) == 1,
        photometric=cast("Photometric", photometric),
        frames=max(1, integer(dataset, "NumberOfFrames", 1)),
    )


@dataclass(frozen=True, slots=True)
class Frame:
    """One decoded frame."""

    stored: Stored
    """Its samples, shifted and masked to the bits that are stored; colour has shape (H, W, 3)."""
    photometric: Photometric
    """What the samples are, which for compressed colour is not always what the header says."""


def read_frame(header: Header) -> Frame:
    """Decode one frame.

    Of several frames the middle one is taken, the earlier of two: the first of a run is often taken before
    the exposure has settled, and the middle slice of a tomosynthesis is the one through the hila.

    Raises:
        Rejected: no pixels, damaged, truncated, a compression that nothing here decodes.
    """
    layout = read_layout(header.dataset)
    index = (layout.frames - 1) // 2
    content, undefined_length, pixel_vr = _pixel_data(header.dataset)
    needed = layout.frame_bytes * layout.frames
    # Files that name a compression are met with plain pixels in them, and a byte to make these even.
    misnamed = len(content) in (needed, needed + 1) and content[:4] != _ITEM

    if not undefined_length and (header.syntax in _NATIVE or misnamed):
        if len(content) < needed:
            raise Rejected(Reason.TRUNCATED, f"{len(content)} of {needed} bytes of pixels")
        syntax = header.syntax if header.syntax in _NATIVE else ExplicitVRLittleEndian
        with parsing(Reason.UNREADABLE, "damaged pixel data"):
            return _native(layout, content, index, syntax, pixel_vr)

    if header.syntax == RLELossless:
        if layout.frames == 1:
            content = _without_offsets(content)
        with parsing(Reason.UNREADABLE, "damaged RLE frame"):
            return _native(layout, content, index, header.syntax, pixel_vr)
    frame = _encapsulated_frame(header.dataset, content, index, layout.frames)
    if is_codestream(frame):
        return _from_codestream(layout, frame)
    if header.syntax == _ENCAPSULATED_UNCOMPRESSED:
        with parsing(Reason.UNREADABLE, "damaged pixel data"):
            return _native(replace(layout, frames=1), frame, 0, ExplicitVRLittleEndian, pixel_vr)
    raise Rejected(Reason.UNSUPPORTED_COMPRESSION, _help(header.syntax))


_ENCAPSULATED_UNCOMPRESSED = UID("1.2.840.10008.1.2.1.98")

_NATIVE = (
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
)


def _pixel_data(dataset: AnyDataset) -> tuple[memoryview, bool, str]:
    """Value, whether its length is undefined, and VR."""
    if isinstance(dataset, PlainDataset):
        vr, length, value = dataset.view(_PIXEL_DATA)
        if vr in ("OB", "OW"):  # which pydicom would not convert either
            return value, length == UNDEFINED_LENGTH, vr
    with parsing(Reason.UNREADABLE, "damaged pixel data"):
        element = by_pydicom(dataset)[_PIXEL_DATA]
        return memoryview(element.value or b""), element.is_undefined_length, str(element.VR)


def _encapsulated_frame(dataset: AnyDataset, content: memoryview, index: int, frames: int) -> Buffer:
    """Join the fragments of a frame. A file's only frame has them all, whatever the offset tables say."""
    if index == 0 and (frames == 1 or _EXTENDED_OFFSETS not in dataset):
        only = _only_fragment(content)
        if only is not None:
            return only
    with parsing(Reason.TRUNCATED, "pixel data without the frame that was wanted"):
        if frames == 1:
            return get_frame(bytes(_without_offsets(content)), 0, number_of_frames=1)
        whole = by_pydicom(dataset)
        offsets, lengths = whole.get("ExtendedOffsetTable"), whole.get("ExtendedOffsetTableLengths")
        extended = (offsets, lengths) if offsets and lengths else None
        return get_frame(bytes(content), index, number_of_frames=frames, extended_offsets=extended)


_PIXEL_DATA = Tag("PixelData")
_EXTENDED_OFFSETS = Tag("ExtendedOffsetTable")
_ITEM = b"\xfe\xff\x00\xe0"
_NO_OFFSETS = _ITEM + b"\0\0\0\0"
_ONE_OFFSET = _ITEM + b"\4\0\0\0" + b"\0\0\0\0"


def _only_fragment(content: memoryview) -> memoryview | None:
    """The fragment where there is but one, as in most files: the first frame (PS3.5 A.4)."""
    for table in (_NO_OFFSETS, _ONE_OFFSET):
        start = len(table) + 8
        length = int.from_bytes(content[start - 4 : start], "little")
        if content[: start - 4] == table + _ITEM and start + length == len(content):
            return content[start:]
    return None


def _without_offsets(content: memoryview) -> memoryview:
    """The same fragments after an empty offset table (PS3.5 A.4): that of an only frame does no more harm."""
    end = 8 + int.from_bytes(content[4:8], "little")
    if content[:4] != _ITEM or end >= len(content):
        return content
    return memoryview(_NO_OFFSETS + content[end:])


def _native(layout: Layout, content: Buffer, index: int, syntax: UID, pixel_vr: str) -> Frame:
    """Uncompressed and RLE samples, by pydicom; it undoes planes, sub-sampling and swapped bytes."""
    options: dict[str, Any] = {
        "rows": layout.height,
        "columns": layout.width,
        "number_of_frames": layout.frames,
        "samples_per_pixel": layout.samples,
        "planar_configuration": layout.planar,
        "bits_allocated": layout.allocated,
        "bits_stored": layout.stored,
        "photometric_interpretation": layout.photometric,
        "pixel_keyword": "PixelData",
        "pixel_vr": pixel_vr,
        "view_only": True,
        # Signs and unused bits are ours: pydicom knows no high bit other than the lowest possible.
        "pixel_representation": 0,
        "correct_unused_bits": False,
    }
    samples, _ = get_decoder(syntax).as_array(bytes(content), index=index, raw=True, **options)
    return _masked(layout, as_codes(samples, layout.allocated), layout.allocated)


def _from_codestream(layout: Layout, content: Buffer) -> Frame:
    samples, stream = decode_codestream(content, stored_as_rgb=layout.photometric == "RGB")
    if samples.shape[:2] != (layout.height, layout.width) or stream.samples != layout.samples:
        raise Rejected(
            Reason.UNREADABLE,
            f"the header says {layout.height} x {layout.width} x {layout.samples}, the compressed frame "
            f"{stream.height} x {stream.width} x {stream.samples}",
        )
    if stream.samples == 3 and samples.ndim == 2:
        # Only the Y was decoded.
        samples, layout = samples[..., np.newaxis], replace(layout, photometric="YBR_FULL")
    elif stream.samples == 3 and (stream.coding == "jpeg-12" or layout.photometric in ("YBR_ICT", "YBR_RCT")):
        layout = replace(layout, photometric="RGB")
    return _masked(layout, samples, stream.precision)


def _masked(layout: Layout, samples: Codes, precision: int) -> Frame:
    """Keep the stored bits alone: what lies above and below them may be overlays (PS3.5 8.1.1).

    Args:
        layout: where the bits are.
        samples: of any shape.
        precision: how many bits the samples came with. A codec may have been given the stored bits only.
    """
    if precision > layout.high_bit:
        shift, bits = layout.high_bit + 1 - layout.stored, layout.stored
    else:
        shift, bits = 0, min(layout.stored, precision)
    spare_bits = bits < 8 * samples.dtype.itemsize
    if shift or (spare_bits and samples.max() >= 2**bits):
        samples = as_codes((samples >> shift) & (2**bits - 1), bits)
    return Frame(Stored(samples, bits, layout.signed), layout.photometric)


_JPEG_XL = "1.2.840.10008.1.2.4.11"
"""How the transfer syntaxes of JPEG XL begin; pydicom does not know them yet."""


def _help(syntax: UID) -> str:
    """Name the transfer syntax and a package that decodes it. An unknown identifier is not repeated."""
    name = "JPEG XL" if syntax.startswith(_JPEG_XL) else syntax.name
    if name == str(syntax):
        return "unknown transfer syntax; convert the file with dcmtk or gdcm"
    if name.startswith(("JPIP", "SMPTE")):
        return f"{name}: the pixels are not in the file"
    package = "av" if name.startswith(("MPEG", "Fragmentable MPEG", "HEVC")) else "imagecodecs"
    return f"{name}: no decoder is installed; the package {package} has one, convert the file with it"
