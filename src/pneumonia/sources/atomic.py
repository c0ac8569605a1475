"""Files that appear whole or not at all, and disk errors in words."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pneumonia.errors import UserError


@contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """Give a temporary path beside `target`, which becomes `target` when the block ends without an exception.

    Whatever happens before, `target` is not touched: a run that is killed leaves at most `<target>.part`,
    which the next one overwrites and nothing takes for a result.

    Raises:
        UserError: the disk is full, or there is no permission to write.
    """
    part = target.with_name(f"{target.name}.part")
    with disk_errors_in_words(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield part
            to_disk(part)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)


def to_disk(path: Path) -> None:
    """Return when the file's bytes are on the disk, so that a rename after it cannot survive them."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


@contextmanager
def disk_errors_in_words(target: Path) -> Iterator[None]:
    """Turn a full or unwritable disk into a sentence that names the folder of `target`.

    Raises:
        UserError: in place of an OSError that the user can mend; others pass.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise UserError(
                f"There is no space left in {target.parent} for {target.name}; free some and run again."
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise UserError(
                f"{error.filename or target} cannot be opened or written: {error.strerror}; change its "
                "permissions and run again."
            ) from error
        raise
