"""Safe reading of single elements: a header may hold anything."""

from functools import cache
from typing import Any

from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag, Tag

from pneumonia.imaging.rejection import Reason, Rejected
from pneumonia.imaging.third_party import parsing


def value(dataset: Dataset, keyword: str) -> Any:
    """The element's value as pydicom converts it; None where it is absent or empty.

    Raises:
        Rejected: it cannot be converted.
    """
    tag = _tag(keyword)
    element = dataset.get_item(tag, keep_deferred=True)
    if element is None:
        return None
    plain = _plain(element)
    if plain is not None:
        return plain
    with parsing(Reason.UNREADABLE, f"{keyword} cannot be read"):
        found = dataset[tag].value
    return None if found is None or found == "" else found


@cache
def _tag(keyword: str) -> BaseTag:
    return Tag(keyword)


def _plain(element: DataElement | RawDataElement) -> int | str | None:
    """A single unsigned number or a single word, as most elements are; None for all else.

    The same as pydicom's, whose conversion takes as long for a header as a tenth of its picture's decoding.
    """
    if not isinstance(element, RawDataElement) or not element.value:
        return None
    if element.VR == "US" and len(element.value) == 2:
        return int.from_bytes(element.value, "little" if element.is_little_endian else "big")
    if element.VR in ("AS", "CS", "UI"):
        word = element.value.rstrip(b" \0")
        if word.replace(b".", b"").isalnum():  # in ASCII, as bytes
            return word.decode("ascii")
    return None


def numbers(dataset: Dataset, keyword: str) -> list[float]:
    """The element's numbers, up to 1e15 either way; an empty list where it is absent.

    Raises:
        Rejected: it holds something else than numbers.
    """
    found = value(dataset, keyword)
    if found is None:
        return []
    if type(found) is int and abs(found) <= 1e15:
        return [float(found)]
    with parsing(Reason.UNREADABLE, f"{keyword} is no number"):
        converted = [float(item) for item in (found if isinstance(found, MultiValue | list) else [found])]
    if not all(abs(number) <= 1e15 for number in converted):
        raise Rejected(Reason.UNREADABLE, f"{keyword} is beyond all measure")
    return converted


def integer(dataset: Dataset, keyword: str, default: int | None = None) -> int:
    """The element's first number, which must be whole.

    Args:
        dataset: where to look.
        keyword: of the element.
        default: for an absent element; None where it must be there.

    Raises:
        Rejected: absent without a default, or no whole number.
    """
    found = numbers(dataset, keyword)
    if not found and default is not None:
        return default
    if not found or found[0] != int(found[0]):
        raise Rejected(Reason.UNREADABLE, f"{keyword} is missing or no whole number")
    return int(found[0])


def code(dataset: Dataset, keyword: str) -> str:
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
