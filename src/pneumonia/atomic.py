"""Files that appear whole or not at all, and disk errors in words."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pneumonia.errors import UserError

PART = ".part"
"""Ending of an unfinished file."""

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""The disk, the user's share of it, or what one file or process may write."""
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
IN_THE_WAY = (errno.EISDIR, errno.ENOTDIR, errno.EEXIST)
"""A folder where a file belongs, or a file where a folder does."""


@contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """Give a temporary path beside `target`, which becomes `target` when the block ends without an exception.

    Whatever happens before, `target` is not touched: a run that is killed leaves at most `<target>.part`,
    which the next one overwrites and nothing takes for a result.

    Raises:
        UserError: the disk is full, there is no permission to write, or something is in the way.
    """
    part = target.with_name(f"{target.name}{PART}")
    with disk_errors_in_words(target), renamed_when_whole(part, target):
        yield part


@contextmanager
def renamed_when_whole(part: Path, target: Path) -> Iterator[None]:
    """Rename `part`, which the block writes, to `target` when the block ends without an exception.

    After a loss of power, too, `target` is whole or as it was before.

    Args:
        part: in the folder of `target`, which is made where it is missing.
        target: the file.

    Raises:
        OSError: the disk is full, or takes nothing.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield
        to_disk(part)
        part.replace(target)
        _folder_to_disk(target.parent)
    finally:
        part.unlink(missing_ok=True)


def to_disk(path: Path) -> None:
    """Return when the file's bytes are on the disk, so that a rename after it cannot survive them."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _folder_to_disk(folder: Path) -> None:
    """Return when the names in the folder are on the disk; Windows cannot be asked for that."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def disk_errors_in_words(target: Path) -> Iterator[None]:
    """Turn a full or unwritable disk into a sentence that names the folder of `target`.

    Raises:
        UserError: in place of an OSError that the user can mend; others pass.
    """
    try:
        yield
    except OSError as error:
        sentence = in_words(error, target)
        if sentence is None:
            raise
        raise UserError(sentence) from error


def in_words(error: OSError, target: Path) -> str | None:
    """What is wrong, where, and what to do; None where it is not for the user to mend.

    Args:
        error: from the operating system.
        target: the file that was to be written.
    """
    if error.errno in FULL:
        return f"There is no space left in {target.parent} for {target.name}; free some and run again."
    place = str(error.filename2 or error.filename or target).removesuffix(PART)
    if error.errno in FORBIDDEN:
        return (
            f"{place} cannot be opened or written: {error.strerror}; change its permissions, or those of its "
            "folder, and run again."
        )
    if error.errno in IN_THE_WAY:
        return f"{place} is in the way: {error.strerror}; move it elsewhere and run again."
    return None
