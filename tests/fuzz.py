"""`PYTHONPATH=src python -m tests.fuzz 10000` reads so many damaged DICOM, PNG, JPEG, CSV and zip files.

Each is read as the pipeline would read it, in a process of its own that has SECONDS and MEMORY_BYTES. It must
end as a picture, as a rejection, as records or as a sentence for the user (UserError). Anything else ends the
script with status 1 and the line that repeats the case: `python -m tests.fuzz 1 KIND NUMBER`.
"""

import io
import random
import sys
import tempfile
import warnings
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from benchmarks.peak import peak_mib
from pneumonia.errors import UserError
from pneumonia.imaging import isolation
from pneumonia.imaging.decode import decode_with_facts
from pneumonia.imaging.isolation import CrashedError, Isolated, TimedOutError
from pneumonia.imaging.rejection import Rejected
from pneumonia.sources import folder, rsna
from pneumonia.sources.archive import Archive
from pneumonia.sources.phantom import source as phantom
from pneumonia.sources.registry import SourceModule
from tests.unit.imaging_files import RAMP_8, dicom, raster
from tests.unit.imaging_mutations import damaged, valid_files

SECONDS = 10.0
MEMORY_BYTES = 4 * 2**30
PEAK_MIB = 1024
"""Of memory that a process may really have taken in the end; a healthy decoder of small files has 150."""

IMAGES = {f"images/{number}.png": raster(RAMP_8, "PNG") for number in range(4)}
_PHANTOM = [f"images/{n}.png,P{n},{'normal' if n % 2 else 'pneumonia'},'a b'" for n in range(4)]
_FOLDER = [f"images/{n}.png;{n % 2};\u00e9{n};train" for n in range(4)]
_LABELS = [f"{n},{n}.5,2,30,40,1" if n % 2 else f"{n},,,,,0" for n in range(4)]
_CLASSES = [f"{n},{'Lung Opacity' if n % 2 else 'Normal'}" for n in range(4)]


def _table(header: str, lines: list[str]) -> bytes:
    return "\r\n".join([header, *lines, ""]).encode()


TABLES: dict[str, tuple[SourceModule, dict[str, bytes], dict[str, bytes]]] = {
    "csv of phantom": (phantom, IMAGES, {"labels.csv": _table("file,patient,label,group", _PHANTOM)}),
    "csv of folder": (folder, IMAGES, {"labels.csv": _table("\ufefffile;label;patient;split", _FOLDER)}),
    "csv of rsna": (
        rsna,
        {f"{rsna.IMAGES}/{number}.dcm": b"" for number in range(4)},
        {
            rsna.LABELS: _table("patientId,x,y,width,height,Target", _LABELS),
            rsna.CLASSES: _table("patientId,class", _CLASSES),
        },
    ),
}
"""Source, images, tables."""


@cache
def kinds() -> dict[str, bytes]:
    """The valid images, and the names of the tables and archives, which are made for each case."""
    return valid_files() | dict.fromkeys([*TABLES, "zip stored", "zip deflated"], b"")


