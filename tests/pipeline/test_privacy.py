"""Nothing that a header, a comment, a rejected file or a file's name says of a patient leaves data/raw."""

import base64
import hashlib
import io
import sqlite3
import zipfile
import zlib
from pathlib import Path

import pydicom
import pytest
import yaml
from conftest import Repository
from PIL import Image, PngImagePlugin
from planting import DAY, IDENTIFIER, NAME, PATIENT, WORD, found, plant, replant
from pydicom.uid import JPEGBaseline8Bit

from tests.unit.imaging_files import RAMP_8, dicom

pytestmark = pytest.mark.pipeline


def broken_files() -> dict[str, bytes]:
    """Every way of being rejected that has a header in its hands."""
    whole = plant(dicom(RAMP_8), keep_wanted=False)
    known = plant(dicom([b"no codestream "], syntax=JPEGBaseline8Bit), keep_wanted=False)
    return {
        "films/x1.dcm": whole[:-900],
        "films/x2.dcm": whole.replace(b"MONOCHROME2 ", f"{WORD:12}".encode()),
        "films/x3.dcm": known.replace(JPEGBaseline8Bit.encode(), IDENTIFIER[:22].encode()),
        "films/x4.dcm": plant(dicom(RAMP_8, Modality="CT"), keep_wanted=True),
        "films/x5.dcm": plant(dicom(RAMP_8, BodyPartExamined="KNEE"), keep_wanted=True),
        "films/x6.dcm": plant(dicom(RAMP_8, ViewPosition="LL"), keep_wanted=True),
        "films/x10.dcm": plant(dicom(RAMP_8, BurnedInAnnotation="YES"), keep_wanted=True),
        "films/x7.dcm": plant(dicom(RAMP_8 // 250), keep_wanted=False),
        "films/x8.txt": f"{NAME}, born {DAY}\n".encode(),
        "films/x9.dcm": whole.replace(b"\x28\x00\x10\x00US\x02\x00", b"\x28\x00\x10\x00LO\x02\x00"),
    }


def test_no_word_of_a_header_or_a_name_leaves_the_raw_data(repository: Repository) -> None:
    extra = broken_files()
    replant(repository.root / "data/raw/images.zip", repository.root.parent / "given.zip", extra)
    repository.set_params(**{"source.name": "folder", "source.path": "../given.zip"})
    said = []
    # First too many rejections, so that the sentence of that is heard too.
    said.append(repository.dvc("repro", "--verbose", fails=True))
    assert "preprocess.max_rejected" in said[-1]
    repository.set_params(**{"preprocess.max_rejected": 0.2})
    said.append(repository.dvc("repro", "--verbose"))
    said.append(repository.dvc("metrics", "show"))
    assert "Running stage 'gallery'" in said[1]
    rejected = (repository.root / "data/processed/rejected.csv").read_text("utf-8")
    assert rejected.count("\n") == 1 + len(extra)
    assert (repository.root / "data/processed/index.csv").read_text("utf-8").count("\n") == 1 + 96

    leaks = {str(path.relative_to(repository.root)): found(path.read_bytes()) for path in written(repository)}
    leaks["printed"] = found("\n".join(said).encode())
    key = (repository.root / "pseudonym.key").read_bytes().strip()
    assert [path.name for path in written(repository) if key in path.read_bytes()] == ["pseudonym.key"]
    assert {"mlflow.db", "reports/report.html", "metrics/data.json", "dvc.lock"} <= leaks.keys()
    assert {name: words for name, words in leaks.items() if words} == {}


def written(repository: Repository) -> list[Path]:
    """Every file of the repository, DVC's cache too, but the raw data and the code that plants the words."""
    lock = yaml.safe_load((repository.root / "dvc.lock").read_text("utf-8"))
    (raw,) = lock["stages"]["download"]["outs"]
    cached = repository.root / ".dvc/cache/files/md5" / raw["md5"][:2] / raw["md5"][2:]
    apart = {repository.root / raw["path"], cached}
    assert all(path.is_file() for path in apart)
    files = (path for path in repository.root.rglob("*") if path.is_file() and path not in apart)
    skipped = {repository.root / ".git", repository.root / "tests"}
    return [path for path in files if not skipped.intersection(path.parents)]


def png_with_text() -> bytes:
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Author", NAME, zip=True)
    picture = io.BytesIO()
    Image.fromarray(RAMP_8).save(picture, "PNG", pnginfo=texts)
    return picture.getvalue()


def zipped() -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zip_file:
        zip_file.writestr("a.txt", PATIENT.lower())
    return archive.getvalue()


def database() -> bytes:
    with sqlite3.connect(":memory:") as connection:
        connection.execute("create table t (x)")
        # Page after page, so that one of the words lies across their border.
        connection.execute("insert into t values (?)", ("".join(f"{n:07}" for n in range(2000)) + PATIENT,))
        return connection.serialize()


@pytest.mark.parametrize(
    "hidden",
    [
        NAME.encode(),
        NAME.encode("utf-16"),
        png_with_text(),
        zipped(),
        zlib.compress(NAME.encode(), wbits=31),
        b'<img src="data:image/png;base64,' + base64.b64encode(png_with_text()) + b'">',
        b"cell: " + base64.b64encode(b"the patient's name is " + NAME.encode()),
        database(),
        hashlib.sha256(PATIENT.encode()).hexdigest()[:20].encode(),
    ],
)
def test_the_search_sees_through_every_wrapping(hidden: bytes) -> None:
    assert found(hidden)
    assert not found(b"films/P00001-1.dcm,normal,0.25,1847,19\n")


@pytest.mark.filterwarnings("ignore:Unknown encoding")
def test_every_text_of_a_planted_file_is_planted() -> None:
    planted = plant(dicom(RAMP_8, PatientName="Real^Name"), keep_wanted=False)
    dataset = pydicom.dcmread(io.BytesIO(planted))
    left = [
        element.keyword
        for element in dataset
        if isinstance(element.value, str) and not found(str(element.value).encode())
    ]
    assert left == ["PhotometricInterpretation"]
    assert len(dataset) > 700
