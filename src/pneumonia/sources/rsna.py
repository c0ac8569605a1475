"""RSNA Pneumonia Detection Challenge 2018: 26,684 labelled chest radiographs of NIH ChestX-ray14, as DICOM.

Shih et al. 2019, Radiology: Artificial Intelligence 1(1), doi 10.1148/ryai.2019180041. From Kaggle, with an
account and the competition's rules accepted.

Labels. stage_2_train_labels.csv has a row a box, hence several rows an image; an image is positive when
a row has Target 1. stage_2_detailed_class_info.csv tells normal images from those with other findings.

Patients. `patientId` names an image, and so does the header's PatientID: the 26,684 images are of some 11,000
patients of the NIH. RSNA publishes to which file of the NIH an image belongs, as a list of objects with
subset_img_id (the patientId) and img_id (00012345_001.png: patient 00012345, image 1). Without that file
nobody can keep a patient's images on one side of a split.

Split. None is official: the labels of the challenge's test images were not published. Published work took
the first 24,000 images, in the order in which they come first in the label table, for training and the last
2,684 for validation. These are "train" and "test" here, because whoever chooses an epoch on them has no test
set left. They count only where params.yaml says so: once the patients are known, many of the training images
turn out to be of patients of the last 2,684, and are left out.
"""

import json
import shutil
import subprocess
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from pneumonia.errors import UserError
from pneumonia.params import Source
from pneumonia.sources.archive import Archive, Folder
from pneumonia.sources.given import ADDED, keep, open_given, read_given
from pneumonia.sources.record import Box, Record
from pneumonia.sources.tables import read_table

COMPETITION = "rsna-pneumonia-detection-challenge"
PAGE = f"https://www.kaggle.com/competitions/{COMPETITION}"
MAPPING = "pneumonia-challenge-dataset-mappings_2018.json"
"""At https://s3.amazonaws.com/east1.public.rsna.org/AI/2018/ and linked from RSNA's page of the challenge."""

IMAGES = "stage_2_train_images"
LABELS = "stage_2_train_labels.csv"
CLASSES = "stage_2_detailed_class_info.csv"
PATIENTS = f"{ADDED}/patients.json"

PUBLISHED = {"pneumonia": 6_012, "normal": 20_672}
"""Images a class, 26,684 in all."""
PUBLISHED_TRAIN = 24_000
GROUPS = {"Normal": "normal", "No Lung Opacity / Not Normal": "not normal", "Lung Opacity": "lung opacity"}


@dataclass
class _Annotation:
    """All rows of one image."""

    targets: set[str] = field(default_factory=set)
    boxes: list[Box] = field(default_factory=list)
    classes: set[str] = field(default_factory=set)

    @property
    def positive(self) -> bool:
        return "1" in self.targets

    @property
    def conflicting(self) -> bool:
        """Whether two rows say two things, or the table of classes says another thing than the labels."""
        by_class = {name == "Lung Opacity" for name in self.classes}
        return len(self.targets) > 1 or len(self.classes) > 1 or not by_class <= {self.positive}


def fetch(params: Source, archive: Path, root: Path) -> None:
    """Make `archive` from the archive or folder at `params.path`, or from Kaggle with its own client.

    Args:
        params: path; patients, the mapping to NIH file names; complete, whether to refuse other numbers of
            images than published.
        archive: the zip archive to make; it appears when it is complete.
        root: of the repository.

    Raises:
        UserError: there is no such file, or Kaggle's client is missing or fails; tables are missing or
            wrong; other numbers of images than published; the disk is full.
    """
    mapping = read_given("source.patients", params.patients, root) if params.patients else None
    with _given(params, root) as given:
        records = _records(given, None if mapping is None else _patients(mapping, MAPPING))
        if params.complete:
            _check_counts(records, given.path)
        tables = [_find(given, LABELS), _find(given, CLASSES)]
        files = [*tables, *(record.file for record in records)]
        keep(given, archive, files, {} if mapping is None else {PATIENTS: mapping})


def read_records(archive: Archive) -> list[Record]:
    """Return a record for every image of stage_2_train_images, sorted by file.

    group is normal, "not normal" (other findings than pneumonia) or "lung opacity"; boxes are in pixels of
    the stored image; official_split is the published split, see above. Images without a row in the label
    table, or with contradicting rows, have a fault. patient is the NIH's where the mapping was given.

    Raises:
        UserError: a table is missing or wrong, or the mapping leaves images out.
    """
    mapping = archive.read(PATIENTS) if PATIENTS in archive.names() else None
    return _records(archive, None if mapping is None else _patients(mapping, MAPPING))


def aggregate(labels: bytes, classes: bytes) -> dict[str, _Annotation]:
    """Gather the rows of both tables by image, in the order of the label table.

    Raises:
        UserError: a column is missing, or a cell is not what it must be.
    """
    annotations: dict[str, _Annotation] = defaultdict(_Annotation)
    for row in read_table(labels, LABELS, ("patientId", "x", "y", "width", "height", "Target")):
        image = row["patientId"]
        if row["Target"] not in ("0", "1"):
            raise UserError(f"{LABELS} gives {image} the Target {row['Target']!r}; it must be 0 or 1.")
        annotations[image].targets.add(row["Target"])
        if row["Target"] == "1":
            annotations[image].boxes.append(_box(row))
    for row in read_table(classes, CLASSES, ("patientId", "class")):
        if row["class"] not in GROUPS:
            raise UserError(f"{CLASSES} has the class {row['class']!r}; it must be one of {list(GROUPS)}.")
        if row["patientId"] in annotations:
            annotations[row["patientId"]].classes.add(row["class"])
    return dict(annotations)


