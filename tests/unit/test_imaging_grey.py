"""The greyscale chain against the formulas of DICOM PS3.3 C.11, written out value by value."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pneumonia.imaging.grey import (
    LookupTable,
    Rendering,
    Rescale,
    Stored,
    Transformations,
    Window,
    _varies,
    luminance,
    near_constant,
    percentile,
    to_grey,
)


def linear(x: float, centre: float, width: float) -> float:
    """C.11.2.1.2.1, y from 0 to 1."""
    if x <= centre - 0.5 - (width - 1) / 2:
        return 0
    if x > centre - 0.5 + (width - 1) / 2:
        return 1
    return (x - (centre - 0.5)) / (width - 1) + 0.5


def linear_exact(x: float, centre: float, width: float) -> float:
    """C.11.2.1.3.2, y from 0 to 1."""
    if x <= centre - width / 2:
        return 0
    if x > centre + width / 2:
        return 1
    return (x - centre) / width + 0.5


def sigmoid(x: float, centre: float, width: float) -> float:
    """C.11.2.1.3.1, y from 0 to 1."""
    exponent = -4 * (x - centre) / width
    return 1 / (1 + math.exp(exponent)) if exponent < 700 else 0


FORMULAS = {"LINEAR": linear, "LINEAR_EXACT": linear_exact, "SIGMOID": sigmoid}
VALUES = np.arange(-1100, 3000, dtype=np.float64)


@pytest.mark.parametrize("function", FORMULAS)
@pytest.mark.parametrize(("centre", "width"), [(50, 350), (40.5, 400), (0, 1), (1024, 4096), (-200, 33.3)])
def test_windows_follow_the_standard(function, centre, width):
    expected = [FORMULAS[function](x, centre, width) for x in VALUES]
    np.testing.assert_allclose(Window(centre, width, function).fraction(VALUES), expected, atol=1e-12)


def test_the_standards_own_examples_of_linear():
    """C.11.2.1.2.1 notes 3: c=2048 w=4096 is the identity of 12 bits; w=1 is a threshold."""
    twelve_bits = np.arange(4096, dtype=np.float64)
    np.testing.assert_allclose(Window(2048, 4096).fraction(twelve_bits), twelve_bits / 4095, atol=1e-12)
    assert Window(2048, 1).fraction(np.array([2047.0, 2048.0])).tolist() == [0, 1]
    assert Window(0, 100).fraction(np.array([-50.0, 49.0])).tolist() == [0, 1]


@given(
    function=st.sampled_from(sorted(FORMULAS)),
    centre=st.floats(-1e5, 1e5),
    width=st.floats(1, 1e5),
    values=st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=20),
)
def test_windows_are_monotone_and_bounded(function, centre, width, values):
    fraction = Window(centre, width, function).fraction(np.sort(np.array(values)))
    assert fraction.min() >= 0
    assert fraction.max() <= 1
    assert np.diff(fraction).min() >= -1e-12


@given(st.integers(2, 16), st.booleans(), st.floats(-2000, 2000), st.floats(1, 5000))
def test_monochrome1_is_the_negative_of_monochrome2(bits, signed, centre, width):
    codes = np.linspace(0, 2**bits - 1, 64).astype(np.uint16).reshape(8, 8)
    window = Window(centre, width)
    positive = to_grey(Stored(codes, bits, signed), Transformations(voi=window), Rendering())
    negative = to_grey(Stored(codes, bits, signed), Transformations(voi=window, inverted=True), Rendering())
    assert np.abs(positive.astype(int) + negative - 255).max() <= 1


def test_signed_values_are_twos_complement_in_the_bits_stored():
    codes = np.array([[0, 1, 2047, 2048, 4095]], np.uint16)
    stored = Stored(codes, 12, signed=True)
    assert stored.values()[codes].tolist() == [[0, 1, 2047, -2048, -1]]


def test_order_is_rescale_then_window_then_inversion():
    codes = np.array([[0, 500, 1000, 1500, 2000]], np.uint16)
    transformations = Transformations(Rescale(2.0, -1000.0), Window(1000, 2001), inverted=True)
    expected = [[round(255 * (1 - linear(2 * code - 1000, 1000, 2001))) for code in codes[0].tolist()]]
    assert to_grey(Stored(codes, 12), transformations, Rendering()).tolist() == expected
    assert expected[0][0] == 255
    assert expected[0][-1] == 0


def test_lookup_tables_clamp_at_both_ends():
    table = LookupTable(first=-2, entries=np.array([10.0, 20.0, 30.0]), bits=8)
    assert table.apply(np.array([-100.0, -2.0, -1.0, 0.0, 1.0, 1e6])).tolist() == [10, 10, 20, 30, 30, 30]
    assert table.fraction(np.array([0.0])).tolist() == [30 / 255]


def test_modality_table_feeds_the_voi_table():
    codes = np.array([[0, 1, 2, 3]], np.uint8)
    modality = LookupTable(0, np.array([7.0, 5.0, 3.0, 1.0]), 16)
    voi = LookupTable(1, np.array([0.0, 11, 22, 33, 44, 55, 66.0]), 8)
    grey = to_grey(Stored(codes, 8), Transformations(modality, voi), Rendering())
    assert grey.tolist() == [[66, 44, 22, 0]]


def test_plain_8_bit_values_are_the_picture():
    codes = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert np.array_equal(to_grey(Stored(codes, 8), Transformations(), Rendering()), codes)
    inverted = to_grey(Stored(codes, 8), Transformations(inverted=True), Rendering())
    assert np.array_equal(inverted, 255 - codes)


RAMP = np.arange(1000, 3000, dtype=np.uint16).reshape(40, 50)


def test_without_a_window_percentiles_are_black_and_white():
    grey = to_grey(Stored(RAMP, 12), Transformations(), Rendering(percentiles=(5, 90)))
    low, high = np.percentile(RAMP, [5, 90], method="inverted_cdf")
    expected = np.rint(255 * np.clip((RAMP - float(low)) / float(high - low), 0, 1))
    assert np.array_equal(grey, expected)


def test_without_a_window_the_range_is_black_and_white():
    grey = to_grey(Stored(RAMP, 16), Transformations(), Rendering(no_window="range"))
    assert np.array_equal(grey, np.rint(255 * (RAMP - 1000.0) / 1999))


def test_percentiles_are_of_modality_values():
    falling = to_grey(Stored(RAMP, 12), Transformations(Rescale(-1.5, 80)), Rendering(no_window="range"))
    rising = to_grey(Stored(RAMP, 12), Transformations(), Rendering(no_window="range"))
    assert np.abs(falling.astype(int) + rising - 255).max() <= 1


@pytest.mark.parametrize("inverted", [False, True])
def test_padding_is_black_and_outside_the_percentiles(inverted):
    padded = RAMP.copy()
    padded[:, :20] = 3999
    padded[:, 20:22] = 4001
    transformations = Transformations(padding=(3999, 4001), inverted=inverted)
    grey = to_grey(Stored(padded, 12), transformations, Rendering(no_window="range"))
    unpadded = to_grey(
        Stored(RAMP[:, 22:], 12), Transformations(inverted=inverted), Rendering(no_window="range")
    )
    assert not grey[:, :22].any()
    assert np.array_equal(grey[:, 22:], unpadded)


def test_the_noise_of_an_empty_picture_is_not_stretched():
    noise = np.random.default_rng(0).integers(2000, 2005, (40, 40)).astype(np.uint16)
    assert near_constant(to_grey(Stored(noise, 12), Transformations(), Rendering()))


@given(st.lists(st.integers(0, 255), min_size=1, max_size=300), st.integers(0, 100))
def test_percentile_is_the_inverted_cdf(pixels, q):
    expected = next(v for v in sorted(pixels) if 100 * sum(p <= v for p in pixels) >= q * len(pixels))
    assert percentile(np.arange(256.0), np.bincount(pixels, minlength=256), q) == expected


def test_luminance_is_itu_r_601():
    rng = np.random.default_rng(1)
    rgb = rng.integers(0, 256, (50, 60, 3)).astype(np.uint8)
    exact = rgb @ np.array([0.299, 0.587, 0.114])
    assert np.abs(luminance(rgb, 8) - exact).max() <= 0.501
    primaries = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]], np.uint8)
    assert luminance(primaries, 8).tolist() == [[76, 150, 29, 255]]
    assert luminance(primaries.astype(np.uint16) << 4, 12).tolist() == [[76, 150, 29, 255]]


@pytest.mark.parametrize(
    ("grey", "blank"),
    [
        (np.full((300, 400), 77, np.uint8), True),
        (np.arange(100, dtype=np.uint8).repeat(100).reshape(100, 100), False),
        (np.array([248, 255], np.uint8).repeat(5000).reshape(100, 100), False),
        (np.array([249, 255], np.uint8).repeat(5000).reshape(100, 100), True),
        (np.random.default_rng(0).integers(40, 47, (200, 300)).astype(np.uint8), True),
        (np.random.default_rng(0).integers(40, 48, (200, 300)).astype(np.uint8), False),
    ],
)
def test_near_constant(grey, blank):
    assert near_constant(grey) == blank


@given(
    st.lists(st.tuples(st.integers(0, 255), st.integers(1, 4000)), min_size=1, max_size=6),
    st.integers(0, 2**32),
)
def test_near_constant_goes_by_the_percentiles_of_a_grid(runs, seed):
    levels, counts = zip(*runs, strict=True)
    pixels = np.random.default_rng(seed).permutation(np.repeat(np.array(levels, np.uint8), counts))
    grey = np.resize(pixels, (200, 150))
    in_order = np.sort(grey[::2, ::2], axis=None)
    first, last = (
        int(in_order[next(n for n in range(in_order.size) if n + 1 >= q * in_order.size)])
        for q in (0.01, 0.99)
    )
    assert near_constant(grey) == (last - first < 7)


@pytest.mark.parametrize(("few", "varies"), [(163, False), (164, True)])
def test_some_pixels_are_enough_where_a_hundredth_of_all_is_dark_and_another_bright(few, varies):
    assert _varies(bytes(few * [0] + few * [8]), 128 * 128) == varies
    assert not _varies(bytes(few * [0] + few * [6]), 128 * 128)


@pytest.mark.parametrize(
    "wrong",
    [{"percentiles": (99, 1)}, {"percentiles": (-1, 50)}, {"percentiles": (5, 5)}, {"window_index": -1}],
)
def test_renderings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match=r"must be|ascending"):
        Rendering(**wrong)
