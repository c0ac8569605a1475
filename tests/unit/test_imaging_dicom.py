"""DICOM files of every native kind: their pixels, computed from the standard's formulas."""

import struct

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)

from pneumonia.imaging.decode import decode
from pneumonia.imaging.grey import Rendering
from pneumonia.imaging.rejection import Reason, Rejected
from tests.unit.imaging_files import RAMP_8, RAMP_12, RGB, dicom, lookup_table, no_sequence

NATIVE = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
WHOLE_RANGE = Rendering(no_window="range")
TWELVE_BITS = {"BitsStored": 12, "WindowCenter": 2048, "WindowWidth": 4096}
"""A window that is the identity: LINEAR with c = 2^(n-1) and w = 2^n (C.11.2.1.2.1 note 3)."""
GREY_12 = np.rint(RAMP_12 * 255.0 / 4095)


def rejection(content: bytes, **options: object) -> Reason:
    with pytest.raises(Rejected) as caught:
        decode(content, **options)
    return caught.value.reason


@pytest.mark.parametrize("syntax", NATIVE)
class TestNativeSyntaxes:
    def test_8_bits(self, syntax):
        assert np.array_equal(decode(dicom(RAMP_8, syntax=syntax)), RAMP_8)

    def test_12_bits(self, syntax):
        assert np.array_equal(decode(dicom(RAMP_12, syntax=syntax, **TWELVE_BITS)), GREY_12)

    def test_negative_values(self, syntax):
        values = RAMP_12.astype(np.int16) - 2000
        content = dicom(values, syntax=syntax, WindowCenter=48, WindowWidth=4096, BitsStored=13)
        assert np.array_equal(decode(content), np.rint((values + 2000) * 255.0 / 4095))

    def test_colour(self, syntax):
        exact = RGB @ np.array([0.299, 0.587, 0.114])
        assert np.abs(decode(dicom(RGB, syntax=syntax)) - exact).max() <= 0.501

    def test_tables(self, syntax):
        entries = [(v * 7) % 4001 for v in range(4096)]
        content = dicom(RAMP_12, syntax=syntax, BitsStored=12, VOILUTSequence=lookup_table(0, entries, 12))
        assert np.array_equal(decode(content), np.rint(np.array(entries)[RAMP_12] * 255.0 / 4095))


@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEG2000Lossless, RLELossless])
@pytest.mark.parametrize("picture", [RAMP_8, RAMP_12, RAMP_8[:, :-1][:-1]], ids=["8", "12", "8, odd"])
def test_plain_pixels_under_the_name_of_a_compression(syntax, picture):
    picture = np.ascontiguousarray(picture)
    elements = TWELVE_BITS if picture.dtype == np.uint16 else {}
    content = dicom(picture, **elements)
    uid = ExplicitVRLittleEndian.encode() + b"\0"
    named = syntax.encode() + b"\0" * (len(syntax) % 2)
    misnamed = content.replace(bytes([len(uid), 0]) + uid, bytes([len(named), 0]) + named, 1)
    meta_length = int.from_bytes(content[140:144], "little") + len(named) - len(uid)
    misnamed = misnamed[:140] + meta_length.to_bytes(4, "little") + misnamed[144:]
    assert misnamed != content
    assert np.array_equal(decode(misnamed), decode(content))


def test_big_endian_8_bits_in_words_are_swapped_back():
    content = dicom(RAMP_8, syntax=ExplicitVRBigEndian)
    swapped = dicom(RAMP_8.view(np.uint16).byteswap().view(np.uint8), syntax=ExplicitVRBigEndian)
    assert swapped.count(b"\xe0\x10OB") == 0
    words = swapped.replace(b"\x7f\xe0\x00\x10OB", b"\x7f\xe0\x00\x10OW")
    assert words != swapped
    assert np.array_equal(decode(words), decode(content))