def _box(row: dict[str, str]) -> Box:
    try:
        box = Box(*(float(row[name]) for name in ("x", "y", "width", "height")))
    except ValueError:
        box = Box(0, 0, 0, 0)
    if not (box.width > 0 and box.height > 0 and min(box) >= 0 and max(box) < 1e6):
        raise UserError(f"{LABELS} gives {row['patientId']} the Target 1 without a box of numbers.")
    return box


def _records(given: Archive | Folder, patients: dict[str, str] | None) -> list[Record]:
    annotations = aggregate(given.read(_find(given, LABELS)), given.read(_find(given, CLASSES)))
    place = {image: number for number, image in enumerate(annotations)}
    files = _image_files(given)
    unknown = [] if patients is None else sorted(files.keys() & annotations.keys() - patients.keys())
    if unknown:
        raise UserError(
            f"source.patients leaves out {len(unknown):,} of the images, for example {unknown[0]}; "
            f"give RSNA's {MAPPING} as published."
        )
    records = []
    for image, file in files.items():
        annotation = annotations.get(image)
        patient = file if patients is None else patients.get(image, file)
        if annotation is None:
            records.append(Record(file, None, patient, fault="label_missing"))
        elif annotation.conflicting:
            records.append(Record(file, None, patient, fault="label_conflicting"))
        else:
            records.append(
                Record(
                    file=file,
                    label="pneumonia" if annotation.positive else "normal",
                    patient=patient,
                    official_split="train" if place[image] < PUBLISHED_TRAIN else "test",
                    group=next((GROUPS[name] for name in annotation.classes), ""),
                    boxes=tuple(annotation.boxes),
                )
            )
    return sorted(records, key=lambda record: record.file)


def _image_files(given: Archive | Folder) -> dict[str, str]:
    """Of each image its file."""
    files: dict[str, str] = {}
    for name in given.names():
        path = PurePosixPath(name)
        if path.parent.name == IMAGES and path.suffix.lower() == ".dcm":
            if path.stem in files:
                raise UserError(f"{given.path} holds {files[path.stem]} and {name}; remove one of the trees.")
            files[path.stem] = name
    return files


def _find(given: Archive | Folder, table: str) -> str:
    found = [name for name in given.names() if PurePosixPath(name).name == table]
    if not found:
        raise UserError(
            f"{given.path} holds no {table}; give {COMPETITION}.zip as Kaggle sends it, or a folder with "
            f"{IMAGES}/, {LABELS} and {CLASSES}, unpacked."
        )
    return min(found, key=lambda name: (name.count("/"), name))


def _patients(mapping: bytes, name: str) -> dict[str, str]:
    """The NIH patient of each image."""
    try:
        pairs = {str(item["subset_img_id"]): str(item["img_id"]) for item in json.loads(mapping)}
    except (ValueError, TypeError, KeyError, RecursionError):
        raise UserError(
            f"source.patients is not RSNA's {name}: a JSON list of objects with subset_img_id and img_id."
        ) from None
    return {image: file.partition("_")[0] for image, file in pairs.items()}


def _check_counts(records: list[Record], where: Path) -> None:
    found = Counter(record.label for record in records if record.label)
    if dict(found) != PUBLISHED:
        raise UserError(
            f"{where} holds {found.total():,} labelled images, {found['pneumonia']:,} positive and "
            f"{found['normal']:,} negative; RSNA has {sum(PUBLISHED.values()):,}, "
            f"{PUBLISHED['pneumonia']:,} and {PUBLISHED['normal']:,}; fetch it again, or set source.complete "
            "to false to work with a part."
        )


@contextmanager
def _given(params: Source, root: Path) -> Iterator[Archive | Folder]:
    if params.path is not None:
        yield open_given(params.path, root)
        return
    downloaded = _from_kaggle(root / ".cache" / "downloads")
    yield Archive(downloaded)
    downloaded.unlink()


def _from_kaggle(folder: Path) -> Path:
    """Fetch the archive with Kaggle's own client, which knows the account.

    Raises:
        UserError: there is no client, or it failed.
    """
    by_hand = (
        f"Kaggle gives the images to those who have an account and have accepted the rules at {PAGE}/rules; "
        f"fetch {COMPETITION}.zip by hand from {PAGE}/data and set source.path in params.yaml to where you "
        "put it"
    )
    client = shutil.which("kaggle")
    if client is None:
        raise UserError(
            f"source.path is null and there is no command `kaggle` here. {by_hand}, or install Kaggle's "
            "client (`pip install kaggle`), log in and run again."
        )
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / f"{COMPETITION}.zip"
    command = [client, "competitions", "download", "-c", COMPETITION, "-p", str(folder)]
    status = subprocess.run(command, check=False).returncode  # noqa: S603  it shows its own progress
    if status or not archive.is_file():
        raise UserError(f"Kaggle's client ended with status {status} and sent no archive. {by_hand}.")
    return archive
