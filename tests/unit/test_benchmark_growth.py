import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks import growth
from benchmarks.growth import STAGES, Figures, measure, slopes
from benchmarks.small_films import draw_small_file
from pneumonia.imaging.decode import decode
from pneumonia.sources.phantom.cohort import deal_cohort


def figures(images: int) -> Figures:
    return {name: {"seconds": 0.001 * images, "peak_mib": 200 + 0.002 * images} for name in STAGES}


def test_twice_the_images_in_four_times_the_time_is_an_exponent_of_two() -> None:
    sizes = {"1000": figures(1000), "2000": figures(2000)}
    assert slopes(sizes)["split"] == {
        "exponent_of_time": 1.0,
        "seconds_for_1000_more": 1.0,
        "mib_for_1000_more": 2.0,
    }
    sizes["2000"]["split"]["seconds"] = 4.0
    assert slopes(sizes)["split"]["exponent_of_time"] == 2.0


def test_it_writes_after_each_number_and_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[int] = []

    def run_all(images: int) -> Figures:
        ran.append(images)
        if images == 4000:
            raise KeyboardInterrupt
        return figures(images)

    monkeypatch.setattr(growth, "run_all", run_all)
    path = tmp_path / "growth.json"
    with pytest.raises(KeyboardInterrupt):
        measure([1000, 2000, 4000], path)
    assert json.loads(path.read_text())["sizes"].keys() == {"1000", "2000"}
    assert cv2.imread(str(path.with_suffix(".png"))) is not None
    monkeypatch.setattr(growth, "run_all", lambda images: ran.append(images) or figures(images))
    found = measure([1000, 2000, 4000], path)
    assert ran == [1000, 2000, 4000, 4000]
    assert {"machine", "versions", "between_the_two_largest"} <= found.keys()


def test_a_small_film_is_a_small_film() -> None:
    films = [decode(draw_small_file(film, 0), frontal_only=False) for film in deal_cohort(16, 0)[:4]]
    assert all(50 < side < 80 for film in films for side in film.shape)
    assert all(np.std(film) > 10 for film in films)
