"""The packed image store: one uint8 array N x S x S and one table with a row an image.

Three large files instead of one small file an image: DVC hashes, links and copies every tracked file,
and does so again for each experiment in a temporary directory.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pneumonia.errors import UserError

INDEX_COLUMNS = (
    "file",  # path inside the raw archive: the identity of the image in every later table
    "label",  # normal | pneumonia
    "patient",  # all images of one patient share it; the same as `file` where nobody can tell
    "official_split",  # train | val | test as the source gives it, or empty
    "group",  # sub-class for analysis: normal, bacterial, viral, ...
    "age",  # years, from the header; empty where it is not known
    "sex",  # F | M | empty
    "view",  # PA | AP | ... | empty
    "boxes",  # around findings, in pixels of the S x S image: "left top width height", joined by ";"
    "sha256",  # of the file's bytes
    "pixels_sha256",  # of the S x S grey image
    "phash",  # of the S x S grey image: 16 digits that stay nearly the same when it is saved anew
    "height",  # as stored in the file, in pixels
    "width",
)


def write_images(path: Path, images: Iterable[NDArray[np.uint8]], size: int) -> int:
    """Write square grey images one after the other as a .npy array; return how many.

    Args:
        path: the .npy file to make.
        images: arrays of shape (size, size), dtype uint8. How many there are need not be known.
        size: side of the images in pixels.

    Raises:
        ValueError: an image has another shape or dtype.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with path.open("wb") as file:
        header_length = _write_header(file, 0, size)
        for image in images:
            if image.shape != (size, size) or image.dtype != np.uint8:
                raise ValueError(f"expected uint8 of {size} x {size}, got {image.dtype} of {image.shape}")
            file.write(np.ascontiguousarray(image).data)
            count += 1
        file.seek(0)
        # numpy pads the header so that the first axis can grow in place; an overwrite of another
        # length would shift every pixel.
        if _write_header(file, count, size) != header_length:
            raise ValueError("the header of the .npy format changed its length")
    return count


def _write_header(file: BinaryIO, count: int, size: int) -> int:
    header = {"descr": "|u1", "fortran_order": False, "shape": (count, size, size)}
    np.lib.format.write_array_header_1_0(file, header)
    return file.tell()


def open_images(path: Path) -> NDArray[np.uint8]:
    """Map the packed images into memory, read-only: shape (N, S, S), dtype uint8, 0 black, 255 white."""
    images: NDArray[np.uint8] = np.load(path, mmap_mode="r", allow_pickle=False)
    if images.ndim != 3 or images.dtype != np.uint8 or images.shape[1] != images.shape[2]:
        raise UserError(
            f"{path} holds {images.dtype} of {images.shape}, not uint8 of N x S x S; run `dvc repro`."
        )
    return images


def read_index(path: Path) -> pd.DataFrame:
    """Read the index table; row i describes image i. Text columns are text, empty cells are ''."""
    numbers = {"height": "int64", "width": "int64"}
    return pd.read_csv(path, dtype={**dict.fromkeys(INDEX_COLUMNS, "str"), **numbers}, keep_default_na=False)