def outcome(kind: str, number: int) -> str:
    """Damage a file of a kind with the damage of that number, read it, and say what became of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            if kind in TABLES:
                return _read_table(kind, number)
            if kind.startswith("zip"):
                return _read_zip(kind, number)
            grey, _ = decode_with_facts(damaged(kinds()[kind], f"{kind} {number}"))
        except Rejected as rejected:
            return str(rejected.reason)
        except UserError:
            return "a sentence"
    assert grey.ndim == 2
    assert grey.dtype == "uint8"
    return "picture"


def _read_table(kind: str, number: int) -> str:
    source, images, tables = TABLES[kind]
    changed = {name: _damaged_table(content, f"{kind} {number}") for name, content in tables.items()}
    with tempfile.TemporaryDirectory() as place:
        path = Path(place, "a.zip")
        path.write_bytes(_zip(images | changed, zipfile.ZIP_STORED))
        archive = Archive(path)
        for record in source.read_records(archive):
            archive.checksum(record.file)  # every record has a file
    return "records"


def _damaged_table(content: bytes, seed: str) -> bytes:
    """Damage of bytes, or of cells: dropped, repeated, exchanged, quoted, made long or strange."""
    dice = random.Random(seed)
    if dice.random() < 0.5:
        return damaged(content, seed)
    lines = content.split(b"\n")
    cells = [line.split(b",") for line in lines]
    for _ in range(dice.choice((1, 1, 2, 5))):
        line = dice.choice(cells)
        at = dice.randrange(len(line))
        match dice.randrange(7):
            case 0:
                del line[at]
                line.extend([b""] * (not line))
            case 1:
                line.insert(at, line[at])
            case 2:
                line[at] = dice.choice(dice.choice(cells))
            case 3:
                line[at] = dice.choice((b'"', b"\0", b"\r", b"", b"nan", b"../../x", b"=1+1", b"\xff\xfe"))
            case 4:
                line[at] = b"9" * dice.choice((30, 200_000))
            case 5:
                cells.insert(dice.randrange(len(cells)), list(line))
            case 6:
                cells.remove(line)
                cells.extend([[b""]] * (not cells))
    return b"\n".join(b",".join(line) for line in cells)


def _read_zip(kind: str, number: int) -> str:
    whole = _whole_zip(zipfile.ZIP_STORED if kind == "zip stored" else zipfile.ZIP_DEFLATED)
    dice = random.Random(f"{kind} {number}")
    # The directory is at the end, and little of all bytes.
    start = dice.choice((0, len(whole) - 1000))
    content = whole[:start] + damaged(whole[start:], f"{kind} {number}")
    with tempfile.TemporaryDirectory() as place:
        path = Path(place, "a.zip")
        path.write_bytes(content)
        archive = Archive(path)
        rejected = 0
        for record in phantom.read_records(archive):
            try:
                decode_with_facts(archive.read(record.file))
            except (Rejected, UserError):
                rejected += 1
    return "pictures, some rejected" if rejected else "pictures"


@cache
def _whole_zip(compression: int) -> bytes:
    images = {**IMAGES, "images/3.png": dicom(RAMP_8), "images/2.png": raster(RAMP_8, "JPEG")}
    return _zip(images | TABLES["csv of phantom"][2], compression)


def _zip(contents: dict[str, bytes], compression: int) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", compression) as zip_file:
        for name, content in contents.items():
            zip_file.writestr(zipfile.ZipInfo(name), content, compression)
    return written.getvalue()


def outcomes(numbers: Iterable[int], wanted: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Outcomes of all cases: kind, and what became of it; a hang or a crash is "HANGS" or "CRASHES"."""
    runner = Isolated()
    try:
        for kind in wanted:
            for number in numbers:
                try:
                    yield kind, runner.call(outcome, kind, number)
                except TimedOutError:
                    yield kind, f"HANGS at {number}"
                except CrashedError:
                    yield kind, f"CRASHES at {number}"
                except MemoryError:
                    yield kind, f"wants more than {MEMORY_BYTES} bytes at {number}"
                except Exception as error:  # noqa: BLE001  a bug is what this is looking for
                    yield kind, f"{type(error).__name__.upper()} at {number}: {error}"
        peak = round(runner.call(peak_mib))
        yield "all", f"peak memory {peak} MiB" + (", TOO MUCH" if peak > PEAK_MIB else "")
    finally:
        runner.close()


def use_limits() -> None:
    """Give the process of every case the limits of this file."""
    isolation._PROGRAM = f"from pneumonia.imaging.isolation import serve; serve({SECONDS}, {MEMORY_BYTES})"


def is_fault(result: str) -> bool:
    """Whether an outcome is none of those that are allowed."""
    return any(word.isupper() and len(word) > 3 for word in result.split()) or "wants" in result


def main(count: int, *case: str) -> int:
    """Run and print a table; return the exit status."""
    use_limits()
    wanted, numbers = list(kinds()), range(-(-count // len(kinds())))
    if case:
        wanted, numbers = [case[0]], range(int(case[1]), int(case[1]) + 1)
    counts = Counter(outcomes(numbers, wanted))
    for (kind, result), number in sorted(counts.items()):
        print(f"{kind:22} {result:28} {number:6,}")
    faults = sum(number for (_, result), number in counts.items() if is_fault(result))
    print(f"{counts.total() - 1:,} files, {faults} faults")
    return int(faults > 0)


if __name__ == "__main__":
    from tests.fuzz import main  # under the name by which the other process knows it

    sys.exit(main(int(sys.argv[1]), *sys.argv[2:]))
