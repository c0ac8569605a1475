import re
from pathlib import Path

import pytest

from pneumonia.errors import UserError
from pneumonia.params import Source
from pneumonia.sources import folder
from pneumonia.sources.archive import Archive
from pneumonia.sources.record import Record
from tests.unit.source_examples import PARAMS, make_folder, make_zip, source_params

ROOT = Path(__file__).parents[2]
IMAGES = {"a/1.dcm": b"1", "a/2.png": b"2", "b/3.JPG": b"3", "b/4": b"4", "readme.txt": b"5"}


def by_file(records: list[Record]) -> dict[str, tuple[str | None, str]]:
    assert [record.file for record in records] == sorted(record.file for record in records)
    return {record.file: (record.label, record.fault or record.official_split) for record in records}


def test_class_folders_in_any_letters_at_any_depth(tmp_path: Path) -> None:
    names = [
        "Normal/a.png",
        "PNEUMONIA/patient 3/scan/b",
        "negative/c.dcm",
        "site/positive/d.dcm",
        "train/pneumonia/e.dcm",
        "normal/f/Test/g.dcm",
        "pneumonia/normal/h.png",
        "elsewhere/i.png",
        "elsewhere/notes.txt",
        "j.DCM",
    ]
    records = folder.read_records(make_zip(tmp_path / "a.zip", dict.fromkeys(names, b"")))
    assert by_file(records) == {
        "Normal/a.png": ("normal", ""),
        "PNEUMONIA/patient 3/scan/b": ("pneumonia", ""),
        "negative/c.dcm": ("normal", ""),
        "site/positive/d.dcm": ("pneumonia", ""),
        "train/pneumonia/e.dcm": ("pneumonia", "train"),
        "normal/f/Test/g.dcm": ("normal", "test"),
        "pneumonia/normal/h.png": ("normal", ""),
        "elsewhere/i.png": (None, "label_missing"),
        "j.DCM": (None, "label_missing"),
    }
    # The patient is to be asked of the header.
    assert {record.patient for record in records if record.label} == {""}


TABLE = """file;label;patient;split;group
a/1.dcm;Pneumonia;p1;Train;viral
a\\2.png;0;p2;;
./b/3.JPG;positive;;validation;bacterial
"""


@pytest.mark.parametrize("top", ["", "mine/"])
def test_a_table_beside_the_images(tmp_path: Path, top: str) -> None:
    contents = {top + name: content for name, content in IMAGES.items()} | {
        f"{top}labels.csv": TABLE.encode()
    }
    records = folder.read_records(make_zip(tmp_path / "a.zip", contents))
    assert records == [
        Record(f"{top}a/1.dcm", "pneumonia", "p1", "train", "viral"),
        Record(f"{top}a/2.png", "normal", "p2"),
        Record(f"{top}b/3.JPG", "pneumonia", "", "val", "bacterial"),
        Record(f"{top}b/4", None, f"{top}b/4", fault="label_missing"),
    ]


@pytest.mark.parametrize(
    "header",
    [
        "File;Label;Patient;Split;Group",
        "FILE;LABEL;PATIENT;SPLIT;GROUP",
        "file; label ;\u00a0patient; Split;group ",
    ],
)
def test_every_column_may_be_written_in_any_letters_with_blanks_around(tmp_path: Path, header: str) -> None:
    table = f"{header}\na/1.dcm;1;p1;test;viral\n"
    archive = make_zip(tmp_path / "a.zip", {"a/1.dcm": b"", "labels.csv": table.encode()})
    assert folder.read_records(archive) == [Record("a/1.dcm", "pneumonia", "p1", "test", "viral")]


