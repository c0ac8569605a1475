import json
import os
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from pneumonia.errors import UserError
from pneumonia.sources import rsna
from pneumonia.sources.archive import Archive
from pneumonia.sources.record import Box
from tests.unit.source_examples import make_folder, make_zip, source_params

LABELS = """patientId,x,y,width,height,Target
b-1,,,,,0
a-2,264.0,152.0,213.0,379.0,1
a-2,562.0,152.0,256.0,453.0,1
c-3,,,,,0
d-4,10.5,20,30,40,1
"""
CLASSES = """patientId,class
b-1,Normal
a-2,Lung Opacity
a-2,Lung Opacity
c-3,No Lung Opacity / Not Normal
d-4,Lung Opacity
"""
MAPPING = [
    {"subset_img_id": "b-1", "img_id": "00000007_000.png", "SOPInstanceUID": "1.2"},
    {"subset_img_id": "a-2", "img_id": "00000007_013.png"},
    {"subset_img_id": "c-3", "img_id": "00000008_000.png"},
    {"subset_img_id": "d-4", "img_id": "00000009_001.png"},
    {"subset_img_id": "not labelled", "img_id": "00000009_002.png"},
]


def contents(labels: str = LABELS, classes: str = CLASSES, top: str = "") -> dict[str, bytes]:
    images = {f"{top}stage_2_train_images/{name}.dcm": name.encode() for name in ("a-2", "b-1", "c-3", "d-4")}
    return {
        **images,
        f"{top}stage_2_train_labels.csv": labels.encode(),
        f"{top}stage_2_detailed_class_info.csv": classes.encode(),
        f"{top}stage_2_test_images/e-5.dcm": b"no label was published",
        f"{top}stage_2_sample_submission.csv": b"",
    }


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rsna, "PUBLISHED", {"pneumonia": 2, "normal": 2})
    monkeypatch.setattr(rsna, "PUBLISHED_TRAIN", 3)


@pytest.mark.parametrize("top", ["", "rsna/data/"])
def test_rows_are_gathered_by_image(tmp_path: Path, top: str) -> None:
    records = rsna.read_records(make_zip(tmp_path / "a.zip", contents(top=top)))
    assert [record.file for record in records] == [
        f"{top}stage_2_train_images/{name}.dcm" for name in ("a-2", "b-1", "c-3", "d-4")
    ]
    assert [record.label for record in records] == ["pneumonia", "normal", "normal", "pneumonia"]
    assert [record.group for record in records] == ["lung opacity", "normal", "not normal", "lung opacity"]
    assert records[0].boxes == (Box(264, 152, 213, 379), Box(562, 152, 256, 453))
    assert records[1].boxes == ()
    assert records[3].boxes == (Box(10.5, 20, 30, 40),)


def test_the_published_split_goes_by_the_order_of_the_label_table(tmp_path: Path) -> None:
    records = rsna.read_records(make_zip(tmp_path / "a.zip", contents()))
    assert [record.official_split for record in records] == ["train", "train", "train", "test"]
    lines = LABELS.splitlines()
    turned = "\n".join([lines[0], *reversed(lines[1:])])
    records = rsna.read_records(make_zip(tmp_path / "b.zip", contents(labels=turned)))
    assert {record.file[-7:-4]: record.official_split for record in records} == {
        "d-4": "train",
        "c-3": "train",
        "a-2": "train",
        "b-1": "test",
    }


def test_without_the_mapping_no_patient_is_known(tmp_path: Path) -> None:
    records = rsna.read_records(make_zip(tmp_path / "a.zip", contents()))
    assert all(record.patient == record.file for record in records)


