import errno
import os
import pickle
import random
import shutil
import stat
import struct
import sys
import tracemalloc
import warnings
import zipfile
from pathlib import Path

import pytest

from pneumonia.errors import UserError
from pneumonia.sources import archive as archive_module
from pneumonia.sources.archive import Archive, DamagedMemberError, Folder, copy_archive, pack_folder

CONTENTS = {
    "set/b.jpeg": b"second",
    "set/a.jpeg": b"first",
    "top.csv": b"table",
}
CLUTTER = (
    "__MACOSX/set/a.jpeg",
    "set/._a.jpeg",
    "set/.DS_Store",
    "set/__MACOSX/x.jpeg",
    "set/Thumbs.db",
    "thumbs.DB",
    "set/desktop.ini",
    "Desktop.ini",
)


def make_zip(path: Path, contents: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as zip_file:
        for name, content in contents.items():
            zip_file.writestr(name, content)
    return path


def make_folder(path: Path, contents: dict[str, bytes]) -> Path:
    for name, content in contents.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def test_regular_files_are_listed_in_order_without_clutter(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", CONTENTS | dict.fromkeys(CLUTTER, b"x") | {"set/": b""})
    assert Archive(path).names() == ["set/a.jpeg", "set/b.jpeg", "top.csv"]


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_members_are_read(tmp_path: Path, compression: int) -> None:
    content = bytes(range(256)) * 1000
    with zipfile.ZipFile(tmp_path / "a.zip", "w", compression) as zip_file:
        zip_file.writestr("x", content)
        zip_file.writestr("empty", b"")
    archive = Archive(tmp_path / "a.zip")
    assert archive.read("x") == content
    assert archive.read("empty") == b""


def test_it_pickles_as_its_path_and_reads_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_zip(tmp_path / "a.zip", CONTENTS)
    monkeypatch.chdir(tmp_path)
    archive = Archive(Path("a.zip"))
    archive.read("top.csv")
    pickled = pickle.dumps(archive)
    assert len(pickled) < 1000
    monkeypatch.chdir("/")
    assert pickle.loads(pickled).read("set/a.jpeg") == b"first"


def test_one_process_opens_an_archive_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_zip(tmp_path / "a.zip", CONTENTS)
    opened = []
    open_zip = zipfile.ZipFile

    def counted(file: str) -> zipfile.ZipFile:
        opened.append(file)
        return open_zip(file)

    monkeypatch.setattr(zipfile, "ZipFile", counted)
    for _ in range(5):
        pickle.loads(pickle.dumps(Archive(path))).read("top.csv")
    assert len(opened) == 1


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_member_is_read_elsewhere_without_the_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compression: int
) -> None:
    content = bytes(range(256)) * 1000
    with zipfile.ZipFile(tmp_path / "a.zip", "w", compression) as zip_file:
        zip_file.writestr("before", b"x")
        zip_file.writestr("\u00e9", content)
    pickled = pickle.dumps(Archive(tmp_path / "a.zip").member("\u00e9"))
    assert len(pickled) < 1000
    monkeypatch.setattr(archive_module, "_directory", None)
    assert pickle.loads(pickled).read() == content
    (tmp_path / "a.zip").unlink()
    with pytest.raises(UserError, match=r"a\.zip is missing"):
        pickle.loads(pickled).read()


def test_the_directory_takes_little_memory(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as zip_file:
        for number in range(3000):
            zip_file.writestr(f"{number:04}", b"x" * number)
    archive = Archive(tmp_path / "a.zip")
    tracemalloc.start()
    archive.checksum("0000")
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held / 3000 < 300  # of which the name is 53; zipfile would hold 600


def test_a_file_that_was_replaced_is_read_anew(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {"x": b"old"})
    archive = Archive(path)
    assert archive.read("x") == b"old"
    make_zip(tmp_path / "b.zip", {"x": b"newer"}).replace(path)
    assert archive.read("x") == b"newer"


def test_equal_contents_have_equal_checksums(tmp_path: Path) -> None:
    archive = Archive(make_zip(tmp_path / "a.zip", {"a": b"123456789", "b": b"123456789", "c": b"123456780"}))
    assert archive.same_content("a", "b")
    assert not archive.same_content("a", "c")
    assert archive.checksum("a") == (9, 0xCBF43926)  # the published check value of CRC-32


@pytest.mark.parametrize(
    "name", ["../x", "a/../../x", "/etc/x", "\\\\server\\x", "a\\..\\..\\x", "C:\\x", "c:x", "a\nb"]
)
def test_names_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    make_zip(tmp_path / "a.zip", {"fine": b"", name: b""})
    with pytest.raises(UserError, match=r"a\.zip is refused: its member") as caught:
        Archive(tmp_path / "a.zip").names()
    assert repr(name) in str(caught.value)


@pytest.mark.parametrize("name", ["a..b/c", "...", "a/..b", "scan 12:30"])
def test_names_that_only_look_bad_are_fine(tmp_path: Path, name: str) -> None:
    assert Archive(make_zip(tmp_path / "a.zip", {name: b""})).names() == [name]


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_special_files_are_refused(tmp_path: Path, kind: int) -> None:
    member = zipfile.ZipInfo("link.jpeg")
    member.external_attr = (kind | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as zip_file:
        zip_file.writestr(member, "/etc/passwd")
    with pytest.raises(UserError, match="link or a special file"):
        Archive(tmp_path / "a.zip").names()


def test_unusual_compression_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_BZIP2) as zip_file:
        zip_file.writestr("x", b"x")
    with pytest.raises(UserError, match="compression method 12"):
        Archive(tmp_path / "a.zip").names()


def test_encrypted_members_are_refused(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {"x": b"x"})
    content = bytearray(path.read_bytes())
    directory = content.index(b"PK\x01\x02")
    content[directory + 8] |= 1  # general purpose bit 0, APPNOTE 4.4.4
    path.write_bytes(content)
    with pytest.raises(UserError, match="encrypted"):
        Archive(path).names()


def test_a_name_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as zip_file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        zip_file.writestr("x", b"one")
        zip_file.writestr("x", b"other")
    with pytest.raises(UserError, match="there twice"):
        Archive(tmp_path / "a.zip").names()


def test_too_many_members_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_module, "MAX_MEMBERS", 2)
    with pytest.raises(UserError, match="more than 2"):
        Archive(make_zip(tmp_path / "a.zip", CONTENTS)).names()


def test_a_member_of_absurd_size_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_module, "MAX_MEMBER_BYTES", 2**20)
    with pytest.raises(UserError, match="unpacks to 2 MiB; more than 1 are refused"):
        Archive(make_zip(tmp_path / "a.zip", {"x": bytes(2**21)})).names()


