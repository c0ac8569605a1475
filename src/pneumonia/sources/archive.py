"""The raw images of every source: one zip archive, read in place and never unpacked.

Reading in place avoids both the thousands of small files and the dangers of extraction. What is left of
those dangers (names that leave the archive, links, bombs) is refused when the archive is opened, so that
nothing later has to think of them.
"""

import errno
import filecmp
import os
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from tqdm import tqdm

from pneumonia.atomic import whole_file
from pneumonia.errors import UserError

MAX_MEMBERS = 1_000_000
MAX_MEMBER_BYTES = 256 * 2**20
"""More than an uncompressed 16-bit radiograph of 8,000 x 8,000 pixels; a member is read into memory whole."""
MAX_RATIO = 100
"""Of all members together, unpacked to packed. Uncompressed radiographs shrink to a half or a third."""
MIN_BOMB_BYTES = 2**30
"""A small archive may shrink as it likes: a table of zeros is no attack."""

COPY_CHUNK = 2**20

CLUTTER = frozenset({"thumbs.db", "desktop.ini"})
"""What Windows adds to folders, in any letters."""

_BROKEN = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, ValueError, OSError)
"""What zipfile raises for broken archives, as found by mutating some 20,000 times."""

_PLACE = struct.Struct("<QIIIB")
"""A member in the directory that a process keeps: the fields of Member from `header` on."""
_LOCAL_HEADER = struct.Struct("<4s22xHH")
"""Signature, length of the name, length of what is after it (APPNOTE 4.3.7)."""


class DamagedMemberError(UserError):
    """One member of an archive cannot be read; the others can."""


@dataclass(frozen=True, slots=True)
class Member:
    """Where a file lies in an archive and what it must be: all that another process needs to read it."""

    archive: Path
    name: str
    header: int
    """Where its local header begins."""
    packed: int
    """Bytes in the archive."""
    size: int
    """Bytes unpacked."""
    crc: int
    method: int
    """ZIP_STORED or ZIP_DEFLATED."""

    def read(self) -> bytes:
        """Return its bytes, unpacked and checked against its CRC-32.

        Raises:
            DamagedMemberError: its bytes are not what the archive's directory says.
            UserError: the archive is missing.
        """
        try:
            with self.archive.open("rb") as file:
                content = self._unpack(file)
        except FileNotFoundError:
            raise _missing(self.archive) from None
        except _BROKEN as error:
            _raise_disk_error(error)
            raise self._damaged(f"{error}") from error
        if len(content) != self.size:
            raise self._damaged(f"{len(content)} bytes are left of it")
        if zlib.crc32(content) != self.crc:
            raise self._damaged("its bytes have another CRC-32")
        return content

    def _unpack(self, file: BinaryIO) -> bytes:
        file.seek(self.header)
        signature, *lengths = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
        if signature != b"PK\3\4":
            raise zipfile.BadZipFile("its local header is not where it should be")
        file.seek(sum(lengths), os.SEEK_CUR)
        packed = file.read(self.packed)
        if self.method == zipfile.ZIP_STORED:
            return packed
        # One byte more than promised, so that a member that lies about its size is cut, not believed.
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, self.size + 1)

    def _damaged(self, how: str) -> DamagedMemberError:
        return DamagedMemberError(f"{self.name} in {self.archive} is damaged: {how}.")


class Archive:
    """A zip archive, its directory read on first use, once in a process; it pickles as its absolute path.

    Raises:
        UserError: (any method) the file is missing, is no zip or a truncated one, or is unsafe: a path that
            leaves the archive, a link, an encrypted member, an unusual compression, absurd sizes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()

    def names(self) -> list[str]:
        """Paths of the regular files, sorted, without what macOS and Windows add: see `is_clutter`."""
        return sorted(name for name in self._members if not is_clutter(name))

    def member(self, name: str) -> Member:
        """Return what is needed to read a member, in this process or another.

        Raises:
            KeyError: there is no such member.
        """
        return Member(self.path, name, *_PLACE.unpack(self._members[name]))

    def read(self, name: str) -> bytes:
        """Return a member's bytes, as `Member.read` does.

        Raises:
            DamagedMemberError: its bytes are not what the archive's directory says.
            KeyError: there is no such member.
        """
        return self.member(name).read()

    def checksum(self, name: str) -> tuple[int, int]:
        """Size and CRC-32 of a member from the archive's directory: equal for equal contents."""
        member = self.member(name)
        return member.size, member.crc

    def same_content(self, one: str, other: str) -> bool:
        """Whether two members hold the same bytes, going by size and CRC-32."""
        return self.checksum(one) == self.checksum(other)

    @property
    def _members(self) -> dict[str, bytes]:
        return _directory(*_identity(self.path))


