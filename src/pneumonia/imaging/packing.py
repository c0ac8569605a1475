"""From the raw archive to the packed image store: every image read, decoded and squared, on all cores.

What comes out depends on the records only: not on their order, the number of workers or the joblib backend.
"""

import csv
import hashlib
from collections import Counter, defaultdict
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import cv2
import joblib
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from pneumonia.atomic import whole_file
from pneumonia.classes import CLASSES, Label
from pneumonia.errors import UserError
from pneumonia.imaging.decode import decode_with_facts
from pneumonia.imaging.equalise import equalise
from pneumonia.imaging.grey import Rendering
from pneumonia.imaging.identity import read_patient_id
from pneumonia.imaging.isolation import (
    SECONDS,
    CrashedError,
    Isolated,
    TimedOutError,
    close_idle,
    isolated,
)
from pneumonia.imaging.perceptual_hash import perceptual_hash
from pneumonia.imaging.rejection import Reason, Rejected
from pneumonia.imaging.room import Room
from pneumonia.imaging.square import box_in_square, to_square
from pneumonia.params import Preprocess
from pneumonia.sources.archive import Archive, DamagedMemberError, Member
from pneumonia.sources.pseudonyms import NO_PSEUDONYMS, Pseudonyms
from pneumonia.sources.record import Record
from pneumonia.store import INDEX_COLUMNS, write_images

