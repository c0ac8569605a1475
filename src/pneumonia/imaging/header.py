"""A DICOM file to its data set, reading a short closed list of elements and nothing else.

What is not on the list is skipped while parsing, so that names, dates and identifiers cannot leak: nothing
downstream ever holds them.
"""

import struct
import zlib
from dataclasses import dataclass
from io import BytesIO

from pydicom.config import IGNORE
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    UID,
    AllTransferSyntaxes,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from pydicom.valuerep import VR

from pneumonia.imaging.elements import value
from pneumonia.imaging.limits import MAX_PIXELS
from pneumonia.imaging.plain_header import AnyDataset, read_plain
from pneumonia.imaging.rejection import Reason, Rejected
from pneumonia.imaging.third_party import failing, parsing

_KEYWORDS = (
    "Modality",
    "BodyPartExamined",
    "ViewPosition",
    "ViewCodeSequence",
    "SeriesDescription",
    "PatientAge",
    "PatientSex",
    "BurnedInAnnotation",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "RescaleSlope",
    "RescaleIntercept",
    "ModalityLUTSequence",
    "WindowCenter",
    "WindowWidth",
    "VOILUTFunction",
    "VOILUTSequence",
    "RedPaletteColorLookupTableDescriptor",
    "GreenPaletteColorLookupTableDescriptor",
    "BluePaletteColorLookupTableDescriptor",
    "RedPaletteColorLookupTableData",
    "GreenPaletteColorLookupTableData",
    "BluePaletteColorLookupTableData",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
    "PixelData",
)
_TAGS = frozenset(int(Tag(keyword)) for keyword in _KEYWORDS)
_META_TAGS = frozenset({int(Tag("TransferSyntaxUID"))})
_PIXEL_DATA = Tag("PixelData")

_PREAMBLE = 128
_MAX_INFLATED = 4 * MAX_PIXELS
"""Bytes of a deflated data set: the largest 16-bit picture, and as much again for all else."""


@dataclass(frozen=True, slots=True)
class Header:
    """A parsed file: the elements that are on the list, pixel data still as encoded."""

    dataset: AnyDataset
    syntax: UID
    """The transfer syntax as the file names it, or, where it names none, the native one it is written in."""


def looks_like_dicom(content: bytes) -> bool:
    """Whether the bytes are a DICOM file, with its preamble or without.

    Without it the first element must be of group 0002 or 0008, as the order of elements demands, and its
    length must lie within the file: text and web pages fail that.
    """
    if content.startswith(b"DICM", _PREAMBLE):
        return True
    if len(content) < 2 * _PREAMBLE:
        return False
    return any(_plausible_element(content, order) for order in ("<", ">"))


def _plausible_element(content: bytes, order: str) -> bool:
    group, element, vr, short_length = struct.unpack_from(f"{order}HH2sH", content)
    if group not in (0x0002, 0x0008) or element > 0x0100:
        return False
    explicit = vr in _VRS
    length = short_length if explicit else struct.unpack_from(f"{order}I", content, 4)[0]
    return bool(length < len(content))


_VRS = frozenset(vr.value.encode() for vr in VR if len(vr.value) == 2)


def read_header(content: bytes) -> Header:
    """Parse the elements that are needed.

    Args:
        content: a file for which `looks_like_dicom` holds.

    Raises:
        Rejected: damaged, truncated, without pixel data, or it inflates beyond all measure.
    """
    dataset, syntax, elements = parse(content, _TAGS)
    if _PIXEL_DATA not in dataset:
        # The parser drops an element that it cannot read to its end, and all before it.
        if any(tag in elements for tag in _PIXEL_DATA_TAGS):
            raise Rejected(Reason.TRUNCATED, "the file ends within its pixels")
        raise Rejected(Reason.NO_PIXEL_DATA, "a DICOM object without pixels")
    return Header(dataset, syntax)


def parse(content: bytes, tags: frozenset[int]) -> tuple[AnyDataset, UID, bytes]:
    """Parse these elements of a file and skip all others.

    Returns:
        The elements, the transfer syntax, and the file's bytes; of a deflated one the data set's, inflated.

    Raises:
        Rejected: damaged, or it inflates beyond all measure.
    """
    start = _PREAMBLE + 4 if content.startswith(b"DICM", _PREAMBLE) else 0
    with failing(Reason.UNREADABLE, _DAMAGED):
        meta, body = read_plain(content, start, _META_TAGS, meta=True) or _read_meta(content, start)
        named = value(meta, "TransferSyntaxUID") or _guess_syntax(content[body : body + 6])
        # To validate it could only end in a warning.
        syntax = _SYNTAXES.get(named) or UID(named, validation_mode=IGNORE)
        if syntax == DeflatedExplicitVRLittleEndian:
            content, body = _inflate(content[body:]), 0
        plain = None
        if syntax not in (ImplicitVRLittleEndian, ExplicitVRBigEndian):
            plain = read_plain(content, body, tags)
        dataset = plain[0] if plain else _read_body(content, body, tags, syntax)
    return dataset, syntax, content


_SYNTAXES: dict[str, UID] = {syntax: syntax for syntax in AllTransferSyntaxes}
_DAMAGED = "damaged DICOM header"


def _read_meta(content: bytes, start: int) -> tuple[Dataset, int]:
    """The elements of group 0002, and where they end."""
    file = BytesIO(content)
    file.seek(start)
    with parsing(Reason.UNREADABLE, _DAMAGED):
        meta = read_dataset(
            file,
            is_implicit_VR=False,
            is_little_endian=True,
            stop_when=_beyond_meta,
            specific_tags=list(_META_TAGS),
        )
    return meta, file.tell()


def _read_body(content: bytes, start: int, tags: frozenset[int], syntax: UID) -> Dataset:
    file = BytesIO(content)
    file.seek(start)
    with parsing(Reason.UNREADABLE, _DAMAGED):
        return read_dataset(
            file,
            is_implicit_VR=syntax == ImplicitVRLittleEndian,
            is_little_endian=syntax != ExplicitVRBigEndian,
            specific_tags=list(tags),
        )


_PIXEL_DATA_TAGS = (b"\xe0\x7f\x10\x00", b"\x7f\xe0\x00\x10")


def _beyond_meta(tag: BaseTag, _vr: str | None, _length: int) -> bool:
    return tag.group != 0x0002


def _guess_syntax(first_element: bytes) -> UID:
    """Byte order and VR by the look of the first element; its group is 0008 or a little above."""
    group, _, vr = struct.unpack("<HH2s", first_element)
    if vr not in _VRS:
        return ImplicitVRLittleEndian
    return ExplicitVRBigEndian if group >= 0x0100 else ExplicitVRLittleEndian


def _inflate(deflated: bytes) -> bytes:
    """Unpack a deflated data set (PS3.5 A.5), up to a limit."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = inflater.decompress(deflated, _MAX_INFLATED)
    if inflater.unconsumed_tail:
        raise Rejected(Reason.TOO_LARGE, f"deflated data of more than {_MAX_INFLATED} bytes")
    if not inflater.eof:
        raise Rejected(Reason.TRUNCATED, "the deflated data have no end")
    return inflated
