import hashlib
from collections.abc import Callable

import cv2
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from pneumonia.imaging.decode import decode
from pneumonia.imaging.perceptual_hash import perceptual_hash
from pneumonia.imaging.square import to_square
from pneumonia.sources.phantom.cohort import deal_cohort
from pneumonia.sources.phantom.source import draw_file
from pneumonia.splitting import near_duplicates as module
from pneumonia.splitting.near_duplicates import fine_structure, near_duplicates

SIDE = 224
Picture = NDArray[np.uint8]


@pytest.fixture(scope="module")
def films() -> list[Picture]:
    """Sixteen synthetic films of fewer patients, which look alike as real ones do."""
    cohort = deal_cohort(16, 3)
    return [to_square(decode(draw_file(film, 3)), SIDE, "squash") for film in cohort]


def sets_of(pictures: list[Picture]) -> list[int]:
    """Numbers of the sets, counted in the order of their first picture."""
    index = pd.DataFrame(
        {
            "phash": [perceptual_hash(picture) for picture in pictures],
            "pixels_sha256": [hashlib.sha256(picture.tobytes()).hexdigest() for picture in pictures],
        }
    )
    return pd.factorize(near_duplicates(index, np.stack(pictures)))[0].tolist()


def levels(change: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> Callable[[Picture], Picture]:
    table = np.clip(change(np.arange(256) / 255) * 255, 0, 255).astype(np.uint8)
    return lambda picture: cv2.LUT(picture, table)


def saved(quality: int) -> Callable[[Picture], Picture]:
    options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    return lambda picture: cv2.imdecode(cv2.imencode(".jpg", picture, options)[1], cv2.IMREAD_GRAYSCALE)


def halved(picture: Picture) -> Picture:
    small = cv2.resize(picture, (SIDE // 2, SIDE // 2), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)


def noisy(picture: Picture) -> Picture:
    noise = np.random.default_rng(0).normal(0, 4, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    "change",
    [
        saved(90),
        saved(40),
        halved,
        noisy,
        levels(lambda x: x * 0.8 + 0.1),
        levels(lambda x: x + 0.08),
        levels(lambda x: x**0.8),
    ],
    ids=["jpeg 90", "jpeg 40", "halved", "noisy", "contrast", "brightness", "gamma"],
)
def test_the_same_film_again_is_found_and_no_two_films_are_tied(
    films: list[Picture], change: Callable[[Picture], Picture]
) -> None:
    found = sets_of([*films, *map(change, films)])
    assert found == [*range(len(films)), *range(len(films))]


def test_the_limits_are_those_that_are_written_down(films: list[Picture]) -> None:
    assert sets_of([films[0], films[0][:, ::-1].copy()]) == [0, 1]
    assert sets_of([films[0], np.roll(films[0], 6, axis=1)]) == [0, 1]


def test_a_hash_alone_ties_nothing(films: list[Picture], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.unit.test_splitting_near_duplicates.perceptual_hash", lambda _: "0" * 16)
    assert sets_of(films) == list(range(len(films)))


def test_identical_pictures_are_one_set_however_many(films: list[Picture]) -> None:
    assert sets_of([films[0], films[1], *[films[0]] * 300]) == [0, 1, *[0] * 300]


def test_no_images_no_sets() -> None:
    index = pd.DataFrame({"phash": [], "pixels_sha256": []}, dtype=str)
    assert near_duplicates(index, np.zeros((0, 64, 64), np.uint8)).tolist() == []


@pytest.mark.parametrize("at_once", [1, 50, 2**22])
def test_candidates_are_those_of_comparing_all_pairs(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAIRS_AT_ONCE", at_once)
    dice = np.random.default_rng(1)
    seeds = dice.integers(0, 2**63, 30).astype(np.uint64)
    flips = np.array(
        [
            sum(1 << int(bit) for bit in dice.choice(64, dice.integers(0, 12), replace=False))
            for _ in range(300)
        ],
        dtype=np.uint64,
    )
    hashes = np.repeat(seeds, 10) ^ flips
    expected = {
        (i, j)
        for i in range(300)
        for j in range(i + 1, 300)
        if (different := int(hashes[i]) ^ int(hashes[j])).bit_count() <= module.MAX_BITS
        and min((different >> shift) & 255 for shift in range(0, 64, 8)) == 0
    }
    found = [
        (int(one), int(other))
        for first, second in module._candidates(hashes)
        for one, other in zip(first, second, strict=True)
    ]
    assert len(found) == len(set(found))
    assert set(found) == expected
    assert len(expected) > 300


@pytest.mark.parametrize("axes", [1, 64])
def test_a_sketch_costs_no_pair(films: list[Picture], axes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_AXES", axes)
    images = np.stack([cv2.resize(film, (64, 64)) for film in [*films, *map(noisy, films)]])
    rows = np.arange(len(images))
    structures = np.stack([fine_structure(image) for image in images])
    sketches, left_out = module._sketches(images, rows)
    assert sketches.shape == (len(images), min(axes, len(images)))
    most = sketches @ sketches.T + left_out[:, None] * left_out
    assert (most >= structures @ structures.T - module._ROUNDING).all()


def test_the_hash_by_its_definition() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (32, 32), dtype=np.uint8)
    n = np.arange(32)
    # DCT-II, orthonormal, written out.
    basis = np.sqrt(2 / 32) * np.cos(np.pi * (2 * n[None] + 1) * n[:, None] / 64)
    basis[0] /= np.sqrt(2)
    low = (basis @ picture.astype(np.float64) @ basis.T)[:8, :8].ravel()
    bits = ["0", *("1" if value > np.median(low[1:]) else "0" for value in low[1:])]
    assert perceptual_hash(picture) == f"{int(''.join(bits), 2):016x}"


def test_fine_structure_of_nothing_is_nothing() -> None:
    assert not fine_structure(np.full((64, 64), 7, np.uint8)).any()
    assert np.linalg.norm(fine_structure(np.eye(24, dtype=np.uint8) * 200)) == pytest.approx(1)
