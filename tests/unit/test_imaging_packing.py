import errno
import hashlib
import os
import random
import threading
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import cv2
import joblib
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from pneumonia.classes import Label
from pneumonia.errors import UserError
from pneumonia.imaging import isolation, packing
from pneumonia.imaging.equalise import equalise
from pneumonia.imaging.packing import pack
from pneumonia.imaging.rejection import Reason
from pneumonia.params import load_params
from pneumonia.sources.archive import Archive
from pneumonia.sources.pseudonyms import NO_PSEUDONYMS, Pseudonyms
from pneumonia.sources.record import Box, Record
from pneumonia.store import INDEX_COLUMNS, open_images, read_index
from tests.unit.imaging_files import dicom

SIZE = 64
PREPROCESS = load_params(Path(__file__).parents[2] / "params.yaml").preprocess.model_copy(
    update={"size": SIZE}
)


def picture(seed: int, height: int = SIZE, width: int = SIZE) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)


def png(pixels: NDArray[np.uint8]) -> bytes:
    return bytes(cv2.imencode(".png", pixels)[1])


def label_of(number: int) -> Label:
    return "pneumonia" if number % 2 else "normal"


class Case:
    """Twelve images in an archive, their records, and the outputs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.contents = {f"set/{number:02d}.png": png(picture(number)) for number in range(12)}
        self.records = [
            Record(file, label_of(number), f"patient{number}", "test", "group")
            for number, file in enumerate(self.contents)
        ]
        self.images = folder / "out" / "images.npy"
        self.index = folder / "out" / "index.csv"
        self.rejected = folder / "out" / "rejected.csv"

    def pack(
        self,
        *,
        max_rejected: float = 0.0,
        workers: int = 1,
        records: list[Record] | None = None,
        damage: Callable[[bytes], bytes] = bytes,
        pseudonyms: Pseudonyms = NO_PSEUDONYMS,
        **preprocess: Any,
    ) -> None:
        path = self.folder / "images.zip"
        with zipfile.ZipFile(path, "w") as zip_file:
            for name, content in self.contents.items():
                zip_file.writestr(name, content)
        path.write_bytes(damage(path.read_bytes()))
        pack(
            Archive(path),
            self.records if records is None else records,
            PREPROCESS.model_copy(update={"max_rejected": max_rejected, **preprocess}),
            self.images,
            self.index,
            self.rejected,
            pseudonyms=pseudonyms,
            workers=workers,
        )

    @property
    def outputs(self) -> list[str]:
        return sorted(path.name for path in self.images.parent.iterdir())

    @property
    def rejections(self) -> list[list[str]]:
        table = pd.read_csv(self.rejected, dtype=str)
        assert list(table.columns) == ["file", "reason", "detail"]
        return [list(row) for row in table[["file", "reason"]].to_numpy()]


@pytest.fixture(autouse=True)
def _decoders_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoding processes are started once for all tests: each takes half a second."""
    monkeypatch.setattr(packing, "close_idle", lambda: None)


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def test_row_and_image_belong_together(case: Case) -> None:
    case.contents["set/05.png"] = png(picture(5, 2 * SIZE, 3 * SIZE))
    case.pack()
    images, index = open_images(case.images), read_index(case.index)
    assert images.shape == (12, SIZE, SIZE)
    assert tuple(index.columns) == INDEX_COLUMNS
    for number in (0, 11):
        np.testing.assert_array_equal(images[number], picture(number))
    row = index.iloc[11]
    assert row["file"] == "set/11.png"
    assert row["label"] == "pneumonia"
    assert row["patient"] == "patient11"
    assert row["official_split"] == "test"
    assert row["group"] == "group"
    assert row["sha256"] == hashlib.sha256(case.contents["set/11.png"]).hexdigest()
    assert row["pixels_sha256"] == hashlib.sha256(picture(11).tobytes()).hexdigest()
    assert list(index.loc[5, ["height", "width"]]) == [2 * SIZE, 3 * SIZE]
    assert index.loc[5, "pixels_sha256"] == hashlib.sha256(images[5].tobytes()).hexdigest()
    assert case.rejected.read_bytes() == b"file,reason,detail\n"
    assert case.outputs == ["images.npy", "index.csv", "rejected.csv"]


@pytest.mark.parametrize("method", ["histogram", "clahe"])
def test_what_is_stored_and_digested_is_the_equalised_image(
    case: Case, method: Literal["histogram", "clahe"]
) -> None:
    case.pack(equalise=method)
    images, index = open_images(case.images), read_index(case.index)
    for number, image in enumerate(images):
        np.testing.assert_array_equal(image, equalise(picture(number), method))
        assert not np.array_equal(image, picture(number))
        assert index.loc[number, "pixels_sha256"] == hashlib.sha256(image.tobytes()).hexdigest()


