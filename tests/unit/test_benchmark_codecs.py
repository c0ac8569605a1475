"""The benchmark of decoders finds ours to agree with the others."""

import pytest

from benchmarks.codecs import SYNTAXES, speeds


@pytest.mark.parametrize("coding", SYNTAXES)
def test_every_compression_is_read_and_others_see_the_same_pixels(coding: str) -> None:
    found = speeds(coding, side=96, rounds=1)
    assert "ours" in found
    assert all(figures["same_pixels"] for figures in found.values())