def test_the_mapping_tells_the_patients_and_travels_in_the_archive(tmp_path: Path) -> None:
    make_zip(tmp_path / "given.zip", contents())
    (tmp_path / "mapping.json").write_text(json.dumps(MAPPING))
    params = source_params("rsna", path="given.zip", patients="mapping.json")
    for name in ("one.zip", "other.zip"):
        rsna.fetch(params, tmp_path / "out" / name, tmp_path)
    assert (tmp_path / "out/one.zip").read_bytes() == (tmp_path / "out/other.zip").read_bytes()
    (tmp_path / "mapping.json").unlink()
    records = rsna.read_records(Archive(tmp_path / "out/one.zip"))
    assert [record.patient for record in records] == ["00000007", "00000007", "00000008", "00000009"]


def test_a_mapping_that_leaves_images_out_is_refused(tmp_path: Path) -> None:
    make_zip(tmp_path / "given.zip", contents())
    (tmp_path / "mapping.json").write_text(json.dumps(MAPPING[1:]))
    params = source_params("rsna", path="given.zip", patients="mapping.json")
    with pytest.raises(UserError, match=r"source.patients leaves out 1 of the images, for example b-1"):
        rsna.fetch(params, tmp_path / "out" / "images.zip", tmp_path)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("mapping", ["[1]", "{}x", '[{"img_id": "a"}]', "3", "[" * 100_000])
def test_another_file_as_mapping_is_refused(tmp_path: Path, mapping: str) -> None:
    make_zip(tmp_path / "given.zip", contents())
    (tmp_path / "mapping.json").write_text(mapping)
    params = source_params("rsna", path="given.zip", patients="mapping.json")
    with pytest.raises(UserError, match=r"source.patients is not RSNA's pneumonia-challenge"):
        rsna.fetch(params, tmp_path / "images.zip", tmp_path)


def test_a_folder_gives_the_images_and_tables_alone(tmp_path: Path) -> None:
    make_folder(tmp_path / "given", contents())
    rsna.fetch(source_params("rsna", path="given"), tmp_path / "images.zip", tmp_path)
    archive = Archive(tmp_path / "images.zip")
    assert archive.names() == [
        "stage_2_detailed_class_info.csv",
        *(f"stage_2_train_images/{name}.dcm" for name in ("a-2", "b-1", "c-3", "d-4")),
        "stage_2_train_labels.csv",
    ]
    assert len(rsna.read_records(archive)) == 4


def test_faults_of_labels(tmp_path: Path) -> None:
    labels = LABELS.replace("d-4,10.5,20,30,40,1", "d-4,10.5,20,30,40,1\nd-4,,,,,0").replace("b-1", "x-1")
    classes = CLASSES.replace("c-3,No Lung Opacity / Not Normal", "c-3,Lung Opacity")
    records = rsna.read_records(make_zip(tmp_path / "a.zip", contents(labels, classes)))
    assert Counter(record.fault for record in records) == {
        "": 1,  # a-2
        "label_missing": 1,  # b-1
        "label_conflicting": 2,  # c-3: 0, and lung opacity; d-4: 0 and 1
    }
    assert all((record.label is None) == bool(record.fault) for record in records)


