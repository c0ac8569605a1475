"""Ordinary headers are read past pydicom, and nobody can tell."""

from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.sequence import Sequence

from pneumonia.imaging import header, transformations
from pneumonia.imaging.decode import decode_with_facts
from pneumonia.imaging.frame import _only_fragment, read_frame
from pneumonia.imaging.grey import Transformations
from pneumonia.imaging.header import looks_like_dicom, parse
from pneumonia.imaging.plain_header import AnyDataset, by_pydicom
from pneumonia.imaging.rejection import Rejected
from tests.unit.imaging_files import RAMP_8, dicom, lookup_table
from tests.unit.imaging_mutations import damaged, valid_files


def with_sequence(keyword: str) -> bytes:
    item = Dataset()
    item.CodeValue = "R-10206"
    return dicom(RAMP_8, **{keyword: Sequence([item])})


def undefined_length(content: bytes) -> bytes:
    """The sequence of `with_sequence`, with a delimiter in place of its length."""
    start = content.index(b"SQ\0\0\x18\0\0\0") + 4
    end = start + 4 + 24
    return (
        content[:start] + b"\xff" * 4 + content[start + 4 : end] + b"\xfe\xff\xdd\xe0\0\0\0\0" + content[end:]
    )


END = b"\xfe\xff\x0d\xe0CS\0\0"
MODALITY = b"\x08\x00\x60\x00CS\x02\0DX"


def files() -> dict[str, bytes]:
    """Valid DICOM files of each kind, and some in which other things than the pixels are special."""
    kinds = {name: content for name, content in valid_files().items() if looks_like_dicom(content)}
    return kinds | {
        "character set": dicom(RAMP_8, SpecificCharacterSet="ISO_IR 192", SeriesDescription="Lunge \u00e4"),
        "character sets": dicom(RAMP_8, SpecificCharacterSet=["", "ISO 2022 IR 87"], SeriesDescription="a"),
        "numbers as character set": dicom(RAMP_8, SpecificCharacterSet="ISO_IR 192").replace(
            b"\x08\x00\x05\x00CS", b"\x08\x00\x05\x00US"
        ),
        "empty": dicom(RAMP_8, SpecificCharacterSet="", Modality="", WindowCenter=""),
        "wanted sequence": with_sequence("ViewCodeSequence"),
        "unwanted sequence": with_sequence("AnatomicRegionSequence"),
        "wanted sequence of undefined length": undefined_length(with_sequence("ViewCodeSequence")),
        "unwanted sequence of undefined length": undefined_length(with_sequence("AnatomicRegionSequence")),
        "no pixels": dicom(RAMP_8, Modality="CR")[:-1920].replace(b"\xe0\x7f\x10\x00", b"\xe0\x7f\x12\x00"),
        "trailing bytes": dicom(RAMP_8) + b"\0\0\0",
        "trailing element": dicom(RAMP_8) + b"\xfc\xff\xfc\xffOB\0\0\x02\0\0\0\0\0",
        "twice": dicom(RAMP_8) + MODALITY,
        "after an end": dicom(RAMP_8) + END + MODALITY,
        "after an end of meta": dicom(RAMP_8).replace(b"\x08\0\x16\0", END + b"\x08\0\x16\0"),
    }


@pytest.fixture(params=files().items(), ids=lambda item: item[0])
def cases(request: pytest.FixtureRequest) -> list[bytes]:
    """A file, whole and with damage."""
    name, content = request.param
    return [content, *(damaged(content, f"plain {name} {number}") for number in range(200))]


def elements(content: bytes, tags: frozenset[int]) -> Any:
    """All that `parse` finds, as values that can be compared."""
    try:
        parsed, syntax, _ = parse(content, tags)
    except Rejected as rejected:
        return str(rejected)
    dataset = by_pydicom(parsed)
    found = {tag: dataset.get_item(tag, keep_deferred=True) for tag in dataset.keys()}  # noqa: SIM118
    return found, dataset.original_encoding, dataset.original_character_set, syntax


