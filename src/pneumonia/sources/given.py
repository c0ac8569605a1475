"""Files that the user has already and names in params.yaml."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from pneumonia.errors import UserError
from pneumonia.sources.archive import Archive, Folder, copy_archive, pack_folder

ADDED = "added"
"""Folder inside the raw archive for tables that were given beside the images, so that the archive alone
says everything."""


def open_given(path: str, root: Path) -> Archive | Folder:
    """The archive or folder at source.path; relative paths start at the repository's root.

    Raises:
        UserError: there is neither.
    """
    place = root / Path(path).expanduser()
    if place.is_dir():
        return Folder(place)
    if place.is_file():
        return Archive(place)
    raise UserError(
        f"source.path is {path!r}, and there is no file or folder {place}; relative paths start "
        "at the repository's root."
    )


def read_given(key: str, path: str, root: Path) -> bytes:
    """The bytes of a file that params.yaml names at `key`.

    Raises:
        UserError: there is no such file.
    """
    place = root / Path(path).expanduser()
    if not place.is_file():
        raise UserError(
            f"{key} is {path!r}, and there is no file {place}; relative paths start at the repository's root."
        )
    return place.read_bytes()


def keep(
    given: Archive | Folder, archive: Path, files: Iterable[str], added: Mapping[str, bytes] | None = None
) -> None:
    """Make the raw archive: a copy of the given one, or the files of the folder, and what is added.

    Args:
        given: where the images are.
        archive: the zip archive to make; it appears when it is complete.
        files: those of a folder that are needed; an archive is copied as it is.
        added: members to add, below `ADDED`.

    Raises:
        UserError: such a member is there already, or the disk is full.
    """
    added = added or {}
    there = sorted(added.keys() & set(given.names()))
    if there:
        raise UserError(f"{given.path} holds {there[0]} already; give the images as they were published.")
    if isinstance(given, Folder):
        pack_folder(given.path, archive, files, added)
    else:
        copy_archive(given.path, archive, added)
