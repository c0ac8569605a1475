"""PneumoniaMNIST of MedMNIST: the 5,856 images of ChestXRay2017, cropped to squares of 28 to 224 pixels.

Yang et al. 2023, Scientific Data 10:41, doi 10.1038/s41597-022-01721-8; zenodo.org/records/10519652,
CC BY 4.0. The MD5 digests are those of Zenodo and of the package medmnist (3.0.2, info.py).

One NumPy archive of train_images (uint8, N x S x S), train_labels (uint8, N x 1; 1 is pneumonia) and the same
for val and test: 4,708, 524 and 624 images. Official validation was cut from ChestXRay2017's training set by
image; names and patients are lost.
"""

import hashlib
import re
import zipfile
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from pneumonia.atomic import whole_file
from pneumonia.classes import CLASSES
from pneumonia.errors import UserError
from pneumonia.params import Source
from pneumonia.sources.archive import Archive, add_members
from pneumonia.sources.downloading import download
from pneumonia.sources.record import Record

URL = "https://zenodo.org/records/10519652/files/"
MD5 = {
    28: "28209eda62fecd6e6a2d98b1501bb15f",
    64: "8f4eceb4ccffa70c672198ea285246c6",
    128: "05b46931834c231683c68f40c47b2971",
    224: "d6a3c71de1b945ea11211b03746c1fe1",
}
"""Of the file of each size."""
SPLITS = ("train", "val", "test")

_MEMBER = re.compile(r"(?P<split>train|val|test)/(?P<label>normal|pneumonia)/\d{4}\.png")


def fetch(params: Source, archive: Path, root: Path) -> None:
    """Make `archive` of PNG files, <split>/<label>/<number in the split>.png, from the published arrays.

    Args:
        params: pneumoniamnist_size; path, None for the download.
        archive: the zip archive to make; it appears when it is complete.
        root: of the repository.

    Raises:
        UserError: the file is not the published one, the download failed, or the disk is full.
    """
    size = params.pneumoniamnist_size
    name = "pneumoniamnist.npz" if size == 28 else f"pneumoniamnist_{size}.npz"
    if params.path is not None:
        source = root / Path(params.path).expanduser()
        _check(source, params.path, name, MD5[size])
        _convert(source, archive)
        return
    cache = root / ".cache" / "downloads"
    source = cache / name
    try:
        download(URL + name, source, None, None, cache, md5=MD5[size])
        _convert(source, archive)
    finally:
        source.unlink(missing_ok=True)


def read_records(archive: Archive) -> list[Record]:
    """Return the records, sorted by file, with the official split; no patient is known.

    Raises:
        UserError: the archive is not one that `fetch` made.
    """
    matches = [_MEMBER.fullmatch(name) for name in archive.names()]
    if not matches or None in matches:
        raise UserError(f"{archive.path} is not made from PneumoniaMNIST; run `dvc repro download` again.")
    return [
        Record(
            file=match[0],
            label=CLASSES[CLASSES.index(match["label"])],
            patient=match[0],
            official_split=match["split"],  # type: ignore[arg-type]
        )
        for match in matches
        if match
    ]


def _check(source: Path, given: str, name: str, md5: str) -> None:
    if not source.is_file():
        raise UserError(
            f"source.path is {given!r}, and there is no file {source}; relative paths start at the "
            "repository's root."
        )
    with source.open("rb") as file:
        digest = hashlib.file_digest(file, "md5").hexdigest()
    if digest != md5:
        raise UserError(
            f"{source} is not {name} as published: its MD5 is {digest}, not {md5}; fetch it again from "
            f"{URL}{name}, or set source.pneumoniamnist_size to the size that it has."
        )


def _convert(source: Path, archive: Path) -> None:
    """Write every image as a PNG file; the same bytes from the same arrays."""
    with (
        np.load(source, allow_pickle=False) as arrays,
        whole_file(archive) as part,
        zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as zip_file,
    ):
        for split in SPLITS:
            images: NDArray[np.uint8] = arrays[f"{split}_images"]
            labels = arrays[f"{split}_labels"].ravel()
            numbered = enumerate(zip(images, labels, strict=True))
            for number, (image, label) in tqdm(numbered, split, len(images), unit="image", disable=None):
                content = bytes(cv2.imencode(".png", image)[1])
                add_members(zip_file, {f"{split}/{CLASSES[label]}/{number:04d}.png": content})
