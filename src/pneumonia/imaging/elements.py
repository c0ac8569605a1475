"""Safe reading of single elements: a header may hold anything."""

import struct
from functools import cache
from typing import Any

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag, ItemDelimiterTag, ItemTag, SequenceDelimiterTag, Tag

from pneumonia.imaging.plain_header import UNDEFINED_LENGTH, AnyDataset, PlainDataset, by_pydicom
from pneumonia.imaging.rejection import Reason, Rejected
from pneumonia.imaging.third_party import failing, parsing


def value(dataset: AnyDataset, keyword: str) -> Any:
    """The element's value as pydicom converts it; None where it is absent or empty.

    Raises:
        Rejected: it cannot be converted.
    """
    tag = _tag(keyword)
    if isinstance(dataset, PlainDataset):
        stored = dataset.stored(tag)
        if stored is None:
            return None
        plain = _plain(*stored)
    else:
        element = dataset.get_item(tag, keep_deferred=True)
        if element is None:
            return None
        plain = None
        if isinstance(element, RawDataElement) and element.value and element.is_little_endian:
            plain = _plain(element.VR, element.value)
    if plain is not None:
        return plain
    with parsing(Reason.UNREADABLE, f"{keyword} cannot be read"):
        found = by_pydicom(dataset)[tag].value
    return None if found is None or found == "" else found


@cache
def _tag(keyword: str) -> BaseTag:
    return Tag(keyword)


def _plain(vr: str | None, content: bytes) -> int | float | str | None:
    """A single number or a single word, as most elements are; None for all else.

    The same as pydicom's, whose conversion takes as long for a header as a tenth of its picture's decoding.

    Args:
        vr: of the element.
        content: its value, little endian.
    """
    if vr == "US" and len(content) == 2:
        return content[0] | content[1] << 8
    if vr in ("AS", "CS", "UI"):
        word = content.rstrip(b" \0")
        if word.isalnum() or word.replace(b".", b"").isalnum():  # in ASCII, as bytes
            return word.decode("ascii")
    elif vr in ("DS", "IS"):
        word = content.strip(b" ")
        digits = word[1:] if word.startswith((b"+", b"-")) else word
        if digits.isdigit():
            return float(word) if vr == "DS" else int(word)
        if vr == "DS" and digits.replace(b".", b"", 1).isdigit():
            return float(word)
    return None


_LARGEST = 1e15


def numbers(dataset: AnyDataset, keyword: str) -> list[float]:
    """The element's numbers, up to 1e15 either way; an empty list where it is absent.

    Raises:
        Rejected: it holds something else than numbers.
    """
    found = value(dataset, keyword)
    if found is None:
        return []
    if type(found) in (int, float) and abs(found) <= _LARGEST:
        return [float(found)]
    with parsing(Reason.UNREADABLE, f"{keyword} is no number"):
        converted = [float(item) for item in (found if isinstance(found, MultiValue | list) else [found])]
    if not all(abs(number) <= _LARGEST for number in converted):
        raise Rejected(Reason.UNREADABLE, f"{keyword} is beyond all measure")
    return converted


def optional_numbers(dataset: AnyDataset, keyword: str) -> list[float | None]:
    """The element's numbers, each in its place, for what a film can do without.

    Returns:
        None for what is empty, no number, or beyond 1e15 either way; an empty list where the element is
        absent or cannot be read.
    """
    try:
        found = value(dataset, keyword)
    except Rejected:
        return []
    if found is None:
        return []
    return [_number(item) for item in (found if isinstance(found, MultiValue | list) else [found])]


def _number(item: Any) -> float | None:
    try:
        number = float(item)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if abs(number) <= _LARGEST else None


def integer(dataset: AnyDataset, keyword: str, default: int | None = None) -> int:
    """The element's first number, which must be whole.

    Args:
        dataset: where to look.
        keyword: of the element.
        default: for an absent element; None where it must be there.

    Raises:
        Rejected: absent without a default, or no whole number.
    """
    only = value(dataset, keyword)
    if type(only) is int and abs(only) <= _LARGEST:
        return only
    if only is None and default is not None:
        return default
    found = numbers(dataset, keyword)
    if not found and default is not None:
        return default
    if not found or found[0] != int(found[0]):
        raise Rejected(Reason.UNREADABLE, f"{keyword} is missing or no whole number")
    return int(found[0])


def code(dataset: AnyDataset, keyword: str) -> str:
    """The element's text in upper case without the blanks around it, to be matched against a closed list.

    Text that cannot be decoded is no code of any list, hence ''. The result must never be shown.
    """
    try:
        found = value(dataset, keyword)
    except Rejected:
        return ""
    if isinstance(found, MultiValue):
        found = found[0] if found else ""
    return found.strip(" \0").upper() if isinstance(found, str) else ""


def items(dataset: AnyDataset, keyword: str) -> list[Dataset]:
    """The items of a sequence; an empty list where it is absent or empty.

    Raises:
        Rejected: it cannot be read, or is no sequence.
    """
    found = value(dataset, keyword)
    if found is None:
        return []
    no_sequence = f"{keyword} is no sequence"
    # Of 64 KiB or more, as a table of 65,536 entries is: what is shorter pydicom makes a sequence of.
    if isinstance(found, bytes) and by_pydicom(dataset)[_tag(keyword)].VR == "UN":
        with failing(Reason.UNREADABLE, no_sequence):
            return _items_of_unknown(found)
    if not isinstance(found, Sequence):
        raise Rejected(Reason.UNREADABLE, no_sequence)
    return list(found)


_MAX_HEADERS = 1_000
"""Of items and elements in a sequence of unknown VR; a film has a few tables of three elements."""
_HEADER = struct.Struct("<HHI").unpack_from


def _items_of_unknown(content: bytes) -> list[Dataset]:
    """Items in implicit VR and little endian, as a value of unknown VR is written (PS3.5 6.2.2 and 7.5).

    In one pass without recursion: a sequence within an item is kept as bytes where its length is told, and
    refused where it is not. As the elements tell where an item ends, its length is of no use.

    Raises:
        ValueError, struct.error: these are no such items, or more than anybody needs.
    """
    found: list[Dataset] = []
    position = 0
    for _ in range(_MAX_HEADERS):
        if position == len(content):
            return found
        group, number, length = _HEADER(content, position)
        tag = BaseTag(group << 16 | number)
        position += 8
        if tag == SequenceDelimiterTag:
            return found
        if tag == ItemTag:
            found.append(Dataset())
        elif tag != ItemDelimiterTag:
            if not found or length == UNDEFINED_LENGTH or position + length > len(content):
                raise ValueError("no item, or an element without an end")
            element = content[position : position + length]
            found[-1][tag] = RawDataElement(tag, None, length, element, position, True, True)
            position += length
    raise ValueError("too many elements")
