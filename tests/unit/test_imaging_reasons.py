"""Every reason of the closed list, from a file made to be so to its row in rejected.csv."""

import io
import os
import struct
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
from pydicom.uid import JPEGBaseline8Bit

from pneumonia.errors import UserError
from pneumonia.imaging import isolation, packing
from pneumonia.imaging.packing import pack
from pneumonia.imaging.rejection import Reason
from pneumonia.params import load_params
from pneumonia.sources.archive import Archive
from pneumonia.sources.record import Record
from pneumonia.store import open_images, read_index
from tests.unit.imaging_files import RAMP_8, dicom, no_sequence, raster

PREPROCESS = load_params(Path(__file__).parents[2] / "params.yaml").preprocess.model_copy(update={"size": 32})

MPEG4 = "1.2.840.10008.1.2.4.102"
HANG = b"hang"
HANGING = """
import ctypes
from pneumonia.imaging import packing
from pneumonia.imaging.isolation import serve
decode = packing.decode_with_facts
def hanging(content, *args, **keywords):
    if content == b"hang":
        ctypes.PyDLL(None).sleep(600)
    return decode(content, *args, **keywords)
packing.decode_with_facts = hanging
serve(1.0, 2**32)
"""


def png_of(height: int, width: int) -> bytes:
    """A PNG whose header promises this size."""
    content = bytearray(raster(RAMP_8, "PNG"))
    content[16:24] = struct.pack(">II", width, height)
    return bytes(content)


def without_pixels() -> bytes:
    dataset = pydicom.dcmread(io.BytesIO(dicom(RAMP_8)))
    del dataset.PixelData
    written = io.BytesIO()
    dataset.save_as(written)
    return written.getvalue()