@pytest.mark.parametrize("stored", range(8, 17))
@pytest.mark.parametrize("signed", [False, True])
def test_every_number_of_stored_bits(stored, signed):
    codes = np.linspace(0, 2**stored - 1, 48 * 40).astype(np.uint16).reshape(40, 48)
    values = codes.astype(int) - (2**stored * (codes >= 2 ** (stored - 1)) if signed else 0)
    lowest = -(2 ** (stored - 1)) if signed else 0
    content = dicom(
        codes,
        BitsStored=stored,
        PixelRepresentation=int(signed),
        WindowCenter=lowest + 2 ** (stored - 1),
        WindowWidth=2**stored,
    )
    expected = np.rint((values - lowest) * 255.0 / (2**stored - 1))
    assert np.array_equal(decode(content), expected)


def test_unused_bits_and_the_high_bit():
    overlay = (np.indices(RAMP_12.shape).sum(axis=0) % 2).astype(np.uint16)
    above = RAMP_12 | overlay << 12 | overlay << 15
    below = RAMP_12 << 4 | overlay << 2
    between = (RAMP_12 << 2) | overlay | overlay << 15
    assert np.array_equal(decode(dicom(above, **TWELVE_BITS)), GREY_12)
    assert np.array_equal(decode(dicom(below, HighBit=15, **TWELVE_BITS)), GREY_12)
    assert np.array_equal(decode(dicom(between, HighBit=13, **TWELVE_BITS)), GREY_12)


def test_an_impossible_high_bit_is_ignored():
    assert np.array_equal(decode(dicom(RAMP_12, HighBit=3, **TWELVE_BITS)), GREY_12)


def test_rescale_window_and_inversion_in_this_order():
    content = dicom(
        RAMP_12,
        BitsStored=12,
        PhotometricInterpretation="MONOCHROME1",
        RescaleSlope="0.5",
        RescaleIntercept="-1000",
        WindowCenter="-20",
        WindowWidth="1001",
    )
    fraction = np.clip((RAMP_12 * 0.5 - 1000 - -20.5) / 1000 + 0.5, 0, 1)
    assert np.array_equal(decode(content), np.rint(255 * (1 - fraction)))


@pytest.mark.parametrize(
    ("function", "fraction"),
    [
        (None, np.clip((RAMP_12 - 1499.5) / 1999 + 0.5, 0, 1)),
        ("LINEAR", np.clip((RAMP_12 - 1499.5) / 1999 + 0.5, 0, 1)),
        ("LINEAR_EXACT", np.clip((RAMP_12 - 1500.0) / 2000 + 0.5, 0, 1)),
        ("SIGMOID", 1 / (1 + np.exp(-4 * (RAMP_12 - 1500.0) / 2000))),
    ],
)
def test_voi_functions(function, fraction):
    elements = {"VOILUTFunction": function} if function else {}
    content = dicom(RAMP_12, BitsStored=12, WindowCenter=1500, WindowWidth=2000, **elements)
    assert np.array_equal(decode(content), np.rint(255 * fraction))


def test_of_several_windows_the_chosen_one():
    content = dicom(RAMP_12, BitsStored=12, WindowCenter=[2048, 1000], WindowWidth=[4096, 1001])
    second = np.rint(255 * np.clip((RAMP_12 - 999.5) / 1000 + 0.5, 0, 1))
    assert np.array_equal(decode(content), GREY_12)
    assert np.array_equal(decode(content, Rendering(window_index=1)), second)
    assert np.array_equal(decode(content, Rendering(window_index=9)), second)


def windowed(centres: str, widths: str) -> bytes:
    """A film with these values as they are written, valid or not."""
    content = dicom(RAMP_12, BitsStored=12, WindowCenter="7" * len(centres), WindowWidth="3" * len(widths))
    for digit, written in (("7", centres), ("3", widths)):
        padded = [text.encode() + b" " * (len(text) % 2) for text in (digit * len(written), written)]
        assert content.count(padded[0]) == 1
        content = content.replace(*padded)
    return content


FIRST, SECOND = GREY_12, np.rint(255 * np.clip((RAMP_12 - 999.5) / 1000 + 0.5, 0, 1))
"""Of the windows 2048 / 4096 and 1000 / 1001."""


