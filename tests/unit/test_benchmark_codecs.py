"""The benchmark of decoders finds ours to agree with the others."""

import pytest

from benchmarks.codecs import SYNTAXES, speeds

ROUNDED_OTHERWISE = {("JPEG, 8 bits", "pydicom, pylibjpeg"), ("JPEG, 12 bits", "pydicom, pylibjpeg")}
"""pylibjpeg-libjpeg, which is not of the lock, has its own rounding of the inverse cosine transform, as the
standard leaves it one (ITU-T T.83)."""


@pytest.mark.parametrize("coding", SYNTAXES)
def test_every_compression_is_read_and_others_see_the_same_pixels(coding: str) -> None:
    found = speeds(coding, side=96, rounds=1)
    assert "ours" in found
    for name, figures in found.items():
        assert figures["largest_difference"] <= ((coding, name) in ROUNDED_OTHERWISE), name