def test_names_with_commas_and_quotes_survive(case: Case) -> None:
    name = 'set/a "b", ü.png'
    case.contents[name] = png(picture(99))
    case.pack(records=[*case.records, Record(name, "normal", "p,1")])
    row = read_index(case.index).set_index("file").loc[name]
    assert row["patient"] == "p,1"
    assert row["official_split"] == row["group"] == ""


def test_neither_order_nor_workers_change_a_byte(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "TASK_BYTES", 2 * SIZE**2)  # six tasks
    case.contents["set/03.png"] = b"broken"
    outputs = (case.images, case.index, case.rejected)
    case.pack(max_rejected=0.1)
    expected = [path.read_bytes() for path in outputs]
    random.Random(1).shuffle(case.records)
    case.contents = dict(reversed(case.contents.items()))
    case.pack(max_rejected=0.1, workers=2)
    assert [path.read_bytes() for path in outputs] == expected


def test_what_cannot_be_used_is_set_aside(case: Case) -> None:
    case.contents["set/04.png"] = b"no image at all"
    damaged = case.contents["set/07.png"][-40:]
    case.pack(max_rejected=0.2, damage=lambda content: content.replace(damaged, damaged[::-1]))
    assert case.rejections == [["set/04.png", "not_an_image"], ["set/07.png", "unreadable"]]
    index = read_index(case.index)
    assert len(index) == len(open_images(case.images)) == 10
    assert not {"set/04.png", "set/07.png"} & set(index["file"])
    np.testing.assert_array_equal(open_images(case.images)[4], picture(5))


def test_too_many_rejections_stop_the_run_and_are_listed(case: Case) -> None:
    case.pack()
    for number in (2, 3, 8):
        case.contents[f"set/{number:02d}.png"] = b"no image at all"  # of both labels, which is no matter
    case.contents["set/09.png"] = case.contents["set/09.png"][:100]
    with pytest.raises(UserError) as caught:
        case.pack(max_rejected=0.25)
    message = str(caught.value)
    assert "4 of 12 images cannot be used" in message
    assert "preprocess.max_rejected (0.25)" in message
    assert "3 not_an_image" in message
    assert str(case.rejected) in message
    assert [file for file, _ in case.rejections] == [f"set/{number:02d}.png" for number in (2, 3, 8, 9)]
    assert case.outputs == ["rejected.csv"]


def test_the_allowed_fraction_is_still_allowed(case: Case) -> None:
    for number in (2, 3, 8):
        case.contents[f"set/{number:02d}.png"] = b"no image at all"
    case.pack(max_rejected=0.25)
    assert len(read_index(case.index)) == 9


def test_one_content_with_two_labels_is_rejected_wherever_it_is(case: Case) -> None:
    case.contents["set/01.png"] = case.contents["set/06.png"] = case.contents["set/10.png"]
    case.contents["set/02.png"] = case.contents["set/04.png"]  # one label: allowed
    case.pack(max_rejected=0.5)
    assert case.rejections == [
        ["set/01.png", "label_conflicting"],
        ["set/06.png", "label_conflicting"],
        ["set/10.png", "label_conflicting"],
    ]
    index = read_index(case.index).set_index("file")
    assert index.loc["set/02.png", "sha256"] == index.loc["set/04.png", "sha256"]


def test_conflicting_labels_count_as_rejected(case: Case) -> None:
    case.contents["set/01.png"] = case.contents["set/06.png"]
    with pytest.raises(UserError, match=r"2 of 12 images .* 2 label_conflicting, for example set/01.png"):
        case.pack(max_rejected=0.1)


def test_images_without_one_label_are_set_aside_and_count(case: Case) -> None:
    case.contents["set/04.png"] = case.contents["set/05.png"]  # unlabelled: contradicts nobody
    case.records[4] = Record("set/04.png", None, "", fault="label_missing")
    case.records[9] = Record("set/09.png", None, "", fault="label_conflicting")
    case.pack(max_rejected=0.2)
    assert case.rejections == [["set/04.png", "label_missing"], ["set/09.png", "label_conflicting"]]
    assert len(read_index(case.index)) == 10
    with pytest.raises(UserError, match="2 of 12 images cannot be used"):
        case.pack(max_rejected=0.1)


