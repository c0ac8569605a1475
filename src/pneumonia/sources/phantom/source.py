"""The source `phantom`: write the archive of synthetic radiographs, and read its label table."""

import csv
import io
import warnings
import zipfile
from collections import Counter
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

import joblib
import numpy as np
from tqdm import tqdm

from pneumonia.atomic import whole_file
from pneumonia.classes import CLASSES
from pneumonia.errors import UserError
from pneumonia.params import Source
from pneumonia.sources.archive import Archive
from pneumonia.sources.phantom.cohort import Film, deal_cohort
from pneumonia.sources.phantom.files import Header, encode
from pneumonia.sources.phantom.opacity import SEVERITY
from pneumonia.sources.phantom.patient import sample_patient
from pneumonia.sources.phantom.radiograph import draw_radiograph, sample_taking
from pneumonia.sources.record import Record
from pneumonia.sources.tables import read_table

LABELS = "labels.csv"
_COLUMNS = ("file", "patient", "label", "group")
_PATIENT, _FILM = 1, 2
"""Streams of randomness, SeedSequence([seed, index, stream]); stream 0 deals the cohort."""


def fetch(params: Source, archive: Path, root: Path) -> None:  # noqa: ARG001  every source has the root
    """Draw the radiographs and write them and their label table into one zip archive.

    The same number of images and seed give the same bytes, whatever the number of processes.

    Args:
        params: phantom_images and phantom_seed.
        archive: the .zip file to write; it appears only when it is complete.
        root: of the repository; not needed here.
    """
    write_archive(archive, params.phantom_images, params.phantom_seed)


def read_records(archive: Archive) -> list[Record]:
    """Read the label table, sorted by file.

    Raises:
        UserError: the archive is not one that `fetch` wrote.
    """
    names = set(archive.names())
    if LABELS not in names:
        raise UserError(
            f"the archive holds no {LABELS}, so it is not a phantom archive; run `dvc repro download` again."
        )
    rows = read_table(archive.read(LABELS), f"{LABELS} in the archive", _COLUMNS)
    records = []
    for row in rows:
        if row["label"] not in CLASSES:
            raise UserError(f"{LABELS} in the archive gives {row['file']} the class {row['label']!r}.")
        label = CLASSES[CLASSES.index(row["label"])]
        records.append(Record(file=row["file"], label=label, patient=row["patient"], group=row["group"]))
    files = Counter(record.file for record in records)
    wrong = sorted(file for file in files if files[file] > 1 or file not in names)
    if wrong:
        raise UserError(f"{LABELS} in the archive names {wrong[0]!r} twice, or it is not there.")
    return sorted(records, key=lambda record: record.file)


def write_archive(archive: Path, count: int, seed: int, processes: int | None = None) -> None:
    """Write the zip archive.

    Args:
        archive: the file to write.
        count: number of images.
        seed: another seed, other patients.
        processes: how many to draw with; None for one a core.
    """
    cohort = deal_cohort(count, seed)
    with (
        whole_file(archive) as part,
        zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as zip_file,
        closing(_draw_all(cohort, seed, processes)) as contents,
    ):
        for film, content in zip(cohort, contents, strict=True):
            _add(zip_file, film.file, content)
        _add(zip_file, LABELS, _label_table(cohort))


def draw_file(film: Film, seed: int) -> bytes:
    """Draw one film of the cohort and encode it: the file's bytes."""
    patient_rng = _stream(seed, film.patient, _PATIENT)
    patient = sample_patient(patient_rng)
    film_rng = _stream(seed, film.index, _FILM)
    taking = sample_taking(film_rng)
    image = draw_radiograph(patient, taking, film.group, SEVERITY.sample(film_rng), film_rng)
    header = Header(
        patient_id=film.patient_name,
        sex=patient.sex,
        age=patient.age,
        view="AP" if film_rng.random() < 0.35 else "PA",
        pixel_spacing=10 * taking.field / taking.shape[1],
    )
    return encode(image, film.kind, header, patient_rng, film_rng)


def _draw_all(cohort: list[Film], seed: int, processes: int | None) -> Generator[bytes]:
    """The films' bytes in the cohort's order."""
    drawn = joblib.Parallel(n_jobs=processes or joblib.cpu_count(), return_as="generator")(
        joblib.delayed(draw_file)(film, seed) for film in cohort
    )
    try:
        with tqdm(total=len(cohort), desc="draw", unit="image", disable=None) as bar:
            for content in drawn:
                yield content
                bar.update()
    finally:
        # When the disk is full, nobody wants to know how many tasks joblib has had to cancel for that.
        with warnings.catch_warnings(action="ignore"):
            drawn.close()


def _label_table(cohort: list[Film]) -> bytes:
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(_COLUMNS)
    table.writerows((film.file, film.patient_name, film.label, film.group) for film in cohort)
    return text.getvalue().encode("utf-8")


def _add(zip_file: zipfile.ZipFile, name: str, content: bytes) -> None:
    """Add a member whose time, permissions and system are always the same."""
    member = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    member.create_system = 3
    member.external_attr = 0o100644 << 16
    zip_file.writestr(member, content)


def _stream(seed: int, index: int, stream: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence([seed, index, stream]))
