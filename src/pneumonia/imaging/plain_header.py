"""The elements of an ordinary DICOM file, without pydicom's machinery for all others.

pydicom spends on such a header a twentieth of the time that decoding its 1024 x 1024 JPEG takes, because it
is ready for everything at every element. This loop reads what nearly all radiographs are written in, explicit
VR and little endian, and gives the very same elements. At anything unusual it gives up and leaves the file to
pydicom: it never has an opinion of its own.
"""

import struct
from typing import cast

from pydicom.charset import convert_encodings, default_encoding, python_encoding
from pydicom.dataelem import DataElement, RawDataElement, empty_value_for_VR
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32, STANDARD_VR
from pydicom.values import convert_string

UNDEFINED_LENGTH = 0xFFFFFFFF

_VRS = {vr.encode(): (str(vr), vr in EXPLICIT_VR_LENGTH_32) for vr in STANDARD_VR}
"""By their two letters: the same as text, and whether 32 bits hold the length (PS3.5 7.1.2)."""
_EMPTY = {vr: cast("bytes | None", empty_value_for_VR(vr, raw=True)) for vr, _ in _VRS.values()}
_START = struct.Struct("<HH2sH").unpack_from
_LENGTH = struct.Struct("<I").unpack_from
_ITEM = b"\xfe\xff\x00\xe0"
_DELIMITER = b"\xfe\xff\xdd\xe0\0\0\0\0"
_META_GROUP, _DELIMITER_GROUP = 0x0002, 0xFFFE
_CHARACTER_SET = BaseTag(0x00080005)
"""pydicom reads it always, as the values of others depend on it."""


def read_plain(
    content: bytes, start: int, tags: frozenset[int], *, meta: bool = False
) -> tuple[Dataset, int] | None:
    """Read these elements of explicit VR and little endian, and skip all others.

    Args:
        content: a file.
        start: where its first element begins.
        tags: of the elements that are wanted.
        meta: stop at the end of group 0002, instead of at the end of the file.

    Returns:
        As `pydicom.filereader.read_dataset` gives them, and where it would stop; None for anything unusual.
    """
    try:
        read = _read_elements(content, start, tags, meta)
    except struct.error:  # an element without an end
        return None
    if read is None:
        return None
    elements, position = read
    dataset = Dataset(elements)
    dataset.set_original_encoding(False, True, default_encoding)
    if (character_set := elements.get(_CHARACTER_SET)) is not None:
        name = convert_string(character_set.value or b"", True)
        # pydicom warns of a name that it does not know, and knows what several of them mean.
        if character_set.VR != "CS" or not isinstance(name, str) or name not in python_encoding:
            return None
        dataset.set_original_encoding(False, True, convert_encodings(name))
    return dataset, position


_Elements = dict[BaseTag, DataElement | RawDataElement]


def _read_elements(
    content: bytes, position: int, tags: frozenset[int], meta: bool
) -> tuple[_Elements, int] | None:
    elements: _Elements = {}
    while position < len(content):
        group, number, letters, length = _START(content, position)
        if meta and group not in (_META_GROUP, _DELIMITER_GROUP):
            break
        if group == _DELIMITER_GROUP or letters not in _VRS:
            return None
        vr, is_long = _VRS[letters]
        begin = position + 8
        if is_long:
            (length,) = _LENGTH(content, begin)
            begin += 4
        if length != UNDEFINED_LENGTH:
            end = position = begin + length
        elif vr in ("OB", "OW") and (delimiter := _end_of_items(content, begin)):
            end, position = delimiter, delimiter + len(_DELIMITER)
        else:
            return None
        number |= group << 16
        if number in tags or number == _CHARACTER_SET:
            tag, value = BaseTag(number), content[begin:end] if length else _EMPTY[vr]
            elements[tag] = RawDataElement(tag, vr, length, value, begin, False, True)
    return elements, position


def _end_of_items(content: bytes, position: int) -> int | None:
    """Where the delimiter stands after the items that begin here (PS3.5 A.4)."""
    while content.startswith(_ITEM, position):
        position += 8 + _LENGTH(content, position + 4)[0]
    return position if content.startswith(_DELIMITER, position) else None
