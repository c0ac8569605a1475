import re
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from pneumonia.errors import UserError
from pneumonia.params import Source
from pneumonia.sources import kermany
from pneumonia.sources.archive import Archive
from tests.unit.source_examples import source_params


def source(path: str | None) -> Source:
    return source_params("kermany", path=path)


def published_names(*, with_val: bool) -> list[str]:
    """Made-up names in the published patterns and numbers: two images for every second patient or so."""
    val = "val" if with_val else "train"
    names = [f"train/NORMAL/IM-{number // 2:04d}-{number % 2 + 1:04d}.jpeg" for number in range(230, 830)]
    names += [f"train/NORMAL/NORMAL2-IM-{number:04d}-0001.jpeg" for number in range(383, 1123)]
    names += ["train/NORMAL/IM-0429-0001-0002.jpeg"]
    names += [f"{val}/NORMAL/NORMAL2-IM-{number:04d}-0001.jpeg" for number in range(1427, 1435)]
    names += [f"test/NORMAL/IM-{number:04d}-0001.jpeg" for number in range(1, 112)]
    names += [f"test/NORMAL/NORMAL2-IM-{number:04d}-0001-0001.jpeg" for number in range(7, 130)]
    names += [f"train/PNEUMONIA/person{number // 2}_bacteria_{number}.jpeg" for number in range(1000, 3530)]
    names += [f"train/PNEUMONIA/person{number}_virus_{number}.jpeg" for number in range(80, 1424)]
    names += ["train/PNEUMONIA/person447_virus_921_1.jpeg"]
    names += [f"{val}/PNEUMONIA/person1946_bacteria_{number}.jpeg" for number in range(4874, 4882)]
    names += [f"test/PNEUMONIA/person{number // 3}_bacteria_{number}.jpeg" for number in range(300, 542)]
    names += [f"test/PNEUMONIA/person1_virus_{number}.jpeg" for number in range(6, 154)]
    return names


def content_of(name: str) -> bytes:
    return name.rpartition("/")[2].encode()


def make_zip(path: Path, contents: dict[str, bytes]) -> Archive:
    with zipfile.ZipFile(path, "w") as zip_file:
        for name, content in contents.items():
            zip_file.writestr(name, content)
    return Archive(path)


def tree(root: str, *, with_val: bool = True) -> dict[str, bytes]:
    return {root + name: content_of(name) for name in published_names(with_val=with_val)}


def test_the_layout_of_kaggle_holds_every_image_once(tmp_path: Path) -> None:
    once = tree("chest_xray/")
    contents = (
        once
        | tree("chest_xray/chest_xray/")
        | {name.replace("chest_xray/", "chest_xray/__MACOSX/").replace("/IM", "/._IM"): b"" for name in once}
        | {"chest_xray/train/.DS_Store": b"", "chest_xray/readme.txt": b"", "train/NORMAL/": b""}
    )
    archive = make_zip(tmp_path / "a.zip", contents)
    records = kermany.read_records(archive)
    assert [record.file for record in records] == sorted(once)
    assert Counter((record.official_split, record.label, record.group) for record in records) == {
        ("train", "normal", "normal"): 1349,  # 8 of them from val
        ("train", "pneumonia", "bacterial"): 2538,  # 8 of them from val
        ("train", "pneumonia", "viral"): 1345,
        ("test", "normal", "normal"): 234,
        ("test", "pneumonia", "bacterial"): 242,
        ("test", "pneumonia", "viral"): 148,
    }