FILES: dict[Reason, list[bytes]] = {
    Reason.UNREADABLE: [
        dicom(RAMP_8, PhotometricInterpretation="YBR_RADIANT"),
        dicom(RAMP_8, BitsAllocated=16, BitsStored=17),
        raster(RAMP_8, "PNG").replace(b"IDAT", b"IDOT"),
        no_sequence("OB", b"1234", "VOILUTSequence", RAMP_8),
    ],
    Reason.TRUNCATED: [
        dicom(RAMP_8)[:-500],
        raster(RAMP_8, "JPEG")[:-300],
        raster(RAMP_8, "PNG")[:-60],
    ],
    Reason.NOT_AN_IMAGE: [b"", b"<html><body>The file has moved.</body></html>" * 20, b"GIF89a" + bytes(400)],
    Reason.NO_PIXEL_DATA: [without_pixels()],
    Reason.UNSUPPORTED_COMPRESSION: [dicom([b"\0\0\0\x18ftypmp42"], syntax=MPEG4)],
    Reason.WRONG_MODALITY: [dicom(RAMP_8, Modality="CT"), dicom(RAMP_8, Modality="MG")],
    Reason.WRONG_BODY_PART: [dicom(RAMP_8, BodyPartExamined="KNEE")],
    Reason.LATERAL_VIEW: [dicom(RAMP_8, ViewPosition="LL"), dicom(RAMP_8, SeriesDescription="view: LATERAL")],
    Reason.BURNED_IN: [dicom(RAMP_8, BurnedInAnnotation="YES")],
    Reason.BLANK: [dicom(RAMP_8 // 250), raster(np.full((64, 64), 200, np.uint8), "PNG")],
    Reason.TOO_SMALL: [raster(RAMP_8[:20], "PNG"), dicom(RAMP_8[:, :27].copy())],
    Reason.TOO_LARGE: [
        png_of(30_000, 30_000),
        dicom([raster(RAMP_8, "JPEG")], syntax=JPEGBaseline8Bit, shape=(40_000, 40_000)),
    ],
    Reason.TIMEOUT: [HANG] * (os.name == "posix"),
}
GOOD = {f"good/{number:02}.png": raster(RAMP_8 + np.uint8(number), "PNG") for number in range(8)}


class Case:
    """Good files, bad ones, and where the results go."""

    def __init__(self, folder: Path) -> None:
        self.contents: dict[str, bytes] = {}
        self.records: list[Record] = []
        for number, (name, content) in enumerate(GOOD.items()):
            self.add(name, content, "pneumonia" if number % 2 else "normal")
        self.folder = folder

    def add(self, name: str, content: bytes, label: str | None = "normal", fault: str = "") -> None:
        self.contents[name] = content
        self.records.append(Record(name, label, name, fault=fault))

    def pack(self, **changes: object) -> None:
        path = self.folder / "a.zip"
        with zipfile.ZipFile(path, "w") as zip_file:
            for name, content in self.contents.items():
                zip_file.writestr(name, content)
        settings = PREPROCESS.model_copy(update={"max_rejected": 1.0, **changes})
        outputs = (self.folder / name for name in ("images.npy", "index.csv", "rejected.csv"))
        pack(Archive(path), self.records, settings, *outputs, workers=1)

    @property
    def rejected(self) -> dict[str, str]:
        table = pd.read_csv(self.folder / "rejected.csv", dtype=str, keep_default_na=False)
        assert list(table.columns) == ["file", "reason", "detail"]
        assert (table["detail"] != "").all()
        assert list(table["file"]) == sorted(table["file"])
        return dict(zip(table["file"], table["reason"], strict=True))


@pytest.fixture(autouse=True)
def _decoders_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoding processes are started once for all tests: each takes half a second."""
    monkeypatch.setattr(packing, "close_idle", lambda: None)


@pytest.fixture
def _hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    isolation.close_idle()
    if os.name == "posix":
        monkeypatch.setattr(isolation, "_PROGRAM", HANGING)
    yield
    isolation.close_idle()


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def bad_files(case: Case) -> dict[str, str]:
    """Add a file or more of each reason; return file and reason."""
    expected: dict[str, str] = {}
    for reason, contents in FILES.items():
        for number, content in enumerate(contents):
            name = f"bad/{reason}-{number}"
            case.add(name, content)
            expected[name] = reason
    return expected


@pytest.mark.usefixtures("_hanging")
def test_each_reason_occurs_and_the_run_goes_on(case: Case) -> None:
    expected = bad_files(case)
    case.add("bad/missing", GOOD["good/00.png"], None, "label_missing")
    case.add("bad/conflicting", GOOD["good/00.png"], None, "label_conflicting")
    case.add("bad/both-0", raster(RAMP_8 // 2, "PNG"), "normal")
    case.add("bad/both-1", raster(RAMP_8 // 2, "PNG"), "pneumonia")
    case.add("later/again", GOOD["good/03.png"], "pneumonia")
    expected |= {
        "bad/missing": "label_missing",
        "bad/conflicting": "label_conflicting",
        "bad/both-0": "label_conflicting",
        "bad/both-1": "label_conflicting",
        "later/again": "duplicate",
    }
    case.pack(duplicates="reject")
    assert case.rejected == expected
    untested = set() if os.name == "posix" else {"timeout"}
    assert set(expected.values()) == {str(reason) for reason in Reason} - untested
    index = read_index(case.folder / "index.csv")
    assert list(index["file"]) == sorted(GOOD)
    assert len(open_images(case.folder / "images.npy")) == len(GOOD)


def test_more_than_max_rejected_is_one_sentence(case: Case) -> None:
    for number in range(2):
        case.add(f"bad/{number}", FILES[Reason.LATERAL_VIEW][number])
    case.add("bad/2", b"")
    with pytest.raises(UserError) as caught:
        case.pack(max_rejected=0.2)
    assert str(caught.value) == (
        "3 of 11 images cannot be used, more than preprocess.max_rejected (0.2) allows: 2 lateral_view, "
        f"1 not_an_image, for example bad/0; all are in {case.folder / 'rejected.csv'}."
    )
    assert len(case.rejected) == 3
    assert sorted(path.name for path in case.folder.iterdir()) == ["a.zip", "rejected.csv"]
    case.pack(max_rejected=0.3)
    assert len(read_index(case.folder / "index.csv")) == 8


@pytest.mark.parametrize(("frontal_only", "kept"), [(True, 8), (False, 10)])
def test_lateral_films_are_kept_where_they_are_asked_for(case: Case, frontal_only: bool, kept: int) -> None:
    for number, content in enumerate(FILES[Reason.LATERAL_VIEW]):
        case.add(f"bad/{number}", content)
    case.pack(frontal_only=frontal_only)
    assert len(read_index(case.folder / "index.csv")) == kept


@pytest.mark.parametrize(("burned_in", "kept"), [("reject", 9), ("keep", 10)])
def test_films_that_show_who_it_is_are_kept_where_they_are_asked_for(
    case: Case, burned_in: str, kept: int
) -> None:
    case.add("bad/0", FILES[Reason.BURNED_IN][0])
    case.add("good/no", dicom(RAMP_8 // 2, BurnedInAnnotation="NO"))
    case.pack(burned_in=burned_in)
    assert len(read_index(case.folder / "index.csv")) == kept


def test_duplicates_are_kept_unless_they_are_to_be_rejected(case: Case) -> None:
    case.add("again/00.png", GOOD["good/00.png"])
    case.pack()
    assert case.rejected == {}
    case.pack(duplicates="reject")
    assert case.rejected == {"good/00.png": "duplicate"}


@pytest.mark.parametrize(
    ("patients", "places", "rejected"),
    [
        (("A", "A"), ("train", "train"), 1),
        (("A", "B"), ("train", "train"), 0),  # it says that A and B may be one
        (("A", "A"), ("train", "test"), 0),  # the source's own test set is not ours to change
    ],
)
def test_a_copy_of_another_patient_or_split_is_kept(
    case: Case, patients: tuple[str, str], places: tuple[str, str], rejected: int
) -> None:
    content = raster(RAMP_8 // 2, "PNG")
    for patient, place in zip(patients, places, strict=True):
        case.add(f"copies/{place}-{patient}-{len(case.records)}.png", content)
        case.records[-1] = replace(case.records[-1], patient=patient, official_split=place)
    case.pack(duplicates="reject")
    assert len(case.rejected) == rejected


def test_an_unsupported_compression_names_a_package(case: Case) -> None:
    case.add("bad", FILES[Reason.UNSUPPORTED_COMPRESSION][0])
    case.pack()
    assert "the package av has one" in (case.folder / "rejected.csv").read_text("utf-8")
