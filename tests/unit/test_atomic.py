import errno
import os
from pathlib import Path

import pytest

from pneumonia.atomic import whole_file
from pneumonia.errors import UserError


def test_the_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "new" / "file.bin"
    with whole_file(target) as part:
        part.write_bytes(b"whole")
        assert not target.exists()
        assert part.parent == target.parent  # a rename across disks would be a copy
    assert target.read_bytes() == b"whole"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("interruption", [RuntimeError, KeyboardInterrupt])
def test_an_exception_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, interruption: type[BaseException]
) -> None:
    target = tmp_path / "file.bin"
    target.write_bytes(b"old")

    def fail_halfway() -> None:
        with whole_file(target) as part:
            part.write_bytes(b"half")
            raise interruption

    with pytest.raises(interruption):
        fail_halfway()
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_what_a_killed_run_left_is_overwritten(tmp_path: Path) -> None:
    target = tmp_path / "file.bin"
    with whole_file(target) as part:
        left_over = part
        part.write_bytes(b"first")
    left_over.write_bytes(b"left over by a kill, and longer")
    with whole_file(target) as part:
        part.write_bytes(b"second")
    assert target.read_bytes() == b"second"
    assert not left_over.exists()


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.ENOSPC, "no space left"), (errno.EROFS, "permissions"), (errno.EACCES, "permissions")],
)
def test_disk_errors_become_sentences(tmp_path: Path, number: int, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught, whole_file(tmp_path / "file.bin"):
        raise OSError(number, os.strerror(number))
    assert str(tmp_path) in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["short", "longer than any buffer " * 10_000])
def test_a_full_disk_leaves_the_old_file(tmp_path: Path, text: str) -> None:
    target = tmp_path / "file.txt"
    target.write_text("old")
    (tmp_path / "file.txt.part").symlink_to("/dev/full")  # the system's own full disk
    with pytest.raises(UserError) as caught, whole_file(target) as part:
        part.write_text(text)
    assert str(caught.value) == (
        f"There is no space left in {tmp_path} for file.txt; free some and run again."
    )
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]
    with whole_file(target) as part:
        part.write_text(text)
    assert target.read_text() == text


def test_what_is_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with (
        pytest.raises(UserError, match=r"/folder is in the way: .*move it"),
        whole_file(tmp_path / "folder") as part,
    ):
        part.write_bytes(b"")
    (tmp_path / "file").touch()
    with (
        pytest.raises(UserError, match=r"/file is in the way: .*move it"),
        whole_file(tmp_path / "file" / "file.bin"),
    ):
        pass


def test_other_errors_pass(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="Input/output"), whole_file(tmp_path / "file.bin"):
        raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_the_bytes_are_on_the_disk_before_the_rename_and_the_name_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "file.bin"
    synchronised = []
    monkeypatch.setattr(os, "fsync", lambda _: synchronised.append(target.exists()))
    with whole_file(target) as part:
        part.write_bytes(b"x")
    assert synchronised == ([False, True] if os.name == "posix" else [False])