@pytest.mark.parametrize(
    ("header", "unused"),
    [
        ("file,label,comment,Age group", "comment, Age group"),
        ("file,label,pathology,dataset", "pathology, dataset"),
        (",file,label,comment", "the first, which has no name, comment"),
        ("file,label,patient,Patient_ID", "Patient_ID"),
        ("file,label,split,fold", "fold"),
    ],
)
def test_columns_that_are_not_used_are_named_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], header: str, unused: str
) -> None:
    cells = {"file": "a/1.dcm", "label": "1", "split": "test"}
    row = ",".join(cells.get(column, "7") for column in header.split(","))
    make_folder(tmp_path / "given", {"a/1.dcm": b"", "labels.csv": f"{header}\n{row}".encode()})
    folder.fetch(source_params("folder", path="given"), tmp_path / "images.zip", tmp_path)
    assert len(folder.read_records(Archive(tmp_path / "images.zip"))) == 1
    assert capsys.readouterr().err == (
        f"labels.csv: columns not used: {unused} (known: file, label, patient, split, group).\n"
    )


def test_nothing_is_said_of_columns_that_are_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_folder(tmp_path / "given", IMAGES | {"labels.csv": TABLE.encode()})
    folder.fetch(source_params("folder", path="given"), tmp_path / "images.zip", tmp_path)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("column", "wanted"),
    [
        *(
            (name, "patient")
            for name in ("patient_id", "PatientID", "Patient ID", "patientid", "Patienten-Nr.")
        ),
        *((name, "patient") for name in ("pat_nr", "Pat", "MRN", "subject id", "pateint", "study patient")),
        *((name, "split") for name in ("split set", "Subset", "fold", "set", "dataset_split", "spilt")),
    ],
)
def test_a_column_that_looks_like_missing_patients_or_a_missing_split_is_refused(
    tmp_path: Path, column: str, wanted: str
) -> None:
    table = f"file,label,{column}\na/1.dcm,1,7\n"
    archive = make_zip(tmp_path / "a.zip", {"a/1.dcm": b"", "labels.csv": table.encode()})
    with pytest.raises(UserError) as caught:
        folder.read_records(archive)
    assert str(caught.value) == (
        f"labels.csv has no column {wanted}, but {column}, which would not be used; rename it to {wanted} if "
        "it is meant for that, otherwise remove it or give it a name less like it."
    )


FILMS = ["IM000400", "1.2.840.113619.2.55", "DISC/IMG.0007", "x.IMA"]
NO_FILMS = ["DICOMDIR", "License", "README", "makefile", "sub/VERSION", ".git/HEAD", ".hidden", "notes.txt"]


@pytest.mark.parametrize("table", [b"file,label\nnormal/1.dcm,0\npneumonia/2.dcm,1\n", None])
def test_films_without_an_ending_leave_a_row_and_what_is_no_film_leaves_none(
    tmp_path: Path, table: bytes | None
) -> None:
    names = ["normal/1.dcm", "pneumonia/2.dcm", *(f"rest/{name}" for name in FILMS + NO_FILMS)]
    contents = dict.fromkeys(names, b"") | ({"labels.csv": table} if table else {})
    records = folder.read_records(make_zip(tmp_path / "a.zip", contents))
    unlabelled = {record.file for record in records if record.fault == "label_missing"}
    assert unlabelled == {f"rest/{name}" for name in FILMS}
    assert len(records) == 2 + len(FILMS)


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (
            ["normal/IM1", "normal/IM2", "Pneumonie/p1/IM3", "Pneumonie/p2/IM4"],
            "holds 4 images and none in a folder called pneumonia (without a class: Pneumonie/ (2)); put",
        ),
        (
            ["mine/train/pneumonia/1.png", "mine/train/Normalbefund/2.png", "mine/3.png"],
            "holds 3 images and none in a folder called normal (without a class: mine/train/Normalbefund/ (1",
        ),
        (["pneumonia/1.png", "2.png"], "holds 2 images and none in a folder called normal; put"),
        (
            [f"{letter}/{number}" for letter in "abcdef" for number in range(1 + (letter == "f"))],
            "holds 7 images and none in a folder called normal or pneumonia (without a class: f/ (2), "
            "a/ (1), b/ (1), c/ (1), d/ (1), ...);",
        ),
    ],
)
def test_folders_that_name_no_class_are_shown_where_a_class_has_no_image(
    tmp_path: Path, names: list[str], sentence: str
) -> None:
    archive = make_zip(tmp_path / "a.zip", dict.fromkeys(names, b""))
    with pytest.raises(UserError) as caught:
        folder.read_records(archive)
    assert str(caught.value).startswith(f"{archive.path} {sentence}")


