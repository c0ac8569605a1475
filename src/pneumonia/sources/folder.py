"""Your own images: a folder or a zip archive of DICOM, PNG and JPEG files, mixed as they come.

Labels come from a table or, where there is none, from the names of folders.

- A table: labels.csv, at the top of the folder or in its only folder, or the file at source.labels. Columns
  file and label, optionally patient, split and group; comma, semicolon or tab. `file` is the path from where
  the table is; for a table from source.labels, from the top. `label` is normal, negative or 0 | pneumonia,
  positive or 1. `split` is train, val, test or empty. Images that the table does not name, or names without
  a label or with two, are set aside. Names of columns may have large or small letters; other columns are
  named and not used, and one that looks like a missing patient or split is refused.
- Folders: an image belongs to the nearest folder above it that is called normal or negative | pneumonia or
  positive, and to the split whose name, train, val or test, the nearest such folder has. Images outside are
  set aside. Letters may be large or small everywhere.

Images that nothing labels are told from other files by their names: see `_is_image`.

Patients: the column; else, for DICOM, the header's Patient ID; else nobody can tell.
"""

import re
import sys
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable
from difflib import SequenceMatcher
from pathlib import Path, PurePosixPath
from typing import Literal

from pneumonia.classes import CLASSES, Label
from pneumonia.errors import UserError
from pneumonia.params import Source
from pneumonia.sources.archive import Archive, Folder
from pneumonia.sources.given import ADDED, keep, open_given, read_given
from pneumonia.sources.record import Record
from pneumonia.sources.tables import read_table

TABLE = "labels.csv"
ADDED_TABLE = f"{ADDED}/{TABLE}"

REQUIRED = ("file", "label")
OPTIONAL = ("patient", "split", "group")
LOOKALIKES = {
    "patient": frozenset({"pat", "patid", "patnr", "patno", "pid", "mrn", "subject", "subjectid"}),
    "split": frozenset({"set", "subset", "fold", "partition"}),
}
"""Other names of the columns without which patients leak or a test set is lost; letters only."""

WORDS: dict[str, Label] = {
    "normal": "normal",
    "negative": "normal",
    "0": "normal",
    "pneumonia": "pneumonia",
    "positive": "pneumonia",
    "1": "pneumonia",
}
"""Of the column label."""
FOLDERS = {word: label for word, label in WORDS.items() if not word.isdecimal()}
SPLITS: dict[str, Literal["train", "val", "test", ""]] = {
    "train": "train",
    "val": "val",
    "validation": "val",
    "test": "test",
    "": "",
}
ENDINGS = frozenset({".dcm", ".dicom", ".ima", ".png", ".jpg", ".jpeg"})
"""Of files that are set aside when nothing labels them; files with other endings are no images of yours."""
NO_IMAGES = frozenset(
    {"authors", "changelog", "copying", "dicomdir", "licence", "license", "lockfile", "makefile", "notice"}
    | {"readme", "version"}
)
"""Files that have no ending either, in small letters."""

Say = Callable[[str], None]
"""Takes a line for the person reading."""


def fetch(params: Source, archive: Path, root: Path) -> None:
    """Make `archive` from the archive or folder at `params.path` and the table at `params.labels`.

    Args:
        params: path and labels.
        archive: the zip archive to make; it appears when it is complete.
        root: of the repository; relative paths start there.

    Raises:
        UserError: there is no such file, no image has a label, the folders lack a class, or the table is
            wrong; the disk is full.
    """
    assert params.path is not None  # checked with params.yaml
    given = open_given(params.path, root)
    names = given.names()
    table = read_given("source.labels", params.labels, root) if params.labels else None
    if table is not None:
        records = _from_table(names, table, params.labels or "", None, _say)
        keep(given, archive, [record.file for record in records], {ADDED_TABLE: table})
        return
    records = _records(given, _say)
    keep(given, archive, {*(record.file for record in records), *_own_table(names)})


def read_records(archive: Archive) -> list[Record]:
    """Return a record for every image, sorted by file; those without one label have a fault.

    Raises:
        UserError: no image has a label, the folders lack a class, or the table is wrong.
    """
    # What is to be said of the table was said when it was fetched.
    return _records(archive, lambda _: None)


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def _records(given: Archive | Folder, say: Say) -> list[Record]:
    names = given.names()
    if ADDED_TABLE in names:
        rest = [name for name in names if name != ADDED_TABLE]
        return _from_table(rest, given.read(ADDED_TABLE), "source.labels", None, say)
    for name in _own_table(names):
        rest = [other for other in names if other != name]
        return _from_table(rest, given.read(name), name, PurePosixPath(name).parent, say)
    return _from_folders(names, given.path)


