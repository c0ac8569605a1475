"""The elements of an ordinary DICOM file, without pydicom's machinery for all others.

pydicom spends on such a header a twentieth of the time that decoding its 1024 x 1024 JPEG takes, because it
is ready for everything at every element. This loop reads what nearly all radiographs are written in, explicit
VR and little endian, and gives the very same elements. At anything unusual it gives up and leaves the file to
pydicom: it never has an opinion of its own.
"""

import struct
from functools import cached_property
from typing import cast

from pydicom.charset import convert_encodings, default_encoding, python_encoding
from pydicom.dataelem import RawDataElement, empty_value_for_VR
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
_CHARACTER_SET = 0x00080005
"""pydicom reads it always, as the values of others depend on it."""


Place = tuple[str, int, int, int]
"""VR, length as the file says, which may be UNDEFINED_LENGTH, and where the value begins and ends."""


class PlainDataset:
    """Elements that stay in the file until they are asked for, or until pydicom must make a data set."""

    def __init__(
        self, content: bytes, places: dict[int, Place], character_sets: str | list[str] = default_encoding
    ) -> None:
        self._content = content
        self._places = places
        self._character_sets = character_sets

    def get_item(self, tag: int, *, keep_deferred: bool) -> RawDataElement | None:
        """Return an element as it is stored; the same as of pydicom, where none is deferred."""
        place = self._places.get(tag)
        if place is None:
            return None
        vr, length, begin, end = place
        value = self._content[begin:end] if length else _EMPTY[vr]
        return RawDataElement(BaseTag(tag), vr, length, value, begin, False, True)

    def __contains__(self, tag: int) -> bool:
        return tag in self._places

    def stored(self, tag: int) -> tuple[str, bytes] | None:
        """VR and value of an element, without the rest of it."""
        place = self._places.get(tag)
        return None if place is None else (place[0], self._content[place[2] : place[3]])

    def has_none_of(self, tags: frozenset[BaseTag]) -> bool:
        """Whether all of these are absent."""
        return tags.isdisjoint(self._places)

    def view(self, tag: int) -> tuple[str, int, memoryview]:
        """VR, length as the file says, and the value without a copy, of an element that must be there."""
        vr, length, begin, end = self._places[tag]
        return vr, length, memoryview(self._content)[begin:end]

    @cached_property
    def by_pydicom(self) -> Dataset:
        """The same elements, for pydicom to convert; making it takes longer than reading them."""
        elements = (self.get_item(tag, keep_deferred=True) for tag in self._places)
        dataset = Dataset({element.tag: element for element in elements if element})
        dataset.set_original_encoding(False, True, self._character_sets)
        return dataset


AnyDataset = Dataset | PlainDataset


def by_pydicom(dataset: AnyDataset) -> Dataset:
    """The data set with all that pydicom can do."""
    return dataset.by_pydicom if isinstance(dataset, PlainDataset) else dataset


def read_plain(
    content: bytes, start: int, tags: frozenset[int], *, meta: bool = False
) -> tuple[PlainDataset, int] | None:
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
    places, position = read
    if _CHARACTER_SET not in places:
        return PlainDataset(content, places), position
    vr, _, begin, end = places[_CHARACTER_SET]
    name = convert_string(content[begin:end], True)
    # pydicom warns of a name that it does not know, and knows what several of them mean.
    if vr != "CS" or not isinstance(name, str) or name not in python_encoding:
        return None
    return PlainDataset(content, places, convert_encodings(name)), position


def _read_elements(
    content: bytes, position: int, tags: frozenset[int], meta: bool
) -> tuple[dict[int, Place], int] | None:
    places: dict[int, Place] = {}
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
            places[number] = (vr, length, begin, end)
    return places, position


def _end_of_items(content: bytes, position: int) -> int | None:
    """Where the delimiter stands after the items that begin here (PS3.5 A.4)."""
    while content.startswith(_ITEM, position):
        position += 8 + _LENGTH(content, position + 4)[0]
    return position if content.startswith(_DELIMITER, position) else None