def test_boxes_go_along_with_their_image(case: Case) -> None:
    case.contents["set/05.png"] = png(picture(5, 2 * SIZE, 4 * SIZE))
    boxes = (Box(40, 20, 60, 30), Box(0, 0, 400, 8))
    case.records[5] = replace(case.records[5], boxes=boxes)
    case.pack()
    index = read_index(case.index)
    assert index.loc[5, "boxes"] == "10 10 15 15;0 0 64 4"
    assert set(index.drop(index=5)["boxes"]) == {""}


def test_the_header_tells_the_patient_where_the_source_does_not(case: Case) -> None:
    case.contents["set/00.png"] = dicom(picture(0), PatientID="MRN 17")
    case.contents["set/01.png"] = dicom(picture(1), PatientID="MRN 17")
    case.contents["set/02.png"] = dicom(picture(2))
    case.contents["set/03.png"] = dicom(picture(3), PatientID="MRN 18")
    case.records[:5] = [replace(record, patient="") for record in case.records[:5]]
    case.records[3] = replace(case.records[3], patient="of the source")
    case.pack()
    patients = list(read_index(case.index)["patient"])
    assert patients[:5] == ["MRN 17", "MRN 17", "set/02.png", "of the source", "set/04.png"]


def test_pseudonyms_replace_names_and_their_order(case: Case) -> None:
    case.contents["set/03.png"] = b"no image at all"
    case.contents["set/07.png"] = case.contents["set/06.png"]  # under two labels
    case.contents["set/00.png"] = dicom(picture(0), PatientID="MRN 17")
    case.records[0] = replace(case.records[0], patient="")
    case.records[1] = replace(case.records[1], patient="")
    names = Pseudonyms(bytes(32))
    case.pack(max_rejected=0.3, pseudonyms=names)
    index, images = read_index(case.index), open_images(case.images)
    assert list(index["file"]) == sorted(index["file"])
    assert [file for file, _ in case.rejections] == sorted(
        names.of_file(f"set/{number:02d}.png") for number in (3, 6, 7)
    )
    for number in (0, 1, 2, 11):
        file = f"set/{number:02d}.png"
        (row,) = np.flatnonzero(index["file"] == names.of_file(file))
        np.testing.assert_array_equal(images[row], picture(number))
        known = {0: "MRN 17", 1: file}.get(number, f"patient{number}")
        assert index.loc[row, "patient"] == names.of_patient(known, file)
    for path in (case.index, case.rejected):
        text = path.read_text()
        assert not any(word in text for word in ("set/", "MRN", "patient0", "patient11"))


def test_a_class_without_images_is_refused(case: Case) -> None:
    with pytest.raises(UserError, match="No image of the class normal is left"):
        case.pack(records=[record for record in case.records if record.label == "pneumonia"])
    assert case.outputs == ["rejected.csv"]


