"""The archive of synthetic radiographs: same bytes, balanced labels, every kind of file."""

import io
import zipfile
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.pixels import apply_modality_lut, apply_windowing
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGBaseline8Bit

from pneumonia.errors import UserError
from pneumonia.sources.archive import Archive
from pneumonia.sources.phantom import source
from pneumonia.sources.phantom.cohort import Film, deal_cohort
from pneumonia.sources.phantom.files import FILE_KINDS, FileKind
from pneumonia.sources.phantom.source import draw_file, read_records, write_archive

COUNT = 16


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("phantom") / "images.zip"
    write_archive(path, COUNT, seed=3, processes=1)
    return path


def displayed(content: bytes) -> NDArray[np.float64]:
    """0 black to 1 white, through the chain of PS3.4 N.2: modality, window, and inversion last."""
    if content[128:132] != b"DICM":
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
        return pixels / np.iinfo(pixels.dtype).max
    dataset = pydicom.dcmread(io.BytesIO(content))
    values = np.asarray(apply_modality_lut(dataset.pixel_array, dataset), np.float64)
    slope, intercept = float(dataset.get("RescaleSlope", 1)), float(dataset.get("RescaleIntercept", 0))
    low, high = intercept, slope * (2**dataset.BitsStored - 1) + intercept
    if "WindowWidth" in dataset:
        values = apply_windowing(values, dataset)
    grey = (values - low) / (high - low)
    return 1 - grey if dataset.PhotometricInterpretation == "MONOCHROME1" else grey


def test_same_seed_same_bytes_whatever_the_number_of_processes(archive: Path, tmp_path: Path) -> None:
    write_archive(tmp_path / "again.zip", COUNT, seed=3, processes=2)
    assert (tmp_path / "again.zip").read_bytes() == archive.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["again.zip"]


def test_another_seed_gives_other_films() -> None:
    film = Film(0, "films/a.png", 1, "normal", FileKind("png", 8, 1.0))
    assert draw_file(film, seed=3) == draw_file(film, seed=3)
    assert draw_file(film, seed=3) != draw_file(film, seed=4)


def test_the_zip_is_stored_sorted_and_dateless(archive: Path) -> None:
    with zipfile.ZipFile(archive) as file:
        members = file.infolist()
    assert [member.filename for member in members] == sorted(member.filename for member in members)
    assert {member.compress_type for member in members} == {zipfile.ZIP_STORED}
    assert {member.date_time for member in members} == {(1980, 1, 1, 0, 0, 0)}
    assert {member.external_attr for member in members} == {0o100644 << 16}


def test_the_label_table_names_every_film_once(archive: Path) -> None:
    records = read_records(Archive(archive))
    assert [record.file for record in records] == [n for n in Archive(archive).names() if n != "labels.csv"]
    assert len(records) == COUNT
    assert all((record.group == "normal") == (record.label == "normal") for record in records)
    assert all(record.patient in record.file for record in records)


def test_a_strange_archive_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as file:
        file.writestr("a.txt", "")
    with pytest.raises(UserError, match=r"no labels\.csv"):
        read_records(Archive(tmp_path / "other.zip"))
    with zipfile.ZipFile(tmp_path / "wrong.zip", "w") as file:
        file.writestr("labels.csv", "file,patient,label,group\na.png,P1,covid,x\n")
    with pytest.raises(UserError, match="'covid'"):
        read_records(Archive(tmp_path / "wrong.zip"))