@pytest.mark.parametrize(
    ("centres", "widths", "of_each_index"),
    [
        ("2048\\", "4096\\", [FIRST, FIRST, FIRST]),
        ("2048\\", "4096", [FIRST, FIRST, FIRST]),
        ("\\2048", "\\4096", [FIRST, FIRST, FIRST]),
        ("2048\\x\\1000", "4096\\4096\\1001", [FIRST, FIRST, SECOND, SECOND]),
        ("2048\\1000", "4096\\1001\\", [FIRST, SECOND, SECOND]),
        ("nan\\1000\\2048", "4096\\1001\\4096", [SECOND, SECOND, FIRST, FIRST]),
        ("2048\\2048\\1000", "1e99\\4096\\1001", [FIRST, FIRST, SECOND]),
    ],
)
def test_a_damaged_window_is_dropped_and_the_others_keep_their_places(centres, widths, of_each_index):
    content = windowed(centres, widths)
    for index, expected in enumerate(of_each_index):
        assert np.array_equal(decode(content, Rendering(window_index=index)), expected), index


@pytest.mark.parametrize(
    ("centre", "width"),
    [
        ("2048,0", "4096"),
        ("2048", "4096,0"),
        ("\\2048", "4096"),
        ("nan", "4096"),
        ("2048", "inf"),
        ("1e300", "4096"),
        ("centre", "4096"),
        ("2048", "\\"),
    ],
)
def test_a_window_that_is_no_number_is_none(centre, width):
    assert np.array_equal(decode(windowed(centre, width), WHOLE_RANGE), np.rint(RAMP_12 * 255.0 / 3830))


@pytest.mark.parametrize("keyword", ["RescaleSlope", "RescaleIntercept"])
def test_a_rescale_that_is_no_number_is_unreadable(keyword):
    content = dicom(RAMP_12, **{keyword: "777777"})
    assert rejection(content.replace(b"777777", b"1,0   ")) == Reason.UNREADABLE


@pytest.mark.parametrize("width", ["0", "-5", "0.5", ""])
def test_a_window_without_a_width_is_none(width):
    content = dicom(RAMP_12, BitsStored=12, WindowCenter="100", WindowWidth=width)
    assert np.array_equal(decode(content, WHOLE_RANGE), np.rint(RAMP_12 * 255.0 / 3830))


def test_a_voi_table_goes_before_a_window():
    entries = list(range(4095, -1, -1))
    content = dicom(RAMP_12, VOILUTSequence=lookup_table(0, entries, 12), **TWELVE_BITS)
    assert np.array_equal(decode(content), np.rint((4095 - RAMP_12) * 255.0 / 4095))


@pytest.mark.parametrize("vr", ["US", "OW"])
def test_a_modality_table_that_starts_below_zero(vr):
    values = RAMP_12.astype(np.int16) - 2000
    entries = [(v * v) // 4000 for v in range(3831)]
    content = dicom(values, ModalityLUTSequence=lookup_table(-2000, entries, 16, vr))
    modality = np.array(entries)[RAMP_12]
    expected = np.rint(255.0 * (modality - modality.min()) / (modality.max() - modality.min()))
    assert np.array_equal(decode(content, WHOLE_RANGE), expected)


@pytest.mark.parametrize("syntax", NATIVE)
def test_a_table_of_65536_entries(syntax):
    samples = RAMP_12 * 17
    entries = np.arange(65536) ^ 3
    order = ">u2" if syntax == ExplicitVRBigEndian else "<u2"
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [0, 0, 16])
    item.add_new("LUTData", "OW", entries.astype(order).tobytes())
    content = dicom(samples, syntax=syntax, VOILUTSequence=Sequence([item]))
    assert np.array_equal(decode(content), np.rint((samples ^ 3) * 255.0 / 65535))


LAST = 2**32 - 1


def element(number: int, value: bytes, length: int | None = None) -> bytes:
    """Of group 0028, in implicit VR and little endian."""
    return struct.pack("<HHI", 0x0028, number, len(value) if length is None else length) + value