def test_a_bomb_of_many_members_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_module, "MIN_BOMB_BYTES", 2**20)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as zip_file:
        for number in range(30):
            zip_file.writestr(str(number), bytes(2**17))
    with pytest.raises(UserError, match="more than 100 times its size"):
        Archive(tmp_path / "a.zip").names()


def test_a_member_that_lies_about_its_size_takes_no_memory(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as zip_file:
        zip_file.writestr("x", bytes(64 * 2**20))
    content = (tmp_path / "a.zip").read_bytes()
    lie = content.replace(struct.pack("<I", 64 * 2**20), struct.pack("<I", 1000))
    assert lie != content
    (tmp_path / "a.zip").write_bytes(lie)
    archive = Archive(tmp_path / "a.zip")
    archive.names()
    tracemalloc.start()
    with pytest.raises(DamagedMemberError):
        archive.read("x")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


def test_a_member_shorter_than_promised_is_damaged(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as zip_file:
        zip_file.writestr("x", b"short")
    content = bytearray((tmp_path / "a.zip").read_bytes())
    content[content.index(b"PK\x01\x02") + 24] = 6  # uncompressed size in the directory, APPNOTE 4.3.12
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(DamagedMemberError, match="5 bytes are left"):
        Archive(tmp_path / "a.zip").read("x")


def test_what_is_no_zip_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(b"<html>not an archive</html>" * 100)
    with pytest.raises(UserError, match=r"a\.zip is not a zip archive"):
        Archive(path).names()
    with pytest.raises(UserError, match=r"none\.zip is missing"):
        Archive(tmp_path / "none.zip").names()


def test_a_truncated_archive_is_refused_wherever_it_ends(tmp_path: Path) -> None:
    whole = make_zip(tmp_path / "whole.zip", CONTENTS).read_bytes()
    path = tmp_path / "a.zip"
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match="not a complete one"):
            Archive(path).names()


def test_one_damaged_member_leaves_the_others(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", CONTENTS)
    path.write_bytes(path.read_bytes().replace(b"second", b"sEcond"))
    archive = Archive(path)
    with pytest.raises(DamagedMemberError, match=r"set/b.jpeg in .*a.zip is damaged"):
        archive.read("set/b.jpeg")
    assert archive.read("set/a.jpeg") == b"first"


def test_members_before_the_beginning_or_beyond_the_end_leave_the_others(tmp_path: Path) -> None:
    content = bytearray(make_zip(tmp_path / "a.zip", CONTENTS).read_bytes())
    place = content.index(b"PK\x01\x02", content.index(b"PK\x01\x02") + 1) + 42  # APPNOTE 4.3.12
    content[place : place + 4] = struct.pack("<I", 2**32 - 2)
    (tmp_path / "a.zip").write_bytes(content[5:])
    archive = Archive(tmp_path / "a.zip")
    for lost in ("set/b.jpeg", "set/a.jpeg"):
        with pytest.raises(DamagedMemberError, match=rf"{lost} in .*a.zip is damaged"):
            archive.read(lost)
    assert archive.read("top.csv") == b"table"


def test_mutated_archives_are_read_or_refused(tmp_path: Path) -> None:
    generator = random.Random(0)
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zip_file:
        for number in range(4):
            zip_file.writestr(f"é/{number}.jpeg", generator.randbytes(200) + bytes(200))
    whole = path.read_bytes()
    refused = damaged = 0
    for _ in range(400):
        content = bytearray(whole)
        for _ in range(generator.choice([1, 2, 8])):
            place = generator.randrange(len(content))
            content[place : place + generator.choice([1, 4])] = generator.choice([b"\xff" * 4, b"\0", b"q"])
        path.write_bytes(content)
        try:
            names = Archive(path).names()
        except UserError:
            refused += 1
            continue
        for name in names:
            try:
                Archive(path).read(name)
            except DamagedMemberError:
                damaged += 1
    assert refused > 50
    assert damaged > 50


def test_a_folder_is_packed_to_the_same_bytes_whenever_and_wherever_it_was_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make_folder(tmp_path / "first", CONTENTS | {"set/.DS_Store": b"clutter"})
    second = make_folder(tmp_path / "second", dict(reversed(CONTENTS.items())))
    os.utime(second / "top.csv", (1, 1))
    (second / "top.csv").chmod(0o600)
    pack_folder(first, tmp_path / "first.zip")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "platform", "win32")
        pack_folder(second, tmp_path / "second.zip")
    assert (tmp_path / "first.zip").read_bytes() == (tmp_path / "second.zip").read_bytes()
    archive = Archive(tmp_path / "first.zip")
    assert {name: archive.read(name) for name in archive.names()} == CONTENTS
    with zipfile.ZipFile(tmp_path / "first.zip") as zip_file:
        assert {info.compress_type for info in zip_file.infolist()} == {zipfile.ZIP_STORED}


def test_only_the_named_files_are_packed(tmp_path: Path) -> None:
    make_folder(tmp_path / "folder", CONTENTS)
    pack_folder(tmp_path / "folder", tmp_path / "a.zip", ["top.csv", "set/b.jpeg"])
    assert Archive(tmp_path / "a.zip").names() == ["set/b.jpeg", "top.csv"]


@pytest.mark.parametrize("link", ["set/link.jpeg", "linked_folder"])
def test_a_folder_with_links_is_refused(tmp_path: Path, link: str) -> None:
    folder = make_folder(tmp_path / "folder", CONTENTS)
    (folder / link).symlink_to(folder / "top.csv" if link.endswith("jpeg") else folder / "set")
    with pytest.raises(UserError, match="is a link"):
        pack_folder(folder, tmp_path / "a.zip")
    assert not (tmp_path / "a.zip").exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no named pipes in folders")
def test_a_pipe_in_a_folder_is_refused(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "folder", CONTENTS)
    os.mkfifo(folder / "pipe")
    with pytest.raises(UserError, match="neither a file nor a folder"):
        Folder(folder).names()


def test_a_folder_is_listed_without_clutter_but_with_what_resembles_it(tmp_path: Path) -> None:
    contents = dict.fromkeys(("set/thumbs.db.png", "desktop.ini2", "a.DS_Store"), b"x")
    folder = make_folder(tmp_path / "folder", dict.fromkeys(CLUTTER, b"x") | contents)
    assert Folder(folder).names() == sorted(contents)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems know names in Unicode only")
def test_names_that_are_not_utf8_are_shown_so_that_they_can_be_printed_and_found(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "folder", CONTENTS | {"set/\u4e2d.png": b"fine"})
    for name in (b"M\xfcller.png", "\u4e2d\u00fc\t".encode() + b"\xfc"):
        (folder / "set" / os.fsdecode(name)).write_bytes(b"x")
    with pytest.raises(UserError) as caught:
        Folder(folder).names()
    assert str(caught.value) == (
        f"{folder} holds 2 files with names that no archive takes, for example 'set/M\\xfcller.png', which "
        "is not in UTF-8; rename them."
    )
    (folder / "set" / os.fsdecode(b"M\xfcller.png")).unlink()
    with pytest.raises(UserError, match=r"example 'set/\u4e2d\u00fc\\t\\xfc', which is not in UTF-8; rename"):
        Folder(folder).names()


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such names")
@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("normal/a\tb.png", r"'normal/a\tb.png', which has a name with control characters"),
        ("1:2/a.png", "'1:2/a.png', which has a path that begins with a drive, as on Windows"),
        (r"..\a.png", r"'..\a.png', which has a path that leads out of the archive"),
    ],
)
def test_names_that_would_make_a_refused_archive_are_named_before_any_file_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, fault: str
) -> None:
    monkeypatch.setattr(shutil, "copyfileobj", None)
    folder = make_folder(tmp_path / "folder", CONTENTS | {name: b"x"})
    with pytest.raises(UserError) as caught:
        pack_folder(folder, tmp_path / "a.zip")
    assert str(caught.value) == (
        f"{folder} holds 1 files with names that no archive takes, for example {fault}; rename them."
    )
    assert not (tmp_path / "a.zip").exists()