@pytest.mark.parametrize("top", ["", "mine/"])
@pytest.mark.parametrize(
    ("path", "example"),
    [("elsewhere/2.png", "a/2.png"), ("9.png", "a/1.dcm")],
)
def test_a_path_that_is_not_there_is_answered_with_one_that_is(
    tmp_path: Path, top: str, path: str, example: str
) -> None:
    make_folder(tmp_path / "given", {top + name: content for name, content in IMAGES.items()})
    table = f"file,label\n{path},1"
    (tmp_path / "mine.csv").write_text(table)
    params = source_params("folder", path="given", labels="mine.csv")
    with pytest.raises(UserError) as caught:
        folder.fetch(params, tmp_path / "images.zip", tmp_path)
    assert str(caught.value) == (
        f"mine.csv names 1 of 1 files that are not there, for example {path}; write the paths as they are "
        f"from the top of source.path on, for example {top}{example}."
    )
    (tmp_path / "given" / top / "labels.csv").write_text(table)
    with pytest.raises(UserError) as caught:
        folder.fetch(source_params("folder", path="given"), tmp_path / "images.zip", tmp_path)
    assert str(caught.value) == (
        f"{top}labels.csv names 1 of 1 files that are not there, for example {top}{path}; write the paths as "
        f"they are below the folder of {top}labels.csv, for example {example}."
    )