def item(value: bytes, *, told: bool = True) -> bytes:
    """An item of a sequence, with its length or with a delimiter."""
    if told:
        return struct.pack("<HHI", 0xFFFE, 0xE000, len(value)) + value
    return struct.pack("<HHI", 0xFFFE, 0xE000, LAST) + value + struct.pack("<HHI", 0xFFFE, 0xE00D, 0)


def table_of_65536(mask: int) -> bytes:
    entries = (np.arange(65536) ^ mask).astype("<u2").tobytes()
    explanation = element(0x3003, b"NORMAL")
    return element(0x3002, struct.pack("<3H", 0, 0, 16)) + explanation + element(0x3006, entries)


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("end", [b"", struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)])
def test_a_table_in_a_sequence_of_unknown_vr_is_read(told, end):
    samples = RAMP_12 * 17
    value = item(table_of_65536(3), told=told) + item(table_of_65536(5), told=told) + end
    content = no_sequence("UN", value, "VOILUTSequence", samples)
    assert np.array_equal(decode(content), np.rint((samples ^ 3) * 255.0 / 65535))
    second = decode(content, Rendering(window_index=1))
    assert np.array_equal(second, np.rint((samples ^ 5) * 255.0 / 65535))
    modality = decode(no_sequence("UN", value, "ModalityLUTSequence", samples), WHOLE_RANGE)
    inside = (samples ^ 3).astype(float)
    assert np.array_equal(modality, np.rint(255 * (inside - inside.min()) / np.ptp(inside)))


