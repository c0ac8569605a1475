"""Safe reading of single elements: a header may hold anything."""

from functools import cache
from typing import Any

from pydicom.dataelem import RawDataElement
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag, Tag

from pneumonia.imaging.plain_header import AnyDataset, PlainDataset, by_pydicom
from pneumonia.imaging.rejection import Reason, Rejected
from pneumonia.imaging.third_party import parsing


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
