import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from pneumonia.errors import UserError
from pneumonia.sources import pneumoniamnist
from pneumonia.sources.archive import Archive
from tests.unit.source_examples import make_zip, source_params

COUNTS = {"train": 5, "val": 3, "test": 4}


def arrays() -> dict[str, np.ndarray]:
    made = {}
    for split, count in COUNTS.items():
        rng = np.random.default_rng(count)
        made[f"{split}_images"] = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        made[f"{split}_labels"] = (np.arange(count, dtype=np.uint8) % 2)[:, np.newaxis]
    return made


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "given.npz"
    np.savez_compressed(path, **arrays())
    monkeypatch.setitem(pneumoniamnist.MD5, 28, hashlib.md5(path.read_bytes()).hexdigest())
    return path


def test_every_array_becomes_a_file_of_its_pixels(tmp_path: Path, given: Path) -> None:
    params = source_params("pneumoniamnist", path="given.npz", pneumoniamnist_size=28)
    for name in ("one.zip", "other.zip"):
        pneumoniamnist.fetch(params, tmp_path / name, tmp_path)
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "other.zip").read_bytes()
    archive = Archive(tmp_path / "one.zip")
    records = pneumoniamnist.read_records(archive)
    assert Counter(record.official_split for record in records) == COUNTS
    assert [record.file for record in records] == sorted(record.file for record in records)
    for split, count in COUNTS.items():
        for number in range(count):
            label = "pneumonia" if number % 2 else "normal"
            file = f"{split}/{label}/{number:04d}.png"
            (record,) = (record for record in records if record.file == file)
            assert (record.label, record.patient) == (label, file)
            pixels = cv2.imdecode(np.frombuffer(archive.read(file), np.uint8), cv2.IMREAD_UNCHANGED)
            np.testing.assert_array_equal(pixels, arrays()[f"{split}_images"][number])


def test_another_file_is_refused(tmp_path: Path, given: Path) -> None:
    np.savez(given, **arrays())
    params = source_params("pneumoniamnist", path="given.npz", pneumoniamnist_size=28)
    with pytest.raises(UserError, match=r"is not pneumoniamnist.npz as published: its MD5 is .*_size to the"):
        pneumoniamnist.fetch(params, tmp_path / "out" / "images.zip", tmp_path)
    assert not (tmp_path / "out").exists()


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"source.path is 'no.npz', and there is no file"):
        pneumoniamnist.fetch(source_params("pneumoniamnist", path="no.npz"), tmp_path / "a.zip", tmp_path)


@pytest.mark.parametrize(
    ("size", "name", "md5"),
    [
        (28, "pneumoniamnist.npz", "28209eda62fecd6e6a2d98b1501bb15f"),
        (224, "pneumoniamnist_224.npz", "d6a3c71de1b945ea11211b03746c1fe1"),
    ],
)
def test_the_download_is_checked_and_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, name: str, md5: str
) -> None:
    calls = []

    def download(url: str, target: Path, *others: Any, **named: Any) -> None:
        calls.append((url, others, named))
        target.parent.mkdir(parents=True)
        np.savez(target, **arrays())

    monkeypatch.setattr(pneumoniamnist, "download", download)
    params = source_params("pneumoniamnist", pneumoniamnist_size=size)
    pneumoniamnist.fetch(params, tmp_path / "images.zip", tmp_path)
    cache = tmp_path / ".cache" / "downloads"
    assert calls == [
        (f"https://zenodo.org/records/10519652/files/{name}", (None, None, cache), {"md5": md5}),
    ]
    assert list(cache.iterdir()) == []
    assert len(pneumoniamnist.read_records(Archive(tmp_path / "images.zip"))) == sum(COUNTS.values())


def test_another_archive_is_refused(tmp_path: Path) -> None:
    for number, contents in enumerate([{}, {"a.png": b""}]):
        with pytest.raises(UserError, match="is not made from PneumoniaMNIST"):
            pneumoniamnist.read_records(make_zip(tmp_path / f"{number}.zip", contents))