def test_no_record_at_all_is_refused(case: Case) -> None:
    with pytest.raises(UserError, match="holds no labelled image"):
        case.pack(records=[])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk_is_one_sentence_and_leaves_nothing(
    case: Case, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    def fill(path: Path, images: Iterable[NDArray[np.uint8]], size: int) -> int:
        path.write_bytes(next(iter(images)).tobytes())
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(packing, "write_images", fill)
    monkeypatch.setattr(packing, "TASK_BYTES", SIZE**2)
    with pytest.raises(UserError, match=r"no space left in .* for images.npy"):
        case.pack(workers=workers)
    assert case.outputs == []


def test_an_interruption_leaves_nothing(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(path: Path, images: Iterable[NDArray[np.uint8]], size: int) -> int:
        path.write_bytes(next(iter(images)).tobytes())
        raise KeyboardInterrupt

    monkeypatch.setattr(packing, "write_images", interrupt)
    with pytest.raises(KeyboardInterrupt):
        case.pack()
    assert case.outputs == []


HOSTILE = """
import ctypes, os, signal
from pneumonia.imaging import packing
from pneumonia.imaging.isolation import serve
decode = packing.decode_with_facts
def hostile(content, *args, **keywords):
    if content == b"hang":
        ctypes.PyDLL(None).sleep(600)  # C code that does not give back the interpreter's lock
    if content == b"crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if content == b"killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if content == b"greedy":
        bytearray(2**34)
    if content == b"bug":
        raise ZeroDivisionError("a bug of ours")
    return decode(content, *args, **keywords)
packing.decode_with_facts = hostile
serve(1.0, 2 * 2**30)
"""
POSIX_ONLY = pytest.mark.skipif(os.name != "posix", reason="signals and address space limits are POSIX's")


@pytest.fixture
def _hostile(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    isolation.close_idle()
    monkeypatch.setattr(isolation, "_PROGRAM", HOSTILE)
    yield
    isolation.close_idle()


@POSIX_ONLY
@pytest.mark.usefixtures("_hostile")
@pytest.mark.parametrize("workers", [1, 2])
def test_a_hang_a_crash_and_greed_cost_one_image_each(case: Case, workers: int) -> None:
    case.contents["set/03.png"] = b"hang"
    case.contents["set/04.png"] = b"crash"
    case.contents["set/08.png"] = b"greedy"
    case.pack(max_rejected=0.25, workers=workers)
    assert case.rejections == [
        ["set/03.png", "timeout"],
        ["set/04.png", "unreadable"],
        ["set/08.png", "too_large"],
    ]
    assert len(read_index(case.index)) == 9
    np.testing.assert_array_equal(open_images(case.images)[3], picture(5))


@POSIX_ONLY
@pytest.mark.usefixtures("_hostile")
def test_a_process_that_is_killed_is_one_sentence_and_leaves_nothing(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "TASK_BYTES", SIZE**2)
    case.contents["set/03.png"] = b"killed"
    with pytest.raises(UserError, match="A decoding process was killed"):
        case.pack(max_rejected=1, workers=2)
    assert case.outputs == []


@POSIX_ONLY
@pytest.mark.usefixtures("_hostile")
def test_what_nobody_foresaw_costs_one_image_and_is_told_by_its_type(case: Case) -> None:
    case.contents["set/03.png"] = b"bug"
    case.pack(max_rejected=0.1)
    assert case.rejections == [["set/03.png", "unreadable"]]
    assert case.rejected.read_text().splitlines()[1].endswith(",the decoder failed (ZeroDivisionError)")
    assert len(read_index(case.index)) == 11


def test_what_fails_after_decoding_costs_one_image_too(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise cv2.error("of a patient's film")

    monkeypatch.setattr(packing, "to_square", fail)
    case.pack()  # in processes of their own, which are as they were
    outcome = packing._decode_one(
        Archive(case.folder / "images.zip").member("set/00.png"), case.records[0], PREPROCESS
    )
    assert outcome == packing.Rejection("set/00.png", Reason.UNREADABLE, "the decoder failed (error)")


def test_an_archive_that_cannot_be_read_is_no_image_s_fault(case: Case, tmp_path: Path) -> None:
    case.pack()
    member = Archive(case.folder / "images.zip").member("set/00.png")
    with pytest.raises(UserError, match="is missing"):
        packing._decode_one(replace(member, archive=tmp_path / "gone.zip"), case.records[0], PREPROCESS)
    with pytest.raises((OSError, UserError)):  # a folder: what is raised depends on the system
        packing._decode_one(replace(member, archive=tmp_path), case.records[0], PREPROCESS)


def test_results_do_not_pile_up_behind_a_slow_one(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "TASK_BYTES", SIZE**2)  # twelve tasks
    monkeypatch.setattr(packing, "TASKS_AHEAD", 2)
    decode, done, done_meanwhile = packing._decode_chunk, [], []
    others_stopped = threading.Event()  # because there is no room, or nothing left to do

    class WatchedRoom(packing.Room):
        def enter(self, number: int) -> None:
            if not self.has_place(number):
                others_stopped.set()
            super().enter(number)

    def slow(archive: Archive, records: Sequence[Record], *rest: Any) -> list[Any]:
        if records[0].file == "set/00.png":
            others_stopped.wait()
            done_meanwhile.extend(done)
        results = decode(archive, records, *rest)
        done.append(records[0].file)
        if len(done) == 11:
            others_stopped.set()
        return results

    monkeypatch.setattr(packing, "Room", WatchedRoom)
    monkeypatch.setattr(packing, "_decode_chunk", slow)
    case.pack(workers=2)
    assert len(done) == 12
    assert len(done_meanwhile) == 3  # room for four, one of them is the slow one's


def test_no_process_is_left_behind(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "close_idle", isolation.close_idle)
    case.pack(workers=2)
    assert not isolation._idle


@pytest.mark.filterwarnings("ignore")
def test_a_dask_cluster_gives_the_same_bytes(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    distributed = pytest.importorskip("distributed", reason="dask is not installed")
    monkeypatch.setattr(packing, "TASK_BYTES", 2 * SIZE**2)  # six tasks
    case.contents["set/03.png"] = b"broken"
    outputs = (case.images, case.index, case.rejected)
    case.pack(max_rejected=0.1)
    expected = [path.read_bytes() for path in outputs]
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster),
        joblib.parallel_backend("dask"),
    ):
        case.pack(max_rejected=0.1, workers=-1)
    assert [path.read_bytes() for path in outputs] == expected