def test_an_interrupted_run_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: object) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr(source, "draw_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_archive(tmp_path / "images.zip", COUNT, seed=0, processes=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("count", [16, 60, 720])
def test_cohort_is_balanced_and_each_patient_has_one_diagnosis(count: int) -> None:
    cohort = deal_cohort(count, seed=1)
    assert sorted(film.index for film in cohort) == list(range(count))
    assert len({film.file for film in cohort}) == count
    assert 0.45 <= sum(film.label == "pneumonia" for film in cohort) / count <= 0.55 + 1 / count
    assert {film.group for film in cohort} == {"normal", "consolidation", "diffuse"}
    assert len({(film.patient, film.group) for film in cohort}) == len({film.patient for film in cohort})
    assert len({film.patient for film in cohort}) < count


def test_the_way_of_storing_tells_nothing_of_the_diagnosis() -> None:
    cohort = deal_cohort(720, seed=0)
    kinds = {
        label: Counter(film.kind for film in cohort if film.label == label)
        for label in ("normal", "pneumonia")
    }
    totals = {label: kinds[label].total() for label in kinds}
    for kind in FILE_KINDS:
        shares = [kinds[label][kind] / totals[label] for label in kinds]
        assert shares == pytest.approx([kind.share] * 2, abs=0.011)


def test_the_wanted_mixture_of_files() -> None:
    assert sum(kind.share for kind in FILE_KINDS) == pytest.approx(1)
    of_format = Counter[str]()
    for kind in FILE_KINDS:
        of_format[kind.format] += round(100 * kind.share)
    assert of_format == {"dicom": 75, "png": 15, "jpeg": 10}
    dicom = [kind for kind in FILE_KINDS if kind.format == "dicom"]
    assert {kind.bits for kind in dicom} == {8, 10, 12, 16}
    assert {kind.photometric for kind in dicom} == {"MONOCHROME1", "MONOCHROME2"}
    assert {kind.transfer_syntax for kind in dicom} == {
        ExplicitVRLittleEndian,
        ImplicitVRLittleEndian,
        JPEGBaseline8Bit,
    }
    assert {(kind.window, kind.rescale is not None) for kind in dicom} == {
        (False, False), (True, False), (False, True), (True, True),
    }  # fmt: skip


@pytest.mark.parametrize("kind", FILE_KINDS, ids=str)
def test_every_way_of_storing_shows_the_same_film(kind: FileKind) -> None:
    shown = displayed(draw_file(Film(0, "films/a", 1, "normal", kind), seed=3))
    plain = displayed(draw_file(Film(0, "films/a", 1, "normal", FileKind("png", 16, 1.0)), seed=3))
    lossy = kind.format == "jpeg" or kind.transfer_syntax == JPEGBaseline8Bit
    assert np.abs(shown - plain).max() < (0.1 if lossy else 1.2 / 255)
    assert np.abs(shown - plain).mean() < (0.012 if lossy else 0.5 / 255)


def test_every_file_is_a_film_with_dark_air_and_a_bright_mediastinum(archive: Path) -> None:
    darkest = []
    for record in read_records(Archive(archive)):
        film = displayed(Archive(archive).read(record.file))
        height, width = film.shape
        assert 480 <= height <= 576
        assert 400 <= width <= 512
        darkest.append(np.quantile(film, 0.01))
        middle = film[int(0.55 * height) : int(0.7 * height), int(0.46 * width) : int(0.56 * width)]
        assert np.median(middle) > 0.6
    # A few films are taken so close that there is no air beside the patient.
    assert max(darkest) < 0.3
    assert np.mean(np.array(darkest) < 0.08) > 0.7


def test_headers_hold_what_real_ones_hold_and_only_valid_values() -> None:
    kind = FILE_KINDS[3]
    first, second = (
        pydicom.dcmread(io.BytesIO(draw_file(Film(index, "films/a", 7, "normal", kind), seed=3)))
        for index in (0, 1)
    )
    assert first.PatientName == second.PatientName
    assert first.PatientID == second.PatientID == "P00007"
    assert first.PatientBirthDate == second.PatientBirthDate
    assert first.SOPInstanceUID != second.SOPInstanceUID
    assert first.Modality in ("CR", "DX")
    assert first.ViewPosition in ("PA", "AP")
    assert len(first.PatientAge) == 4
    assert first.PatientAge.endswith("Y")
    for uid in (first.SOPInstanceUID, first.StudyInstanceUID, first.SeriesInstanceUID):
        assert uid.startswith("2.25.")
        assert uid.is_valid