class Folder:
    """A folder of files, seen the way an Archive is."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def names(self) -> list[str]:
        """Paths of the regular files below the folder, sorted, with / between the parts.

        Raises:
            UserError: a file or folder in it is a link, or is neither file nor folder, or cannot be listed;
                or names are not in UTF-8, so that neither a table nor an archive can hold them.
        """
        names = []
        for parent, folders, files in os.walk(self.path, onerror=_cannot_list):
            for name in folders:
                _refuse_link(Path(parent, name))
            for name in files:
                path = Path(parent, name)
                relative = path.relative_to(self.path).as_posix()
                if not is_clutter(relative):
                    _refuse_link(path)
                    names.append(relative)
        self._refuse_names(names, _undecodable)
        return sorted(names)

    def require_packable(self, names: Sequence[str]) -> None:
        """Refuse files that would make an archive that is refused, before any is copied.

        Raises:
            UserError: they are too many, one is too large, or names are of no use in an archive.
        """
        _refuse_too_many(self.path, len(names))
        self._refuse_names(names, _name_fault)
        for name in names:
            size = (self.path / name).stat().st_size
            if size > MAX_MEMBER_BYTES:
                raise UserError(
                    f"{self.path} holds {_shown(name)}, a file of {_mebibytes(size)}; move it elsewhere."
                )

    def _refuse_names(self, names: Iterable[str], fault: Callable[[str], str | None]) -> None:
        faulty = [(name, why) for name in names if (why := fault(name))]
        if faulty:
            name, why = min(faulty)
            raise UserError(
                f"{self.path} holds {len(faulty):,} files with names that no archive takes, for example "
                f"{_shown(name)}, which {why}; rename them."
            )

    def read(self, name: str) -> bytes:
        """Return a file's bytes."""
        return (self.path / name).read_bytes()

    def same_content(self, one: str, other: str) -> bool:
        """Whether two files hold the same bytes."""
        return filecmp.cmp(self.path / one, self.path / other, shallow=False)


def is_clutter(name: str) -> bool:
    """Whether a path is one of those that macOS and Windows add to folders and archives.

    These are __MACOSX/, ._*, .DS_Store, Thumbs.db and desktop.ini.
    """
    parts = name.split("/")
    return "__MACOSX" in parts or any(
        part == ".DS_Store" or part.startswith("._") or part.lower() in CLUTTER for part in parts
    )


def pack_folder(
    folder: Path,
    archive: Path,
    names: Iterable[str] | None = None,
    added: Mapping[str, bytes] | None = None,
) -> None:
    """Write files of a folder into one uncompressed zip archive; same files, same bytes.

    Images are compressed already, and stored members are read faster.

    Args:
        folder: where the files are.
        archive: the zip archive to make; it appears when it is complete.
        names: paths below the folder with / between the parts; all files when None.
        added: further members, which are not in the folder.

    Raises:
        UserError: there is a link in the folder, a file cannot be read, is too large or has a name that no
            archive takes, or the disk is full.
    """
    given = Folder(folder)
    names = given.names() if names is None else sorted(names)
    with whole_file(archive) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as zip_file:
        given.require_packable(names)
        for name in tqdm(names, desc="pack", unit="file", disable=None):
            member = _new_member(name)
            member.file_size = (folder / name).stat().st_size
            with (folder / name).open("rb") as source, zip_file.open(member, "w") as target:
                shutil.copyfileobj(source, target, COPY_CHUNK)
        add_members(zip_file, added or {})


def add_members(zip_file: zipfile.ZipFile, contents: Mapping[str, bytes]) -> None:
    """Write members, sorted by name, whose bytes in the archive depend on name and content only."""
    for name, content in sorted(contents.items()):
        zip_file.writestr(_new_member(name), content)


def _new_member(name: str) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(name)  # its date is 1980-01-01, whatever the file's is
    member.create_system = 3  # Unix, on every platform
    member.external_attr = (stat.S_IFREG | 0o644) << 16
    return member


def copy_archive(source: Path, archive: Path, added: Mapping[str, bytes] | None = None) -> None:
    """Copy a zip archive, and add members to the copy, which appears when it is complete.

    Raises:
        UserError: the source is no archive that we read, it cannot be read, or the disk is full.
    """
    Archive(source).names()
    with whole_file(archive) as part:
        with source.open("rb") as file, part.open("wb") as target:
            size = source.stat().st_size
            bar = tqdm.wrapattr(
                file, "read", total=size, desc="copy", unit="B", unit_scale=True, disable=None
            )
            with bar as reader:
                shutil.copyfileobj(reader, target, COPY_CHUNK)
        if added:
            with zipfile.ZipFile(part, "a", zipfile.ZIP_STORED) as zip_file:
                add_members(zip_file, added)


def _identity(path: Path) -> tuple[str, int, int]:
    """What tells one version of a file from another."""
    try:
        status = path.stat()
    except FileNotFoundError:
        raise _missing(path) from None
    return str(path), status.st_size, status.st_mtime_ns


def _missing(path: Path) -> UserError:
    return UserError(f"{path} is missing; run `dvc repro`.")