def _own_table(names: Iterable[str]) -> list[str]:
    """The table that comes with the images: at the top, or in the only folder at the top."""
    names = list(names)
    tops = {PurePosixPath(name).parts[0] for name in names}
    places = [TABLE, *(f"{top}/{TABLE}" for top in tops if len(tops) == 1)]
    return [place for place in places if place in names][:1]


def _from_folders(names: list[str], where: Path) -> list[Record]:
    records = []
    for name in names:
        above = [part.lower() for part in reversed(PurePosixPath(name).parts[:-1])]
        label = next((FOLDERS[part] for part in above if part in FOLDERS), None)
        split = next((SPLITS[part] for part in above if part in SPLITS), SPLITS[""])
        if label:
            records.append(Record(name, label, "", split))
        elif _is_image(name):
            records.append(_faulty(name, "label_missing"))
    found = {record.label for record in records}
    lacking = [label for label in CLASSES if label not in found]
    if lacking:
        raise UserError(
            f"{where} holds {len(records):,} images and none in a folder called {' or '.join(lacking)}"
            f"{_folders_without_class(records)}; put the images into folders called normal and pneumonia, or "
            f"add {TABLE} with the columns file and label. Training needs both classes."
        )
    return records


def _folders_without_class(records: list[Record]) -> str:
    """The topmost folders below which no image has a label, with their numbers of images."""
    above = {PurePosixPath()}
    above.update(
        folder for record in records if record.label for folder in PurePosixPath(record.file).parents
    )
    counts: Counter[str] = Counter()
    for record in records:
        folders = reversed(PurePosixPath(record.file).parents)
        outside = next((folder for folder in folders if folder not in above), None)
        if outside:
            counts[f"{outside}/"] += 1
    shown = [f"{folder} ({count:,})" for folder, count in counts.most_common(5)]
    more = ["..."] * (len(counts) > len(shown))
    return f" (without a class: {', '.join(shown + more)})" if shown else ""


def _is_image(name: str) -> bool:
    """Whether a file that nothing labels is one that a label should name.

    Archives of hospitals write DICOM as IM000400 or 1.2.840.113619.2.55, so that a file without an ending is
    an image, too, unless it is one of NO_IMAGES or hidden.
    """
    path = PurePosixPath(name)
    ending = path.suffix.lower()
    if ending and not ending[1:].isdecimal():
        return ending in ENDINGS
    return path.name.lower() not in NO_IMAGES and not any(part.startswith(".") for part in path.parts)


def _from_table(
    names: list[str], content: bytes, table: str, beside: PurePosixPath | None, say: Say
) -> list[Record]:
    """The records of a table that lies in the folder `beside`, or of one from elsewhere."""
    lines = read_table(content, table, REQUIRED, OPTIONAL)
    unused = _unused_columns(lines[0] if lines else (), table)
    if unused:
        known = ", ".join(REQUIRED + OPTIONAL)
        say(f"{table}: columns not used: {', '.join(unused)} (known: {known}).")
    top = beside or PurePosixPath()
    given = [(str(top / row["file"].replace("\\", "/")), row) for row in lines]
    there = set(names)
    meant = _meant({path for path, _ in given}, there, table)
    rows: dict[str, list[dict[str, str]]] = defaultdict(list)
    for path, row in given:
        rows[meant.get(path, path)].append(row)
    missing = [file for file in rows if file not in there]
    if missing:
        raise UserError(
            f"{table} names {len(missing):,} of {len(rows):,} files that are not there, for example "
            f"{missing[0]}; {_how_to_write(missing[0], names, table, beside)}."
        )
    records = [_from_rows(file, rows[file], table) for file in rows]
    records += [_faulty(name, "label_missing") for name in names if name not in rows and _is_image(name)]
    if all(record.fault for record in records):
        raise UserError(f"{table} gives no label to any image; fill its column label. Training needs labels.")
    return sorted(records, key=lambda record: record.file)