def test_a_part_is_refused_unless_asked_for(tmp_path: Path) -> None:
    part = contents()
    del part["stage_2_train_images/a-2.dcm"]
    make_zip(tmp_path / "given.zip", part)
    with pytest.raises(UserError) as caught:
        rsna.fetch(source_params("rsna", path="given.zip"), tmp_path / "out" / "images.zip", tmp_path)
    assert "holds 3 labelled images, 1 positive and 2 negative; RSNA has 4, 2 and 2;" in str(caught.value)
    assert not (tmp_path / "out").exists()
    rsna.fetch(source_params("rsna", path="given.zip", complete=False), tmp_path / "images.zip", tmp_path)
    assert len(rsna.read_records(Archive(tmp_path / "images.zip"))) == 3


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"stage_2_train_labels.csv": None}, "holds no stage_2_train_labels.csv; give rsna-pneumonia-"),
        ({"stage_2_detailed_class_info.csv": None}, "holds no stage_2_detailed_class_info.csv; give"),
        (
            {"stage_2_train_labels.csv": b"patientId,x,y,width,height\n"},
            "stage_2_train_labels.csv lacks the column Target; its first line has patientId, x, y,",
        ),
        ({"stage_2_detailed_class_info.csv": b"patientId\n"}, "detailed_class_info.csv lacks the column cla"),
        ({"stage_2_detailed_class_info.csv": b"patientId,class\na-2,Flu"}, "has the class 'Flu'; it must"),
        (
            {"stage_2_train_labels.csv": LABELS.replace("213.0", "").encode()},
            "a-2 the Target 1 without a box",
        ),
        ({"stage_2_train_labels.csv": LABELS.replace("213.0", "nan").encode()}, "without a box of numbers"),
        ({"stage_2_train_labels.csv": LABELS.replace("379.0,1", "379.0,yes").encode()}, "Target 'yes'; it"),
        ({"more/stage_2_train_images/a-2.dcm": b""}, "remove one of the trees"),
    ],
)
def test_tables_that_are_wrong_get_a_sentence(
    tmp_path: Path, change: dict[str, bytes | None], sentence: str
) -> None:
    changed = {name: content for name, content in (contents() | change).items() if content is not None}
    archive = make_zip(tmp_path / "a.zip", changed)
    with pytest.raises(UserError) as caught:
        rsna.read_records(archive)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def put_client(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "kaggle").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "kaggle").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_without_a_client_it_is_said_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError) as caught:
        rsna.fetch(source_params("rsna"), tmp_path / "images.zip", tmp_path)
    for words in ("account", "rules", "rsna-pneumonia-detection-challenge.zip", "source.path", "pip install"):
        assert words in str(caught.value)


@pytest.mark.skipif(os.name == "nt", reason="the made-up client is a shell script")
def test_the_client_fetches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_zip(tmp_path / "kaggles.zip", contents())
    script = f"""
test "$1 $2 $3 $4 $5" = "competitions download -c rsna-pneumonia-detection-challenge -p" || exit 9
cp '{tmp_path}/kaggles.zip' "$6/rsna-pneumonia-detection-challenge.zip" """
    put_client(tmp_path / "bin", monkeypatch, script)
    rsna.fetch(source_params("rsna"), tmp_path / "out" / "images.zip", tmp_path / "root")
    assert (tmp_path / "out/images.zip").read_bytes() == (tmp_path / "kaggles.zip").read_bytes()
    assert list((tmp_path / "root/.cache/downloads").iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="the made-up client is a shell script")
def test_a_client_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_client(tmp_path / "bin", monkeypatch, "echo 403 >&2; exit 1")
    with pytest.raises(
        UserError, match=r"ended with status 1 and sent no archive. Kaggle gives the images to"
    ):
        rsna.fetch(source_params("rsna"), tmp_path / "images.zip", tmp_path)


@pytest.mark.skipif("RSNA_LABELS" not in os.environ, reason="needs the path of the real label table")
def test_the_real_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """RSNA_LABELS: stage_2_train_labels.csv, or the .csv.zip of it that is in torchxrayvision's wheel."""
    path = Path(os.environ["RSNA_LABELS"])
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as zip_file:
            (name,) = (name for name in zip_file.namelist() if name.endswith("labels.csv"))
            content = zip_file.read(name)
    else:
        content = path.read_bytes()
    annotations = rsna.aggregate(content, b"patientId,class\n")
    assert len(annotations) == 26_684
    assert Counter(annotation.positive for annotation in annotations.values()) == {True: 6_012, False: 20_672}
    assert not any(annotation.conflicting for annotation in annotations.values())
    boxes = [box for annotation in annotations.values() for box in annotation.boxes]
    assert len(boxes) == 30_227 - 20_672
    assert all(box.left >= 0 and box.left + box.width <= 1024 for box in boxes)
    assert all(box.top >= 0 and box.top + box.height <= 1024 for box in boxes)