def test_the_layout_of_mendeley_has_no_val(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", tree("chest_xray/", with_val=False) | {"__MACOSX/._x": b""})
    records = kermany.read_records(archive)
    assert Counter(record.official_split for record in records) == {"train": 5232, "test": 624}


def test_normal_retinas_are_not_chests(tmp_path: Path) -> None:
    retinas = {f"CellData/OCT/train/NORMAL/NORMAL-{number}-1.jpeg": b"" for number in range(1000, 1010)}
    contents = retinas | tree("CellData/chest_xray/", with_val=False)
    records = kermany.read_records(make_zip(tmp_path / "a.zip", contents))
    assert len(records) == 5856


def test_letters_of_folders_and_endings_may_be_large_or_small(tmp_path: Path) -> None:
    contents = {
        re.sub("train/NORMAL(.*)jpeg", r"Train/normal\1JPG", name): content
        for name, content in tree("").items()
    }
    records = kermany.read_records(make_zip(tmp_path / "a.zip", contents))
    assert records[0].file.startswith("Train/normal/")
    assert records[0].official_split == "train"
    assert records[0].label == "normal"


@pytest.mark.parametrize(
    ("folder", "name", "patient", "group"),
    [
        ("NORMAL", "IM-0001-0001", "IM-0001", "normal"),
        ("NORMAL", "IM-0011-0001-0002", "IM-0011", "normal"),
        ("NORMAL", "NORMAL2-IM-1427-0001", "NORMAL2-IM-1427", "normal"),
        ("NORMAL", "NORMAL2-IM-0173-0001-0002", "NORMAL2-IM-0173", "normal"),
        ("NORMAL", "NORMAL-1003233-0001", "1003233", "normal"),
        ("PNEUMONIA", "person12_bacteria_48", "person12_bacteria", "bacterial"),
        ("PNEUMONIA", "person80_virus_150", "person80_virus", "viral"),
        ("PNEUMONIA", "person447_virus_921_1", "person447_virus", "viral"),
        ("PNEUMONIA", "BACTERIA-1008087-0001", "1008087", "bacterial"),
        ("PNEUMONIA", "VIRUS-1008087-0002", "1008087", "viral"),
    ],
)
def test_the_name_tells_the_patient_and_the_kind(folder: str, name: str, patient: str, group: str) -> None:
    record = kermany._record(f"x/test/{folder}/{name}.jpeg", Path("a.zip"))
    assert record.patient == patient
    assert record.group == group
    assert record.official_split == "test"


def test_the_images_of_a_patient_share_the_key_and_no_others_do(tmp_path: Path) -> None:
    records = kermany.read_records(make_zip(tmp_path / "a.zip", tree("")))
    images: dict[str, set[str]] = {}
    for record in records:
        images.setdefault(record.patient, set()).add(Path(record.file).stem)
    assert images["person447_virus"] == {"person447_virus_447", "person447_virus_921_1"}
    assert images["person500_bacteria"] == {"person500_bacteria_1000", "person500_bacteria_1001"}
    assert images["person500_virus"] == {"person500_virus_500"}
    assert images["IM-0429"] == {"IM-0429-0001-0002"}


@pytest.mark.parametrize("name", ["scan1", "person_bacteria_1", "IM-0001-0001", "person1_fungus_1"])
def test_a_name_without_a_patient_is_refused(tmp_path: Path, name: str) -> None:
    contents = tree("") | {f"train/PNEUMONIA/{name}.jpeg": b""}
    with pytest.raises(UserError, match=f"holds train/PNEUMONIA/{name}.jpeg, whose name"):
        kermany.read_records(make_zip(tmp_path / "a.zip", contents))


def test_other_numbers_than_published_are_said(tmp_path: Path) -> None:
    contents = tree("")
    del contents["test/NORMAL/IM-0001-0001.jpeg"]
    with pytest.raises(UserError) as caught:
        kermany.read_records(make_zip(tmp_path / "a.zip", contents))
    message = str(caught.value)
    assert "holds 5,855 images" in message
    assert "test: 233 normal and 390 pneumonia" in message
    assert "5,856" in message


def test_an_image_on_the_wrong_side_is_noticed(tmp_path: Path) -> None:
    contents = tree("")
    contents["test/NORMAL/IM-9999-0001.jpeg"] = contents.pop("train/NORMAL/IM-0120-0001.jpeg")
    with pytest.raises(UserError, match="train and val: 1,348 normal and 3,883 pneumonia, test: 235 normal"):
        kermany.read_records(make_zip(tmp_path / "a.zip", contents))


def test_something_else_altogether(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds 0 images as"):
        kermany.read_records(make_zip(tmp_path / "a.zip", {"photo.jpeg": b""}))


def test_two_trees_that_differ_are_refused(tmp_path: Path) -> None:
    contents = tree("a/") | tree("b/") | {"b/test/NORMAL/IM-0001-0001.jpeg": b"another"}
    with pytest.raises(UserError, match=r"a/test/NORMAL/IM-0001-0001.jpeg and b/test/NORMAL/IM-0001-0001"):
        kermany.read_records(make_zip(tmp_path / "a.zip", contents))


def test_fetch_downloads_the_published_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(kermany, "download", lambda *arguments, **named: calls.append((arguments, named)))
    kermany.fetch(source(None), tmp_path / "images.zip", tmp_path / "root")
    ((arguments, named),) = calls
    assert arguments == (
        "https://data.mendeley.com/public-files/datasets/rscbjbr9sj/files/"
        "f12eaf6d-6023-432f-acc9-80c9d7393433/file_downloaded",
        tmp_path / "images.zip",
        1_235_512_464,
        "13efc055629733dbab07877f8b3c9f81097840dbcdaa326a8542322c2281ce36",
        tmp_path / "root" / ".cache" / "downloads",
    )
    assert named == {"name": "ChestXRay2017.zip"}


def test_fetch_copies_an_archive_relative_to_the_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "root").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    make_zip(tmp_path / "given.zip", tree("chest_xray/"))
    archive = tmp_path / "data" / "images.zip"
    kermany.fetch(source("../given.zip"), archive, tmp_path / "root")
    assert archive.read_bytes() == (tmp_path / "given.zip").read_bytes()


def test_fetch_packs_only_the_images_of_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kermany, "PUBLISHED", dict.fromkeys(kermany.PUBLISHED, 1))
    images = [
        "chest_xray/test/NORMAL/IM-0001-0001.jpeg",
        "chest_xray/test/PNEUMONIA/person1_virus_6.jpeg",
        "chest_xray/train/NORMAL/IM-0115-0001.jpeg",
        "chest_xray/val/PNEUMONIA/person1946_bacteria_4874.jpeg",
    ]
    repeats = [f"chest_xray/{name}" for name in images]
    others = ["tax.pdf", "chest_xray/test/NORMAL/notes.txt", "chest_xray/.DS_Store"]
    for name in [*images, *repeats, *others]:
        path = tmp_path / "folder" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content_of(name))
    archive = tmp_path / "images.zip"
    kermany.fetch(source(str(tmp_path / "folder")), archive, Path("/nowhere"))
    assert Archive(archive).names() == images
    assert Archive(archive).read(images[0]) == b"IM-0001-0001.jpeg"
    assert len(kermany.read_records(Archive(archive))) == 4

    (tmp_path / "folder" / repeats[0]).write_bytes(b"another picture")
    with pytest.raises(UserError, match="two different images"):
        kermany.fetch(source(str(tmp_path / "folder")), archive, Path("/nowhere"))


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("missing.zip", r"source.path is 'missing.zip', and there is no file or folder .*missing\.zip"),
        ("text.zip", "text.zip is not a zip archive"),
        ("other.zip", "other.zip holds 0 images"),
        ("folder", "folder holds 0 images"),
    ],
)
def test_fetch_refuses_what_it_cannot_use_and_leaves_nothing(tmp_path: Path, path: str, words: str) -> None:
    (tmp_path / "text.zip").write_bytes(b"text")
    (tmp_path / "folder").mkdir()
    make_zip(tmp_path / "other.zip", {"x": b""})
    with pytest.raises(UserError, match=words):
        kermany.fetch(source(path), tmp_path / "out" / "images.zip", tmp_path)
    assert not (tmp_path / "out").exists()