def test_no_path_is_shown_where_there_is_no_image(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", {"labels.csv": b"file,label\n1.png,1", "notes.txt": b""})
    with pytest.raises(UserError, match=r"write the paths as they are below the folder of labels.csv\.$"):
        folder.read_records(archive)


def test_letters_in_pieces_are_the_same_letters(tmp_path: Path) -> None:
    contents = {"Mu\u0308ller.png": b"", "labels.csv": "file,label\nM\u00fcller.png,1".encode()}
    (record,) = folder.read_records(make_zip(tmp_path / "a.zip", contents))
    assert (record.file, record.label) == ("Mu\u0308ller.png", "pneumonia")


@pytest.mark.parametrize("top", ["", "M\u00fcnchen/"])
@pytest.mark.parametrize("name", ["M\u00fcller.png", "Mu\u0308ller.png"])
def test_letters_in_utf8_are_the_same_letters_where_the_zip_does_not_say_so(
    tmp_path: Path, top: str, name: str
) -> None:
    contents = {top + name: b"", f"{top}labels.csv": "file,label\nM\u00fcller.png,1".encode()}
    archive = make_zip(tmp_path / "a.zip", contents)
    content = bytearray(archive.path.read_bytes())
    for member in re.finditer(b"PK\x01\x02", bytes(content)):
        content[member.start() + 9] &= ~0x08  # general purpose bit 11, APPNOTE 4.4.4
    archive.path.write_bytes(content)
    (record,) = folder.read_records(archive)
    assert record.file.encode("cp437").decode() == top + name != record.file
    assert record.label == "pneumonia"


IN_PIECES, WHOLE, MISREAD = "Mu\u0308ller.png", "M\u00fcller.png", "M\u251c\u255dller.png"
MISREAD_IN_PIECES = "Mu\u2560\u00ealler.png"


@pytest.mark.parametrize(
    ("files", "rows", "labels"),
    [
        ([WHOLE, IN_PIECES, MISREAD], {WHOLE: 1}, {WHOLE: "pneumonia", IN_PIECES: None, MISREAD: None}),
        (
            [WHOLE, IN_PIECES, MISREAD],
            {WHOLE: 1, IN_PIECES: 0, MISREAD: 1},
            {WHOLE: "pneumonia", IN_PIECES: "normal", MISREAD: "pneumonia"},
        ),
        ([IN_PIECES, MISREAD], {WHOLE: 1, MISREAD: 0}, {IN_PIECES: "pneumonia", MISREAD: "normal"}),
        ([IN_PIECES, MISREAD], {WHOLE: 1}, {IN_PIECES: "pneumonia", MISREAD: None}),
        (
            [MISREAD, MISREAD_IN_PIECES],
            {WHOLE: 1, MISREAD: 0},
            {MISREAD: "normal", MISREAD_IN_PIECES: "pneumonia"},
        ),
        ([IN_PIECES], {WHOLE: 1, IN_PIECES: 1}, {IN_PIECES: "pneumonia"}),
        ([WHOLE], {MISREAD: 1}, {WHOLE: "pneumonia"}),
    ],
)
def test_names_alike_but_for_their_encoding_are_the_files_that_the_table_has_to_the_letter(
    tmp_path: Path, files: list[str], rows: dict[str, int], labels: dict[str, str | None]
) -> None:
    table = "\n".join(["file,label", *(f"{file},{label}" for file, label in rows.items())])
    contents = dict.fromkeys(files, b"") | {"labels.csv": table.encode()}
    records = folder.read_records(make_zip(tmp_path / "a.zip", contents))
    assert {record.file: record.label for record in records} == labels


@pytest.mark.parametrize(
    ("files", "rows", "sentence"),
    [
        (
            [MISREAD, MISREAD_IN_PIECES],
            [WHOLE],
            f"labels.csv names {WHOLE}, which may be any of 2 files whose names differ in the encoding of "
            r"letters only: 'Mu\u2560\xealler.png', 'M\u251c\u255dller.png'; rename all but one.",
        ),
        (
            [MISREAD],
            [WHOLE, MISREAD],
            f"labels.csv names 1 of 2 files that are not there, for example {WHOLE}",
        ),
        (
            [IN_PIECES],
            [WHOLE, MISREAD],
            f"labels.csv names 1 of 2 files that are not there, for example {MISREAD}",
        ),
    ],
)
def test_two_files_are_never_taken_for_one(
    tmp_path: Path, files: list[str], rows: list[str], sentence: str
) -> None:
    table = "\n".join(["file,label", *(f"{file},1" for file in rows)])
    archive = make_zip(tmp_path / "a.zip", dict.fromkeys(files, b"") | {"labels.csv": table.encode()})
    with pytest.raises(UserError) as caught:
        folder.read_records(archive)
    assert str(caught.value).startswith(sentence)


def test_what_the_table_leaves_open_is_set_aside(tmp_path: Path) -> None:
    table = "file,label\na/1.dcm,0\na/1.dcm,1\na/2.png,\nb/4,1\nb/4,pneumonia\n"
    records = folder.read_records(make_zip(tmp_path / "a.zip", IMAGES | {"labels.csv": table.encode()}))
    assert by_file(records) == {
        "a/1.dcm": (None, "label_conflicting"),
        "a/2.png": (None, "label_missing"),
        "b/3.JPG": (None, "label_missing"),
        "b/4": ("pneumonia", ""),
    }


@pytest.mark.parametrize("make", [make_zip, make_folder])
def test_a_table_from_elsewhere_goes_before_any_other_and_travels_in_the_archive(
    tmp_path: Path, make
) -> None:
    path = tmp_path / ("given.zip" if make is make_zip else "given")
    make(path, IMAGES | {"labels.csv": b"file,label\na/1.dcm,1\n"})
    (tmp_path / "mine.csv").write_text("file,label\na/1.dcm,0\nb/4,1\n")
    params = source_params("folder", path=str(path), labels="mine.csv")
    folder.fetch(params, tmp_path / "images.zip", tmp_path)
    (tmp_path / "mine.csv").unlink()
    assert by_file(folder.read_records(Archive(tmp_path / "images.zip"))) == {
        "a/1.dcm": ("normal", ""),
        "a/2.png": (None, "label_missing"),
        "b/3.JPG": (None, "label_missing"),
        "b/4": ("pneumonia", ""),
    }


@pytest.mark.parametrize("table", [b"file,label\na/1.dcm,1\na/2.png,0\n", None])
def test_a_folder_and_its_archive_give_the_same(tmp_path: Path, table: bytes | None) -> None:
    contents = {**IMAGES, "normal/5.png": b"", "pneumonia/6.png": b""}
    if table:
        contents["labels.csv"] = table
    make_folder(tmp_path / "given", contents)
    folder.fetch(source_params("folder", path="given"), tmp_path / "images.zip", tmp_path)
    from_folder = folder.read_records(Archive(tmp_path / "images.zip"))
    assert from_folder == folder.read_records(make_zip(tmp_path / "a.zip", contents))
    assert "readme.txt" not in Archive(tmp_path / "images.zip").names()


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        (
            "file,label\na/9.dcm,1\na/1.dcm,1",
            "labels.csv names 1 of 2 files that are not there, for example a/9",
        ),
        (
            "file,label\na/1.dcm,covid",
            "labels.csv gives a/1.dcm the label 'covid'; it must be one of normal, ne",
        ),
        ("file,label,split\na/1.dcm,1,fold3", "labels.csv gives a/1.dcm the split 'fold3'; it must be train"),
        ("file,label,patient\na/1.dcm,1,p\na/1.dcm,1,q", "labels.csv gives a/1.dcm several patients; leave"),
        ("file,label\na/1.dcm,", "labels.csv gives no label to any image; fill its column label"),
        ("file\na/1.dcm", "labels.csv lacks the column label"),
    ],
)
def test_a_table_that_is_wrong(tmp_path: Path, table: str, sentence: str) -> None:
    archive = make_zip(tmp_path / "a.zip", IMAGES | {"labels.csv": table.encode()})
    with pytest.raises(UserError) as caught:
        folder.read_records(archive)
    assert str(caught.value).startswith(sentence)


