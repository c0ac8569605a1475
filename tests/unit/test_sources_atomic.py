import errno
import os
from pathlib import Path

import pytest

from pneumonia.errors import UserError
from pneumonia.sources.atomic import whole_file


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


def test_other_errors_pass(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="Input/output"), whole_file(tmp_path / "file.bin"):
        raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_the_bytes_are_on_the_disk_before_the_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "file.bin"
    synchronised = []
    monkeypatch.setattr(os, "fsync", lambda _: synchronised.append(target.exists()))
    with whole_file(target) as part:
        part.write_bytes(b"x")
    assert synchronised == [False]