@pytest.mark.parametrize("keyword", ["ModalityLUTSequence", "VOILUTSequence"])
@pytest.mark.parametrize(
    ("vr", "value"),
    [
        ("LO", b"hello "),
        ("US", b"\5\0"),
        ("US", b"\0\0"),
        ("DS", b"1\\2 "),
        ("OB", item(element(0x3002, b"123456"))),
        ("OB", item(table_of_65536(0))),
        ("UN", bytes(2**16)),
        ("UN", b"\xff" * 2**16),
        ("UN", item(table_of_65536(0))[:-2]),
        ("UN", item(table_of_65536(0)) + b"\0\0"),
        ("UN", table_of_65536(0)),
        ("UN", item(b"") * 2**14),
        ("UN", item(element(0x3006, b"", LAST)) * 2**13),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{value[:4].hex()} {len(value)}",
)
def test_what_is_no_sequence_is_unreadable(keyword, vr, value):
    content = no_sequence(vr, value, keyword, RAMP_8)
    with pytest.raises(Rejected, match=rf"^unreadable: {keyword} is no sequence( \(\w+\))?$"):
        decode(content)


@pytest.mark.parametrize("keyword", ["ModalityLUTSequence", "VOILUTSequence"])
@pytest.mark.parametrize("vr", ["UN", "OB", "LO", "US", "SQ"])
def test_an_empty_sequence_is_none_whatever_its_vr(keyword, vr):
    assert np.array_equal(decode(no_sequence(vr, b"", keyword, RAMP_8)), RAMP_8)


def test_a_table_of_bytes_packed_in_words():
    entries = [255 - v for v in range(256)]
    packed = [entries[i] | entries[i + 1] << 8 for i in range(0, 256, 2)]
    item = Dataset()
    item.LUTDescriptor = [256, 0, 8]
    item["LUTDescriptor"].VR = "US"
    item.add_new("LUTData", "US", packed)
    assert np.array_equal(decode(dicom(RAMP_8, VOILUTSequence=Sequence([item]))), 255 - RAMP_8)


def test_table_entries_of_more_bits_than_the_descriptor_says():
    entries = [v * 16 for v in range(4096)]
    content = dicom(RAMP_12, BitsStored=12, VOILUTSequence=lookup_table(0, entries, 8))
    assert np.array_equal(decode(content), np.rint(RAMP_12 * 16 * 255.0 / 65535))


class TestPadding:
    def test_value(self):
        padded = RAMP_12.copy()
        padded[:, :10] = 4000
        content = dicom(padded, BitsStored=12, PixelPaddingValue=4000)
        grey = decode(content, WHOLE_RANGE)
        inside = RAMP_12[:, 10:].astype(float)
        assert not grey[:, :10].any()
        assert np.array_equal(grey[:, 10:], np.rint(255 * (inside - inside.min()) / np.ptp(inside)))

    def test_negative_range(self):
        values = RAMP_12.astype(np.int16)
        values[:5] = np.arange(-2000, -1995)[:, np.newaxis]
        content = dicom(values, PixelPaddingValue=-2000, PixelPaddingRangeLimit=-1996)
        grey = decode(content, WHOLE_RANGE)
        inside = RAMP_12[5:].astype(float)
        assert not grey[:5].any()
        assert np.array_equal(grey[5:], np.rint(255 * (inside - inside.min()) / np.ptp(inside)))

    def test_black_in_monochrome1(self):
        padded = RAMP_8.copy()
        padded[:, :10] = 0
        grey = decode(dicom(padded, PixelPaddingValue=0, PhotometricInterpretation="MONOCHROME1"))
        assert not grey[padded == 0].any()
        assert np.array_equal(grey[padded > 0], 255 - padded[padded > 0])


class TestNoWindow:
    def test_8_bits_are_the_picture(self):
        assert np.array_equal(decode(dicom(RAMP_8)), RAMP_8)

    def test_8_bits_with_a_rescale_are_not(self):
        content = dicom(RAMP_8, RescaleSlope="2", RescaleIntercept="5")
        assert np.array_equal(decode(content, WHOLE_RANGE), np.rint(RAMP_8 * 255.0 / 211))

    def test_8_bits_with_an_idle_rescale_are(self):
        assert np.array_equal(decode(dicom(RAMP_8, RescaleSlope="1", RescaleIntercept="0")), RAMP_8)

    def test_percentiles(self):
        low, high = np.percentile(RAMP_12, [0.5, 99.5], method="inverted_cdf").astype(float)
        expected = np.rint(255 * np.clip((RAMP_12 - low) / (high - low), 0, 1))
        assert np.array_equal(decode(dicom(RAMP_12, BitsStored=12)), expected)


class TestFrames:
    FRAMES = np.stack([RAMP_8 // (n + 1) for n in range(5)])

    @pytest.mark.parametrize(("count", "middle"), [(1, 0), (2, 0), (3, 1), (5, 2)])
    def test_the_middle_one(self, count, middle):
        content = dicom(self.FRAMES[:count], NumberOfFrames=count)
        assert np.array_equal(decode(content), self.FRAMES[middle])

    def test_fewer_than_announced(self):
        assert rejection(dicom(self.FRAMES, NumberOfFrames=6)) == Reason.TRUNCATED


class TestColour:
    EXACT = RGB @ np.array([0.299, 0.587, 0.114])

    def test_planes(self):
        content = dicom(RGB, PlanarConfiguration=1)
        planes = np.ascontiguousarray(np.moveaxis(RGB, -1, 0)).tobytes()
        assert content.endswith(RGB.tobytes())
        grey = decode(content[: -RGB.size] + planes)
        assert np.abs(grey - self.EXACT).max() <= 0.501

    def test_16_bits(self):
        content = dicom(RGB.astype(np.uint16) << 8)
        assert np.abs(decode(content) - self.EXACT).max() <= 0.501

    def test_ybr_full_is_its_y(self):
        assert np.array_equal(decode(dicom(RGB, PhotometricInterpretation="YBR_FULL")), RGB[..., 0])

    def test_ybr_full_422_is_its_y(self):
        pairs = np.empty((40, 24, 4), np.uint8)
        pairs[..., 0], pairs[..., 1] = RAMP_8[:, ::2], RAMP_8[:, 1::2]
        pairs[..., 2:] = 128
        content = dicom(RGB, PhotometricInterpretation="YBR_FULL_422")
        at = content.index(b"\xe0\x7f\x10\x00OB")
        content = content[: at + 8] + pairs.size.to_bytes(4, "little") + pairs.tobytes()
        assert np.array_equal(decode(content), RAMP_8)

    def test_palette(self):
        levels = {"Red": 1, "Green": 2, "Blue": 3}
        elements = {}
        for name, factor in levels.items():
            table = np.arange(256, dtype=np.uint16) // factor
            elements[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
            elements[f"{name}PaletteColorLookupTableData"] = (table * 257).astype("<u2").tobytes()
        content = dicom(RAMP_8, PhotometricInterpretation="PALETTE COLOR", **elements)
        exact = sum(
            weight * (RAMP_8 // factor)
            for weight, factor in zip((0.299, 0.587, 0.114), (1, 2, 3), strict=True)
        )
        assert np.abs(decode(content) - exact).max() <= 0.501


class TestWithoutPreambleOrMeta:
    @pytest.mark.parametrize("syntax", NATIVE)
    def test_meta_without_preamble(self, syntax):
        assert np.array_equal(decode(dicom(RAMP_12, syntax=syntax, preamble=False, **TWELVE_BITS)), GREY_12)

    @pytest.mark.parametrize("preamble", [True, False])
    @pytest.mark.parametrize("syntax", NATIVE[:3])
    def test_no_meta(self, syntax, preamble):
        content = dicom(RAMP_12, syntax=syntax, meta=False, preamble=preamble, **TWELVE_BITS)
        assert np.array_equal(decode(content), GREY_12)

    def test_no_transfer_syntax_in_the_meta(self):
        content = dicom(RAMP_12, **TWELVE_BITS)
        uid = b"\x02\x00\x10\x00UI\x14\x001.2.840.10008.1.2.1\x00"
        assert uid in content
        assert np.array_equal(decode(content.replace(uid, b"")), GREY_12)


class TestRejections:
    @pytest.mark.parametrize(
        ("elements", "reason"),
        [
            ({"Rows": 27}, Reason.TOO_SMALL),
            ({"Rows": 65535, "Columns": 65535}, Reason.TOO_LARGE),
            ({"Rows": 41}, Reason.TRUNCATED),
            ({"NumberOfFrames": 10**9}, Reason.TRUNCATED),
            ({"BitsAllocated": 32}, Reason.UNREADABLE),
            ({"BitsStored": 17}, Reason.UNREADABLE),
            ({"SamplesPerPixel": 2}, Reason.UNREADABLE),
            ({"PhotometricInterpretation": "HSV"}, Reason.UNREADABLE),
            ({"RescaleSlope": "0"}, Reason.UNREADABLE),
            ({"RescaleSlope": "1e300"}, Reason.UNREADABLE),
            ({"Rows": None}, Reason.UNREADABLE),
            ({"WindowCenter": "9999", "WindowWidth": "2"}, Reason.BLANK),
        ],
    )
    def test_headers(self, elements, reason):
        assert rejection(dicom(RAMP_8, **elements)) == reason

    def test_constant(self):
        assert rejection(dicom(np.full((40, 48), 700, np.uint16))) == Reason.BLANK

    def test_no_pixels(self):
        content = dicom(RAMP_8, Rows=None, Columns=None)
        assert rejection(content[: content.index(b"\xe0\x7f\x10\x00")]) == Reason.NO_PIXEL_DATA

    @pytest.mark.parametrize("syntax", NATIVE)
    def test_cut_off(self, syntax):
        content = dicom(RAMP_12, syntax=syntax, **TWELVE_BITS)
        assert rejection(content[:-100]) == Reason.TRUNCATED

    def test_a_deflated_bomb(self, monkeypatch):
        monkeypatch.setattr("pneumonia.imaging.header._MAX_INFLATED", 1000)
        assert rejection(dicom(RAMP_8, syntax=DeflatedExplicitVRLittleEndian)) == Reason.TOO_LARGE

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"\x08\x00",
            b"<!DOCTYPE html><html><body>404 Not Found</body></html>" * 50,
            b"file,label,patient\n" * 100,
            b"PK\x03\x04" + bytes(500),
            bytes(1000),
            b"BM" + bytes(1000),
            b"GIF89a" + bytes(1000),
        ],
    )
    def test_other_contents(self, content):
        assert rejection(content) == Reason.NOT_AN_IMAGE
