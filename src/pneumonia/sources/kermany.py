"""ChestXRay2017: 5,856 chest radiographs of children, normal or with bacterial or viral pneumonia.

Kermany, Zhang, Goldbaum 2018, doi 10.17632/rscbjbr9sj, CC BY 4.0; described in Cell 172, 1122-1131.

SHA256 is not on the page of the publisher. It stands, with the URL, in the download scripts and notes of
several projects that have nothing to do with each other, one of which compared it with the publisher's
interface; the numbers of images are checked besides, whatever the archive.

The same images go round in several layouts, and all are understood:

- Mendeley Data, version 2: chest_xray/train and chest_xray/test, with what macOS adds;
- Kaggle: 16 images of train are in chest_xray/val, and the whole tree is repeated in chest_xray/chest_xray;
- Mendeley Data, version 3: CellData/chest_xray beside CellData/OCT, with other file names.

Patients. In version 2 and at Kaggle the names are person12_bacteria_48.jpeg, person447_virus_921_1.jpeg,
IM-0115-0001.jpeg, NORMAL2-IM-0383-0001.jpeg and IM-0429-0001-0002.jpeg. The numbers of bacteria, virus, IM
and NORMAL2-IM were given independently of each other (808 person numbers of train are in bacteria and in
virus, each kind with its own ascending image numbers), so a patient is a kind with a number. Within a kind
the numbers of the official train and test sets are disjoint; the set is left out of the key on purpose, so
that a patient who is in both sets of some other version cannot pass for two. In version 3 the names are
BACTERIA-1008087-0001.jpeg, VIRUS-..., NORMAL-...; the long number alone is the patient.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath

from pneumonia.classes import Label
from pneumonia.errors import UserError
from pneumonia.params import Source
from pneumonia.sources.archive import Archive
from pneumonia.sources.downloading import download
from pneumonia.sources.given import keep, open_given
from pneumonia.sources.record import Record

NAME = "ChestXRay2017.zip"
URL = (
    "https://data.mendeley.com/public-files/datasets/rscbjbr9sj/files/"
    "f12eaf6d-6023-432f-acc9-80c9d7393433/file_downloaded"
)
SIZE = 1_235_512_464
SHA256 = "13efc055629733dbab07877f8b3c9f81097840dbcdaa326a8542322c2281ce36"

PUBLISHED = {
    ("train", "normal"): 1349,
    ("train", "pneumonia"): 3883,
    ("test", "normal"): 234,
    ("test", "pneumonia"): 390,
}
"""Images a set and class, 5,856 in all. Kaggle's val is part of train here."""

_IMAGE = re.compile(
    r"(?P<root>|.*/)(?P<set>train|val|test)/(?P<label>normal|pneumonia)/(?P<name>[^/]+)\.jpe?g", re.IGNORECASE
)
_PATIENTS: dict[Label, re.Pattern[str]] = {
    "normal": re.compile(r"(?P<patient>(NORMAL\d+-)?IM-\d+)(-\d+)+|NORMAL-(?P<number>\d+)-\d+"),
    "pneumonia": re.compile(
        r"(?P<patient>person\d+_(?P<kind>bacteria|virus))(_\d+)+|(?P<KIND>BACTERIA|VIRUS)-(?P<number>\d+)-\d+"
    ),
}
_GROUPS = {"bacteria": "bacterial", "virus": "viral"}


def fetch(params: Source, archive: Path, root: Path) -> None:
    """Make `archive` from the published download, or from the archive or folder at `params.path`.

    Args:
        params: of these `path` counts: None for the download; relative paths start at `root`.
        archive: the zip archive to make; it appears when it is complete.
        root: of the repository; unfinished downloads are kept in its .cache/downloads.

    Raises:
        UserError: there is nothing at the path, it is no folder and no zip archive, it does not hold the
            published numbers of images, the download failed, or the disk is full.
    """
    if params.path is None:
        download(URL, archive, SIZE, SHA256, root / ".cache" / "downloads", name=NAME)
        return
    given = open_given(params.path, root)
    records = _records(given.names(), given.same_content, given.path)
    keep(given, archive, [record.file for record in records])


def read_records(archive: Archive) -> list[Record]:
    """Return the 5,856 records, sorted by file; everything else in the archive is ignored.

    official_split is as published by the authors: train or test. The 16 images that Kaggle calls val are
    of train; too few to validate anything. group is normal, bacterial or viral.

    Raises:
        UserError: other numbers of images than published, a name that does not tell the patient, or two
            different images under one name.
    """
    return _records(archive.names(), archive.same_content, archive.path)


def _records(names: Iterable[str], same_content: Callable[[str, str], bool], where: Path) -> list[Record]:
    files = _once(names, same_content, where)
    records = sorted((_record(file, where) for file in files), key=lambda record: record.file)
    _check_counts(records, where)
    return records


def _once(names: Iterable[str], same_content: Callable[[str, str], bool], where: Path) -> list[str]:
    """Keep the images of the trees that have pneumonia in them (OCT has not), each image once."""
    matches = [match for match in map(_IMAGE.fullmatch, names) if match]
    roots = {match["root"] for match in matches if match["label"].lower() == "pneumonia"}
    copies: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for match in matches:
        if match["root"] in roots:
            key = (match["set"].lower(), match["label"].lower(), match["name"])
            copies[key].append(match[0])
    for files in copies.values():
        files.sort(key=lambda file: (len(PurePosixPath(file).parts), file))
        for other in files[1:]:
            if not same_content(files[0], other):
                raise UserError(
                    f"{where} holds two different images: {files[0]} and {other}; remove one tree."
                )
    return [files[0] for files in copies.values()]


def _record(file: str, where: Path) -> Record:
    path = PurePosixPath(file)
    label: Label = "normal" if path.parent.name.lower() == "normal" else "pneumonia"
    match = _PATIENTS[label].fullmatch(path.stem)
    if match is None:
        # A patient of its own would be a guess, and a wrong one puts a patient on both sides of a split.
        raise UserError(
            f"{where} holds {file}, whose name does not tell the patient; give it its published name again."
        )
    group = label if label == "normal" else _GROUPS[(match["kind"] or match["KIND"]).lower()]
    return Record(
        file=file,
        label=label,
        patient=match["patient"] or match["number"],
        official_split="test" if path.parent.parent.name.lower() == "test" else "train",
        group=group,
    )


def _check_counts(records: list[Record], where: Path) -> None:
    found: dict[tuple[str, str], int] = Counter(
        (record.official_split, record.label or "") for record in records
    )
    if found != PUBLISHED:
        raise UserError(
            f"{where} holds {len(records):,} images as train|val|test/NORMAL|PNEUMONIA/*.jpeg "
            f"({_in_words(found)}); ChestXRay2017 has {sum(PUBLISHED.values()):,} ({_in_words(PUBLISHED)}); "
            "fetch it again."
        )


def _in_words(numbers: dict[tuple[str, str], int]) -> str:
    words = []
    for part, title in (("train", "train and val"), ("test", "test")):
        normal, pneumonia = numbers.get((part, "normal"), 0), numbers.get((part, "pneumonia"), 0)
        words.append(f"{title}: {normal:,} normal and {pneumonia:,} pneumonia")
    return ", ".join(words)
