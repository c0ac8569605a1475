"""Names, numbers, dates and comments, planted wherever a file can hold text, are in nothing that is made."""

import io
import re
import shlex
from pathlib import Path

import numpy as np
import pydicom
import pytest
from conftest import CHECKOUT, TINY, copy_of_checkout
from pydicom.datadict import DicomDictionary, keyword_for_tag
from pydicom.tag import Tag

from pneumonia.sources.phantom.cohort import deal_cohort
from pneumonia.sources.phantom.source import draw_file

pytestmark = pytest.mark.pipeline

README = (CHECKOUT / "README.md").read_text(encoding="utf-8")
IMAGES = 48
SEED = 7
PLANTED = {
    **dict.fromkeys(("PN", "LO", "SH", "LT", "ST", "UT", "UC", "UR", "AE"), "Plantedname"),
    "CS": "PLANTEDNAME",
    "DA": "19310417",
    "DT": "19310417101112",
    "UI": "1.2.19310417.5",
    "IS": "19310417",
}
MARKS = (b"plantedname", b"19310417", b"mrn-")
NEEDED = (  # to be decoded at all, or read as what they are
    "SpecificCharacterSet",
    "SOPClassUID",
    "Modality",
    "BodyPartExamined",
    "ViewPosition",
    "PatientSex",
    "PatientID",
    "VOILUTFunction",
    "PresentationLUTShape",
    "NumberOfFrames",
    "ExtendedOffsetTable",
)


def with_text(content: bytes, patient: str, *, everywhere: bool) -> bytes:
    """The file with text in its fields: in those that name people, or in all that the standard knows."""
    dataset = pydicom.dcmread(io.BytesIO(content))
    dataset.PatientID = f"MRN-{patient}"
    dataset.PatientName = "Plantedname^Given"
    dataset.PatientBirthDate = "19310417"
    dataset.ImageComments = dataset.SeriesDescription = "Plantedname, seen 19310417"
    for number, (vr, *_) in DicomDictionary.items() if everywhere else ():
        tag = Tag(number)
        free = tag.group > 2 and tag.group not in (0x0028, 0x7FE0, 0xFFFE)
        if free and vr in PLANTED and keyword_for_tag(tag) not in NEEDED:
            dataset.add_new(tag, vr, PLANTED[vr])
    written = io.BytesIO()
    dataset.save_as(written, enforce_file_format=True)
    return written.getvalue()


@pytest.fixture
def given(tmp_path: Path) -> Path:
    """A folder of films with class folders; names of people in headers and paths."""
    films = deal_cohort(IMAGES, SEED)
    for place, film in enumerate(films):
        content = draw_file(film, SEED)
        if film.kind.format == "dicom":
            content = with_text(content, film.patient_name, everywhere=place % 8 == 0)
        path = tmp_path / "films" / film.label / f"Plantedname {film.patient_name}" / Path(film.file).name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (tmp_path / "films/normal/Plantedname broken.dcm").write_bytes(b"Plantedname")
    (tmp_path / "films/Plantedname unlabelled.png").write_bytes(b"Plantedname")
    return tmp_path / "films"


def test_nothing_that_names_anybody_leaves_preprocessing(tmp_path: Path, given: Path) -> None:
    repository = copy_of_checkout(tmp_path / "checkout")
    repository.set_params(**TINY | {"preprocess.max_rejected": 0.1})
    repository.commit("own images")
    (command,) = re.findall(r"^dvc exp run -S source.name=folder .*$", README, re.MULTILINE)
    assert (repository.root / command.partition("source.path=")[2]).resolve() == given
    printed = repository.run(*shlex.split(command)).lower().encode()
    assert [mark for mark in MARKS if mark in printed] == []
    assert repository.metrics("data")["rejected"]["total"] == 2
    assert repository.metrics("data")["patients"]["total"] < IMAGES  # told apart by the header

    raw = (repository.root / "data/raw/images.zip").read_bytes()
    assert all(mark in raw.lower() for mark in MARKS)
    told = []
    searched = 0
    for path in sorted(repository.root.rglob("*")):
        inside = path.relative_to(repository.root).parts
        if not path.is_file() or inside[0] in (".git", "tests", "src"):
            continue
        content = path.read_bytes()
        if content == raw:
            continue  # the images as they came, and the cache's copy of them
        searched += 1
        content += str(inside).encode()
        told += [str(path) for mark in MARKS if mark in content.lower()]
    assert told == []
    assert searched > 50
    assert {"mlflow.db", "pseudonym.key"} <= {path.name for path in repository.root.iterdir()}
    assert "pseudonym.key" not in repository.run("git", "status", "--porcelain", "--untracked-files=all")


def test_planted_files_are_still_images(given: Path) -> None:
    """Else the test above would search for what had been thrown away at the door."""
    from pneumonia.imaging.decode import decode  # noqa: PLC0415

    decoded = [decode(path.read_bytes()) for path in sorted(given.rglob("*P0*.dcm"))]
    assert len(decoded) > IMAGES / 4
    assert all(isinstance(image, np.ndarray) for image in decoded)