TASK_BYTES = 2**20
"""Of squares that one task returns: enough to hide the cost of a task, little enough to keep memory flat."""
TASKS_AHEAD = 4
"""For each worker, of results that wait for the one before them: else one slow file would let all the others
pile up in memory. On a cluster its own scheduler sees to that."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """A row of rejected.csv."""

    file: str
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class _Packed:
    """A row of index.csv and its image."""

    row: dict[str, str]
    square: NDArray[np.uint8]


def pack(  # noqa: PLR0913  three inputs, three outputs
    archive: Archive,
    records: Sequence[Record],
    preprocess: Preprocess,
    images: Path,
    index: Path,
    rejected: Path,
    *,
    pseudonyms: Pseudonyms = NO_PSEUDONYMS,
    workers: int = -1,
) -> None:
    """Decode the records' images into one array, one table and a table of what could not be used.

    images.npy is uint8 (N, size, size); row i of index.csv, columns `store.INDEX_COLUMNS`, describes image i;
    height and width are those of the decoded image before it was squared. rejected.csv has the columns
    file,reason,detail. All are sorted by file. images and index appear when all is well and not before;
    rejected.csv stands for the reader also when too much was rejected.

    Files of the same content that carry two labels are rejected, all of them; nobody can say which is right.
    With duplicates "reject", of a patient's files of the same content all but the first are rejected.

    Args:
        archive: where the files of the records are.
        records: one an image, in any order.
        preprocess: size, fit, and max_rejected.
        images: the .npy file to make.
        index: the table to make.
        rejected: the table of rejected images to make.
        pseudonyms: what files and patients are called in the tables.
        workers: decoding processes; -1 for one a core. With a joblib backend set, its workers, which must
            see the archive under the same path.

    Raises:
        UserError: there is no record, a larger fraction than max_rejected is rejected, a class is left
            without images, the disk is full, or memory has run out.
    """
    for output in (images, index, rejected):
        output.unlink(missing_ok=True)
    if not records:
        raise UserError(
            f"{archive.path} holds no labelled image; check source.name and source.path in params.yaml."
        )
    # By the new names: the order of the old ones would tell something of them.
    records = sorted(records, key=lambda record: pseudonyms.of_file(record.file))
    conflicting = _conflicting_labels(archive, records)
    name = pseudonyms.of_file
    rejections: list[Rejection] = []
    kept: Counter[str] = Counter()
    seen: set[tuple[str, str, str]] = set()

    def squares(table: "csv.DictWriter[str]") -> Generator[NDArray[np.uint8]]:
        with closing(_decoded(archive, records, preprocess, workers)) as results:
            for result in results:
                if isinstance(result, Rejection):
                    rejections.append(replace(result, file=name(result.file)))
                elif result.row["file"] in conflicting:
                    detail = "another file of the same content carries the other label"
                    rejections.append(Rejection(name(result.row["file"]), Reason.LABEL_CONFLICTING, detail))
                elif (copy := _copy(result.row)) in seen:
                    detail = "a file before it in the table has the same content"
                    rejections.append(Rejection(name(result.row["file"]), Reason.DUPLICATE, detail))
                else:
                    if preprocess.duplicates == "reject":
                        seen.add(copy)
                    kept[result.row["label"]] += 1
                    patient = pseudonyms.of_patient(result.row["patient"], result.row["file"])
                    table.writerow(result.row | {"file": name(result.row["file"]), "patient": patient})
                    yield result.square

    with whole_file(index) as index_part, whole_file(images) as images_part:
        with index_part.open("w", encoding="utf-8", newline="") as file:
            table = csv.DictWriter(file, INDEX_COLUMNS, lineterminator="\n")
            table.writeheader()
            # Closed here, also when the disk is full: at the end of the program it would wait for threads
            # that have ended.
            with closing(squares(table)) as images_of_rows:
                write_images(images_part, images_of_rows, preprocess.size)
        _write_rejections(rejected, rejections)
        _require_enough(kept, rejections, preprocess.max_rejected, rejected)


def _copy(row: Mapping[str, str]) -> tuple[str, str, str]:
    """What makes a file a copy that nobody needs: the same content, of the same patient, of the same split.

    A copy under another patient's name says that the two may be one, and the source's own test set is not
    ours to change: the split keeps these together.
    """
    known = row["patient"] != row["file"]
    return row["sha256"], row["official_split"], row["patient"] if known else ""


def _conflicting_labels(archive: Archive, records: Sequence[Record]) -> set[str]:
    """Return the files whose content is there under the other label too.

    Size and CRC-32 stand in the archive's directory, so that only the few files that agree in them are read.
    """
    checksums = ({archive.checksum(one.file) for one in records if one.label == label} for label in CLASSES)
    doubtful = set.intersection(*checksums)
    same: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if record.label is not None and archive.checksum(record.file) in doubtful:
            with suppress(DamagedMemberError):  # it will be met again, and rejected as damaged
                same[hashlib.sha256(archive.read(record.file)).hexdigest()].append(record)
    conflicts = (group for group in same.values() if len({record.label for record in group}) > 1)
    return {record.file for group in conflicts for record in group}


def _decoded(
    archive: Archive, records: Sequence[Record], preprocess: Preprocess, workers: int
) -> Generator[_Packed | Rejection]:
    """Yield a result for every record, in their order, with a progress bar."""
    size = max(1, min(32, TASK_BYTES // preprocess.size**2))
    starts = range(0, len(records), size)
    count = max(1, min(joblib.effective_n_jobs(workers), len(starts)))
    room = Room(TASKS_AHEAD * count)
    stopped = False

    def decode(number: int, chunk: Sequence[Record]) -> list[_Packed | Rejection]:
        room.enter(number)
        try:
            return _decode_chunk(archive, chunk, preprocess)
        except BaseException:
            room.open()  # the others must not wait for a result that will not be fetched
            raise

    # Threads that wait for a decoding process each; a backend of dask or ray, where one is set, comes first.
    backend, _ = joblib.parallel.get_active_backend(prefer="threads")
    shared = getattr(backend, "supports_sharedmem", False)

    def tasks() -> Iterator[Any]:
        for number, start in enumerate(starts):
            if stopped:
                return
            chunk = records[start : start + size]
            yield (
                joblib.delayed(decode)(number, chunk)
                if shared
                else joblib.delayed(_decode_chunk)(archive, chunk, preprocess)
            )

    chunks = joblib.Parallel(n_jobs=count, prefer="threads", return_as="generator", batch_size=1)(tasks())
    try:
        with tqdm(total=len(records), desc="preprocess", unit="image", disable=None) as bar:
            for results in chunks:
                yield from results
                bar.update(len(results))
                room.take()
    finally:
        # When the caller stops early: the few tasks under way are waited for, because joblib answers an
        # abandoned generator with warnings and a broken pool.
        stopped = True
        room.open()
        for _ in chunks:
            pass
        close_idle()


def _decode_chunk(
    archive: Archive, records: Sequence[Record], preprocess: Preprocess
) -> list[_Packed | Rejection]:
    """The work of one task, in a worker."""
    with isolated() as decoder:
        return [_decode_isolated(decoder, archive, record, preprocess) for record in records]


def _decode_isolated(
    decoder: Isolated, archive: Archive, record: Record, preprocess: Preprocess
) -> _Packed | Rejection:
    try:
        # The archive's directory stays here: each decoding process would hold another.
        return decoder.call(_decode_one, archive.member(record.file), record, preprocess)
    except TimedOutError:
        return Rejection(record.file, Reason.TIMEOUT, f"not decoded within {SECONDS:g} seconds")
    except CrashedError:
        return Rejection(record.file, Reason.UNREADABLE, "the decoder crashed")


def _decode_one(member: Member, record: Record, preprocess: Preprocess) -> _Packed | Rejection:
    """Read, decode and square one image, in a decoding process."""
    cv2.setNumThreads(1)  # the processes are as many as the cores
    if record.label is None:
        return Rejection(record.file, Reason(record.fault), "in the labels of the source")
    try:
        content = member.read()
        with _costing_one_image():
            return _pack_content(content, record, record.label, preprocess)
    except DamagedMemberError:
        return Rejection(record.file, Reason.UNREADABLE, "damaged in the archive")
    except MemoryError:
        return Rejection(record.file, Reason.TOO_LARGE, "more memory is needed than a decoder is given")
    except Rejected as rejected:
        return Rejection(record.file, rejected.reason, rejected.detail)


@contextmanager
def _costing_one_image() -> Iterator[None]:
    """Turn what nobody foresaw into Rejected. For what depends on one file's bytes alone: not for the disk.

    Raises:
        Rejected: something else was raised. Its type alone is told, as its text may repeat a header.
    """
    try:
        yield
    except (Rejected, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001  one strange file must not cost the hours of a run
        raise Rejected(Reason.UNREADABLE, f"the decoder failed ({type(error).__name__})") from None


def _pack_content(content: bytes, record: Record, label: Label, preprocess: Preprocess) -> _Packed:
    """Decode and square one image.

    Raises:
        Rejected: it cannot be used.
    """
    grey, facts = decode_with_facts(
        content,
        _rendering(preprocess),
        frontal_only=preprocess.frontal_only,
        burned_in=preprocess.burned_in == "keep",
    )
    patient = record.patient or read_patient_id(content) or record.file
    square = equalise(to_square(grey, preprocess.size, preprocess.fit), preprocess.equalise)
    square = np.ascontiguousarray(square)
    boxes = [box_in_square(box, grey.shape, preprocess.size, preprocess.fit) for box in record.boxes]
    row = {
        "file": record.file,
        "label": label,
        "patient": patient,
        "official_split": record.official_split,
        "group": record.group,
        "age": "" if facts.age_years is None else str(facts.age_years),
        "sex": facts.sex,
        "view": facts.view,
        "boxes": ";".join(" ".join(map(str, box)) for box in boxes if box),
        "sha256": hashlib.sha256(content).hexdigest(),
        "pixels_sha256": hashlib.sha256(square.data).hexdigest(),
        "phash": perceptual_hash(square),
        "height": str(grey.shape[0]),
        "width": str(grey.shape[1]),
    }
    return _Packed(row, square)


def _rendering(preprocess: Preprocess) -> Rendering:
    low, high = preprocess.percentiles
    return Rendering(preprocess.window_index, preprocess.no_window, (low, high))


def _write_rejections(path: Path, rejections: Sequence[Rejection]) -> None:
    with whole_file(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, [field.name for field in fields(Rejection)], lineterminator="\n")
        table.writeheader()
        table.writerows(asdict(rejection) for rejection in rejections)


def _require_enough(
    kept: Counter[str], rejections: Sequence[Rejection], max_rejected: float, table: Path
) -> None:
    total = kept.total() + len(rejections)
    if len(rejections) > max_rejected * total:
        reasons = Counter(str(rejection.reason) for rejection in rejections).most_common()
        # Most common first; alphabetical among equals, whatever the order of the files.
        reasons.sort(key=lambda item: (-item[1], item[0]))
        common = ", ".join(f"{count:,} {reason}" for reason, count in reasons[:3])
        raise UserError(
            f"{len(rejections):,} of {total:,} images cannot be used, more than preprocess.max_rejected "
            f"({max_rejected:g}) allows: {common}, for example {rejections[0].file}; all are in {table}."
        )
    for label in CLASSES:
        if not kept[label]:
            raise UserError(
                f"No image of the class {label} is left ({len(rejections):,} were rejected, see {table})."
            )