def _unused_columns(columns: Collection[str], table: str) -> list[str]:
    """The columns that are not read.

    Raises:
        UserError: one may be meant for the patients or the split, which no column gives.
    """
    unused = [column for column in columns if column not in REQUIRED + OPTIONAL]
    for wanted in LOOKALIKES:
        alike = [column for column in unused if _resembles(column, wanted)]
        if alike and wanted not in columns:
            raise UserError(
                f"{table} has no column {wanted}, but {', '.join(alike)}, which would not be used; rename it "
                f"to {wanted} if it is meant for that, otherwise remove it or give it a name less like it."
            )
    return [column or "the first, which has no name" for column in unused]


def _resembles(column: str, wanted: str) -> bool:
    letters = re.sub(r"[\W\d_]", "", column.lower())
    return (
        wanted in letters
        or letters in LOOKALIKES[wanted]
        or SequenceMatcher(None, letters, wanted).ratio() >= 0.8
    )


def _how_to_write(path: str, names: list[str], table: str, beside: PurePosixPath | None) -> str:
    """How the paths of a table are to be written, with one that there is, of the same name if possible."""
    images = [name for name in names if _is_image(name)]
    alike = [name for name in images if PurePosixPath(name).name == PurePosixPath(path).name]
    place = "from the top of source.path on" if beside is None else f"below the folder of {table}"
    example = [str(PurePosixPath(name).relative_to(beside or ".")) for name in [*alike, *images][:1]]
    return f"write the paths as they are {place}{''.join(f', for example {name}' for name in example)}"


def _meant(paths: set[str], there: set[str], table: str) -> dict[str, str]:
    """The files that a table means with paths that no file has to the letter.

    Raises:
        UserError: a path may mean several files.
    """
    meant = _alike(paths - there, there, _whole, table)
    # A file that the table names is no other's.
    others = there - paths - set(meant.values())
    return meant | _alike(paths - there - meant.keys(), others, _decoded, table)


def _alike(
    paths: Iterable[str], files: Iterable[str], spelling: Callable[[str], str], table: str
) -> dict[str, str]:
    """Of paths the files that are spelt like them."""
    spelt: dict[str, list[str]] = defaultdict(list)
    for file in sorted(files):
        spelt[spelling(file)].append(file)
    found = {path: spelt[spelling(path)] for path in sorted(paths) if spelling(path) in spelt}
    for path, candidates in found.items():
        if len(candidates) > 1:
            raise UserError(
                f"{table} names {path}, which may be any of {len(candidates)} files whose names differ in "
                f"the encoding of letters only: {', '.join(map(ascii, candidates))}; rename all but one."
            )
    return {path: file for path, (file,) in found.items()}


def _whole(path: str) -> str:
    """A path with whole letters: macOS writes those of file names in pieces (NFD), tables have them whole."""
    return unicodedata.normalize("NFC", path)


def _decoded(path: str) -> str:
    """A path with whole letters, that were UTF-8 in a zip archive without the flag that says so.

    Some tools of macOS make such archives.
    """
    return _whole("/".join(_as_utf8(part) for part in path.split("/")))


def _as_utf8(name: str) -> str:
    try:
        return name.encode("cp437").decode("utf-8")  # zipfile takes names without the flag for cp437
    except UnicodeError:
        return name


def _from_rows(file: str, rows: list[dict[str, str]], table: str) -> Record:
    """One image of the table; several rows must agree."""
    labels = {_label(row["label"], file, table) for row in rows if row["label"]}
    if len(labels) != 1:
        return _faulty(file, "label_conflicting" if labels else "label_missing")
    split = _only({_split(row.get("split", ""), file, table) for row in rows}, "splits", file, table)
    return Record(
        file=file,
        label=labels.pop(),
        patient=_only({row.get("patient", "") for row in rows}, "patients", file, table),
        official_split=SPLITS[split],
        group=_only({row.get("group", "") for row in rows}, "groups", file, table),
    )


def _faulty(file: str, fault: Literal["label_missing", "label_conflicting"]) -> Record:
    return Record(file, None, file, fault=fault)


def _label(word: str, file: str, table: str) -> Label:
    if word.lower() not in WORDS:
        raise UserError(
            f"{table} gives {file} the label {word!r}; it must be one of {', '.join(WORDS)}, or empty."
        )
    return WORDS[word.lower()]


def _split(word: str, file: str, table: str) -> str:
    if word.lower() not in SPLITS:
        raise UserError(f"{table} gives {file} the split {word!r}; it must be train, val, test or empty.")
    return word.lower()


def _only(values: set[str], what: str, file: str, table: str) -> str:
    if len(values) > 1:
        raise UserError(f"{table} gives {file} several {what}; leave one row of it.")
    return values.pop()
