"""Damaged files end as a picture or as a rejection; nothing is printed, warned or raised otherwise."""

import warnings
from collections import Counter

import numpy as np
import pytest

from pneumonia.imaging.decode import decode
from pneumonia.imaging.rejection import Rejected
from tests.unit.imaging_mutations import outcomes, valid_files


def test_the_files_are_valid_before_they_are_damaged():
    for name, content in valid_files().items():
        assert decode(content).std() > 8, name


def test_damage_is_named(capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        counts = Counter(outcome for _, outcome in outcomes(range(24)))
    assert counts.total() == 24 * len(valid_files())
    assert {"picture", "truncated", "unreadable", "not_an_image", "no_pixel_data"} <= counts.keys()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "name", ["native", "deflated", "rle", "jpeg in dicom", "jpeg lossless", "png", "jpeg"]
)
def test_a_cut_file_shows_all_pixels_or_none(name):
    content = valid_files()[name]
    whole = decode(content)
    rejected = 0
    for end in np.linspace(0, len(content) - 1, 60).astype(int):
        try:
            assert np.array_equal(decode(content[:end]), whole)
        except Rejected:
            rejected += 1
    assert rejected > 40


def test_same_bytes_same_picture():
    for content in valid_files().values():
        assert np.array_equal(decode(content), decode(content))