@lru_cache(maxsize=2)
def _directory(path: str, size: int, _modified: int) -> dict[str, bytes]:
    """Read and check an archive's directory once, although every task brings its own Archive.

    Returns:
        `_PLACE` of the regular files by name: a third of the memory of zipfile's objects.
    """
    names, places = _flat_directory(path, size)
    starts = range(0, len(places), _PLACE.size)
    return {
        name: places[start : start + _PLACE.size]
        for name, start in zip(names.split("\n")[:-1], starts, strict=True)
    }


def _flat_directory(path: str, size: int) -> tuple[str, bytes]:
    """Return the names, each with a line feed after it, and their places.

    In two pieces of memory: a name that zipfile made would keep the page that it shares with zipfile's
    other objects.
    """
    try:
        with zipfile.ZipFile(path) as zip_file:
            infos = _checked(path, size, zip_file)
            names = "".join(f"{info.filename}\n" for info in infos)
            return names, b"".join(_place(info, size) for info in infos)
    except _BROKEN as error:
        _raise_disk_error(error)
        raise UserError(
            f"{path} is not a zip archive, or not a complete one; copy or download it again."
        ) from error


def _place(info: zipfile.ZipInfo, archive_size: int) -> bytes:
    # What lies outside the archive is put at its end, where there is nothing: it is met as damaged.
    header = info.header_offset if 0 <= info.header_offset < archive_size else archive_size
    packed = min(info.compress_size, archive_size, MAX_MEMBER_BYTES)
    return _PLACE.pack(header, packed, info.file_size, info.CRC, info.compress_type)


def _raise_disk_error(error: Exception) -> None:
    """Let an OSError pass that is about the disk; EINVAL is zipfile's seek to a nonsensical place."""
    if isinstance(error, PermissionError):
        raise UserError(
            f"{error.filename} cannot be read: {error.strerror}; change its permissions."
        ) from error
    if isinstance(error, OSError) and error.errno != errno.EINVAL:
        raise error


def _checked(path: str, size: int, zip_file: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """Return the regular files, or refuse the archive."""
    infos = zip_file.infolist()
    _refuse_too_many(path, len(infos))
    names: set[str] = set()
    for info in infos:
        fault = _fault(info)
        if info.filename in names:
            fault = "is there twice"
        if fault:
            raise UserError(f"{path} is refused: its member {info.filename!r} {fault}.")
        names.add(info.filename)
    unpacked = sum(info.file_size for info in infos)
    if unpacked > max(MIN_BOMB_BYTES, MAX_RATIO * size):
        raise UserError(
            f"{path} is refused: it would unpack to {unpacked / 2**30:,.0f} GiB, more than {MAX_RATIO} times "
            "its size."
        )
    return [info for info in infos if not info.is_dir()]


def _fault(info: zipfile.ZipInfo) -> str | None:
    """What is wrong with a member, as the end of a sentence."""
    fault = _name_fault(info.filename)
    if fault:
        return fault
    if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        fault = "is a link or a special file"
    elif info.flag_bits & 0x1:
        fault = "is encrypted; make the archive again without a password"
    elif info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        # Besides, zipfile bounds the memory that unpacking takes for these two only.
        fault = f"has compression method {info.compress_type}; make the archive again with the usual, deflate"
    elif info.file_size > MAX_MEMBER_BYTES:
        fault = f"unpacks to {_mebibytes(info.file_size)}"
    return fault


def _name_fault(path: str) -> str | None:
    """What is wrong with a path in an archive, as the end of a sentence."""
    name = path.replace("\\", "/")
    if not name:
        return "has no name"
    if name.startswith("/") or ".." in name.split("/"):
        return "has a path that leads out of the archive"
    if name[1:2] == ":":
        return "has a path that begins with a drive, as on Windows"
    if any(ord(character) < 32 for character in name):
        return "has a name with control characters"
    return None


def _undecodable(name: str) -> str | None:
    """As `_name_fault`, of a file's name: Linux takes any bytes."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return "is not in UTF-8"
    return None


def _shown(name: str) -> str:
    """A file's name in quotes, with its unprintable characters and undecodable bytes as escapes."""
    return repr(os.fsencode(name).decode("utf-8", "backslashreplace")).replace("\\\\", "\\")


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB; more than {MAX_MEMBER_BYTES // 2**20} are refused"


def _refuse_too_many(path: str | Path, count: int) -> None:
    if count > MAX_MEMBERS:
        raise UserError(f"{path} holds {count:,} files; more than {MAX_MEMBERS:,} are refused.")


def _refuse_link(path: Path) -> None:
    if path.is_symlink():
        raise UserError(
            f"{path} is a link; copy the folder with its links followed (`cp -rL`) and give the copy."
        )
    if not (path.is_file() or path.is_dir()):
        raise UserError(f"{path} is neither a file nor a folder; remove it.")


def _cannot_list(error: OSError) -> None:
    raise UserError(f"{error.filename} cannot be listed: {error.strerror}; change its permissions.") from None