@pytest.mark.parametrize(
    ("limit", "value", "sentence"),
    [
        ("MAX_MEMBER_BYTES", 2**20, "'set/large.png', a file of 2 MiB; more than 1 are refused; move it"),
        ("MAX_MEMBERS", 3, "4 files; more than 3 are refused."),
    ],
)
def test_too_much_is_named_before_any_file_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: int, sentence: str
) -> None:
    monkeypatch.setattr(shutil, "copyfileobj", None)
    monkeypatch.setattr(archive_module, limit, value)
    folder = make_folder(tmp_path / "folder", CONTENTS | {"set/large.png": bytes(2**21)})
    with pytest.raises(UserError) as caught:
        pack_folder(folder, tmp_path / "a.zip")
    assert str(caught.value).startswith(f"{folder} holds {sentence}")
    assert not (tmp_path / "a.zip").exists()


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such names")
def test_files_that_are_not_packed_may_be_called_and_weigh_what_they_like(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_module, "MAX_MEMBER_BYTES", 2**20)
    folder = make_folder(tmp_path / "folder", CONTENTS | {"a\tb.txt": b"x", "large": bytes(2**21)})
    pack_folder(folder, tmp_path / "a.zip", ["top.csv"])
    assert Archive(tmp_path / "a.zip").names() == ["top.csv"]


def test_a_failed_pack_leaves_nothing(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "folder", CONTENTS)
    with pytest.raises(FileNotFoundError):
        pack_folder(folder, tmp_path / "out" / "a.zip", ["set/a.jpeg", "set/missing.jpeg"])
    assert list((tmp_path / "out").iterdir()) == []


def test_an_archive_is_copied_byte_for_byte(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", CONTENTS)
    copy_archive(path, tmp_path / "out" / "b.zip")
    assert (tmp_path / "out" / "b.zip").read_bytes() == path.read_bytes()


def test_what_is_no_archive_is_not_copied(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"text")
    with pytest.raises(UserError, match="not a zip archive"):
        copy_archive(tmp_path / "a.zip", tmp_path / "b.zip")
    assert not (tmp_path / "b.zip").exists()


def test_a_full_disk_while_copying_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(source: object, target: object, length: int = 0) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = make_zip(tmp_path / "a.zip", CONTENTS)
    monkeypatch.setattr(shutil, "copyfileobj", fill)
    with pytest.raises(UserError, match="no space left"):
        copy_archive(path, tmp_path / "out" / "b.zip")
    assert list((tmp_path / "out").iterdir()) == []