def outcome(content: bytes) -> Any:
    try:
        grey, facts = decode_with_facts(content, frontal_only=False)
    except Rejected as rejected:
        return str(rejected)
    return grey.shape, grey.tobytes(), facts


def left_to_pydicom(content: bytes, monkeypatch: pytest.MonkeyPatch) -> bool:
    calls = []
    read_body = header._read_body
    monkeypatch.setattr(header, "_read_body", lambda *given: calls.append(given) or read_body(*given))
    elements(content, header._TAGS)
    return bool(calls)


def test_ordinary_files_are_not_left_to_pydicom(monkeypatch):
    left = {name for name, content in files().items() if left_to_pydicom(content, monkeypatch)}
    assert left == {
        "implicit",
        "numbers as character set",
        "character sets",
        "big endian",
        "wanted sequence of undefined length",
        "unwanted sequence of undefined length",
        "trailing bytes",
        "after an end",
    }


@pytest.mark.parametrize("has_table", [False, True])
@pytest.mark.parametrize("frames", [[b"abcd"], [b"abcd", b"efghij"], [b"a" * 300]])
def test_the_only_fragment_is_pydicom_s_first_frame(frames, has_table):
    whole = encapsulate(frames, has_bot=has_table)
    assert (_only_fragment(memoryview(whole)) is not None) == (len(frames) == 1)
    changed = [whole[:end] for end in range(len(whole))]
    changed += [whole[:at] + bytes([byte]) + whole[at + 1 :] for at in range(24) for byte in (0, 1, 4, 255)]
    for content in [whole, whole + b"\0", *changed]:
        only = _only_fragment(memoryview(content))
        assert only is None or only == get_frame(content, 0, number_of_frames=1)


@pytest.mark.parametrize(
    "given",
    [
        {"ModalityLUTSequence": lookup_table(0, range(256), 9)},
        {"RescaleSlope": "2"},
        {"RescaleIntercept": "-5"},
        {"VOILUTSequence": lookup_table(0, range(256), 9)},
        {"WindowCenter": "100", "WindowWidth": "100"},  # half a window is none
        {"PixelPaddingValue": 7},
    ],
    ids=" ".join,
)
def test_no_transformation_is_passed_over(given):
    parsed = header.read_header(dicom(RAMP_8, **given))
    frame = read_frame(parsed)

    def outcome_of(dataset: AnyDataset) -> Any:
        try:
            return repr(transformations.read_transformations(dataset, frame, 0))
        except Rejected as rejected:
            return str(rejected)

    assert outcome_of(parsed.dataset) == outcome_of(by_pydicom(parsed.dataset))
    assert outcome_of(parsed.dataset) != repr(Transformations())


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_without_any_transformation_the_outcome_is_pydicom_s(photometric):
    parsed = header.read_header(dicom(RAMP_8, PhotometricInterpretation=photometric))
    frame = read_frame(parsed)
    found = transformations.read_transformations(parsed.dataset, frame, 0)
    assert found == transformations.read_transformations(by_pydicom(parsed.dataset), frame, 0)


ALL = header._TAGS | {0x00100010, 0x00082218, 0x00020010}
"""With the patient's name, a sequence that is never wanted, and one of the other group."""


@pytest.mark.parametrize("tags", [header._TAGS, ALL], ids=["wanted", "more"])
def test_the_elements_are_pydicom_s(cases, tags, monkeypatch):
    found = [elements(content, tags) for content in cases]
    monkeypatch.setattr(header, "read_plain", lambda *_, **__: None)
    assert found == [elements(content, tags) for content in cases]


def test_the_outcome_is_the_same(cases, monkeypatch):
    found = [outcome(content) for content in cases[:60]]
    monkeypatch.setattr(header, "read_plain", lambda *_, **__: None)
    assert found == [outcome(content) for content in cases[:60]]
