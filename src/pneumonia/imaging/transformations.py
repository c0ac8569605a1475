"""What a DICOM header says about the way from stored values to grey."""

import numpy as np
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from pneumonia.imaging.elements import code, integer, items, numbers, optional_numbers, value
from pneumonia.imaging.frame import Frame
from pneumonia.imaging.grey import Floats, LookupTable, Rescale, Transformations, Window
from pneumonia.imaging.plain_header import AnyDataset, PlainDataset
from pneumonia.imaging.rejection import Reason, Rejected
from pneumonia.imaging.third_party import parsing

_TAGS = frozenset(
    Tag(keyword)
    for keyword in (
        "ModalityLUTSequence",
        "RescaleSlope",
        "RescaleIntercept",
        "VOILUTSequence",
        "WindowCenter",
        "WindowWidth",
        "PixelPaddingValue",
    )
)
"""Without all of them there is nothing to read."""


def read_transformations(dataset: AnyDataset, frame: Frame, window_index: int) -> Transformations:
    """Read the modality and VOI transformations, the inversion and the padding.

    A modality table goes before rescale values, a VOI table before windows; the standard allows only one
    of the former two, and either of the latter.

    Args:
        dataset: the header.
        frame: its decoded frame.
        window_index: which of several windows or VOI tables, as of `Rendering`.

    Raises:
        Rejected: a table, or a number of the modality transformation or of the padding, is damaged. A window
            that is damaged, or without a usable width, counts as none.
    """
    inverted = frame.photometric == "MONOCHROME1"
    if isinstance(dataset, PlainDataset) and dataset.has_none_of(_TAGS):
        return Transformations(inverted=inverted)
    modality = _modality(dataset, frame)
    return Transformations(
        modality=modality,
        voi=_voi_table(dataset, frame, modality, window_index) or _window(dataset, window_index),
        inverted=inverted,
        padding=_padding(dataset, frame),
    )


def _modality(dataset: AnyDataset, frame: Frame) -> Rescale | LookupTable | None:
    for item in items(dataset, "ModalityLUTSequence"):
        return _table(item, signed_input=frame.stored.signed)
    slope, intercept = numbers(dataset, "RescaleSlope"), numbers(dataset, "RescaleIntercept")
    rescale = Rescale(slope[0] if slope else 1.0, intercept[0] if intercept else 0.0)
    if rescale.slope == 0:
        raise Rejected(Reason.UNREADABLE, "RescaleSlope is 0")
    return None if rescale == Rescale(1.0, 0.0) else rescale


def _voi_table(
    dataset: AnyDataset, frame: Frame, modality: Rescale | LookupTable | None, index: int
) -> LookupTable | None:
    tables = items(dataset, "VOILUTSequence")
    if not tables:
        return None
    values = frame.stored.values()
    inputs = values if modality is None else modality.apply(values)
    return _table(tables[min(index, len(tables) - 1)], signed_input=bool(inputs.min() < 0))


def _window(dataset: AnyDataset, index: int) -> Window | None:
    """Of the pairs of centre and width the one in the place `index`, counted from 0 as they are written.

    A pair of which either is empty or no number is dropped but keeps its place: no other becomes the n-th
    by the damage of one before it. In place of a dropped one comes the last before it, as the last comes in
    place of one that was never written; where none is before it, the first after it.

    Returns:
        None where no pair is left, or where the width of the one that is taken is not usable.
    """
    centres, widths = optional_numbers(dataset, "WindowCenter"), optional_numbers(dataset, "WindowWidth")
    windows = {
        place: (centre, width)
        for place, (centre, width) in enumerate(zip(centres, widths, strict=False))
        if centre is not None and width is not None
    }
    if not windows:
        return None
    centre, width = windows[max((place for place in windows if place <= index), default=min(windows))]
    match code(dataset, "VOILUTFunction"):
        case "SIGMOID":
            return Window(centre, width, "SIGMOID") if width > 0 else None
        case "LINEAR_EXACT":
            return Window(centre, width, "LINEAR_EXACT") if width > 0 else None
        case _:
            return Window(centre, width) if width >= 1 else None


def _padding(dataset: AnyDataset, frame: Frame) -> tuple[int, int] | None:
    """Smallest and largest padding value (PS3.3 C.7.5.1.1.2), as the stored values count."""
    if not numbers(dataset, "PixelPaddingValue"):
        return None
    first = integer(dataset, "PixelPaddingValue")
    last = integer(dataset, "PixelPaddingRangeLimit", first)
    bounds = sorted(
        _signed(bound, frame.stored.bits) if frame.stored.signed else bound % 2**16 for bound in (first, last)
    )
    return bounds[0], bounds[1]


def _signed(number: int, bits: int) -> int:
    """Two's complement, for a header that writes negative numbers as unsigned ones."""
    number %= 2**16
    return number - 2**16 if number >= 2**15 else number - 2**bits if number >= 2 ** (bits - 1) else number


def _table(item: Dataset, signed_input: bool) -> LookupTable:
    """Read LUT Descriptor and LUT Data (PS3.3 C.11.1.1.1 and C.11.2.1.1)."""
    descriptor = numbers(item, "LUTDescriptor")
    if len(descriptor) != 3:
        raise Rejected(Reason.UNREADABLE, f"LUTDescriptor of {len(descriptor)} numbers")
    count, first, bits = (int(number) for number in descriptor)
    # The count is unsigned, also where the descriptor is read as signed; 0 stands for 65,536.
    count = count % 2**16 or 2**16
    first %= 2**16
    if signed_input and first >= 2**15:
        first -= 2**16
    entries = _entries(item, count)
    # Some devices write fewer bits than their entries need.
    bits = max(min(bits, 16), 8, int(entries.max()).bit_length())
    return LookupTable(first, entries, bits)


def _entries(item: Dataset, count: int) -> Floats:
    data = value(item, "LUTData")
    little_endian = item.original_encoding[1] is not False
    with parsing(Reason.UNREADABLE, "damaged LUTData"):
        if isinstance(data, bytes):
            words = np.frombuffer(data[: len(data) // 2 * 2], "<u2" if little_endian else ">u2")
        else:
            words = np.asarray(data, np.int64).reshape(-1) & 0xFFFF
        if len(words) < count:
            # 8-bit entries, packed two to a word, the first in the low byte.
            words = words.astype("<u2").view(np.uint8)
        if len(words) < count:
            raise ValueError("too few entries")
        return words[:count].astype(np.float64)