def test_without_any_label_nothing_can_be_trained(tmp_path: Path) -> None:
    make_folder(tmp_path / "given", IMAGES)
    with pytest.raises(
        UserError,
        match=r"given holds 4 images and none in a folder called normal or pneumonia .* Training needs both",
    ):
        folder.fetch(source_params("folder", path="given"), tmp_path / "out" / "images.zip", tmp_path)
    assert not (tmp_path / "out").exists()


def test_a_missing_table_is_said(tmp_path: Path) -> None:
    make_folder(tmp_path / "given", IMAGES)
    params = source_params("folder", path="given", labels="no.csv")
    with pytest.raises(UserError, match=r"source.labels is 'no.csv', and there is no file"):
        folder.fetch(params, tmp_path / "images.zip", tmp_path)


def test_a_folder_must_be_named() -> None:
    with pytest.raises(ValueError, match="path is null; with the name folder it must say where your images"):
        Source.model_validate(PARAMS.source.model_dump() | {"name": "folder"})


def test_the_table_in_the_readme_is_read(tmp_path: Path) -> None:
    (table,) = re.findall(r"```csv\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    names = [line.partition(",")[0] for line in table.splitlines()[1:]]
    contents = dict.fromkeys(names, b"") | {"labels.csv": table.encode()}
    assert folder.read_records(make_zip(tmp_path / "a.zip", contents)) == [
        Record("clinic/0001.png", "pneumonia", "P18", "test"),
        Record("ward/0001.dcm", "normal", "P17"),
        Record("ward/0002.dcm", "pneumonia", "P17"),
    ]
