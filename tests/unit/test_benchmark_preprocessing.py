from pathlib import Path

import cv2
import numpy as np

from benchmarks.decoding import films, jpeg
from benchmarks.preprocessing import DRAWN, OURS, PREPROCESS, PUBLISHED, measure, ours, published, write_files


def test_it_measures_what_it_says_and_asserts_no_time() -> None:
    found = measure(images=2 * DRAWN, published_images=2, side=64, rounds=2)
    assert {"machine", "versions", "files"} <= found.keys()
    assert found["images"] == {OURS: 2 * DRAWN, PUBLISHED: 2}
    for values in (*found["images_a_second"].values(), *found["ours_over"].values()):
        assert 0 < values["smallest"] <= values["median"] <= values["largest"]


def test_both_ways_make_a_square_of_every_file(tmp_path: Path) -> None:
    frames = [jpeg(film, 90) for film in films(3, 256, 256, 3.0)]
    names = write_files(tmp_path, frames, 3, 256)
    target = tmp_path / "processed"
    target.mkdir()
    published(tmp_path, names, target)
    ours(tmp_path, names, target)
    packed = np.load(target / "images.npy")
    assert packed.shape == (3, PREPROCESS.size, PREPROCESS.size)
    for name, square in zip(names, packed, strict=True):
        theirs = cv2.imread(str(target / f"{name}.png"), cv2.IMREAD_GRAYSCALE)
        assert np.corrcoef(theirs.ravel(), square.ravel())[0, 1] > 0.98
