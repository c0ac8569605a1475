"""The packed image store."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pneumonia.errors import UserError
from pneumonia.store import INDEX_COLUMNS, open_images, read_index, write_images


@pytest.mark.parametrize("count", [0, 1, 1234])
def test_images_come_back_as_they_went_in(tmp_path: Path, count: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (count, 16, 16), dtype=np.uint8)
    assert write_images(tmp_path / "images.npy", iter(images), 16) == count
    np.testing.assert_array_equal(open_images(tmp_path / "images.npy"), images)


def test_the_file_is_a_plain_npy_of_the_same_bytes_as_numpy_makes(tmp_path: Path) -> None:
    images = np.arange(2 * 16 * 16, dtype=np.uint8).reshape(2, 16, 16)
    write_images(tmp_path / "ours.npy", images, 16)
    np.save(tmp_path / "numpys.npy", images)
    assert (tmp_path / "ours.npy").read_bytes() == (tmp_path / "numpys.npy").read_bytes()


@pytest.mark.parametrize("image", [np.zeros((16, 15), np.uint8), np.zeros((16, 16), np.uint16)])
def test_another_shape_or_dtype_is_refused(tmp_path: Path, image: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected uint8 of 16 x 16"):
        write_images(tmp_path / "images.npy", [image], 16)


def test_a_file_that_is_no_image_store_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", np.zeros((3, 16, 8), np.uint8))
    with pytest.raises(UserError, match="not uint8 of N x S x S"):
        open_images(tmp_path / "images.npy")


def test_text_stays_text_in_the_index(tmp_path: Path) -> None:
    row = dict.fromkeys(INDEX_COLUMNS, "007") | {"label": "NA", "group": "", "height": 5, "width": 6}
    pd.DataFrame([row]).to_csv(tmp_path / "index.csv", index=False)
    index = read_index(tmp_path / "index.csv")
    assert index.loc[0].to_dict() == row
