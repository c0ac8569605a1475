import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from pneumonia.errors import UserError
from pneumonia.evaluation.metrics import point_metrics
from pneumonia.evaluation.threshold import choose_threshold, chosen_by, highest_with_sensitivity, youden
from pneumonia.params import Evaluate


def settings(rule: str, threshold: float = 0.5, sensitivity: float = 0.95) -> Evaluate:
    return Evaluate(
        flips=False,
        calibration="none",
        threshold_rule=rule,
        threshold=threshold,
        sensitivity=sensitivity,
        bootstrap=100,
        calibration_bins=10,
        seed=0,
    )


def informedness(label, probability, threshold) -> float:
    predicted = probability >= threshold
    return predicted[label == 1].mean() - predicted[label == 0].mean()


IMAGES = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 12)), min_size=2, max_size=20).filter(
    lambda images: {label for label, _ in images} == {0, 1}
)


def arrays(images):
    label, score = (np.array(column) for column in zip(*images, strict=True))
    return label, score / 12


@given(IMAGES)
def test_a_threshold_is_said_to_be_chosen_where_one_is_better_than_chance(images) -> None:
    label, probability = arrays(images)
    best = max(informedness(label, probability, threshold) for threshold in np.unique(probability))
    threshold = youden(label, probability)
    metrics = point_metrics(label, probability, threshold, 10)
    assert chosen_by("youden", metrics) == ("youden" if best > 1e-9 else "uninformed")
    assert chosen_by("fixed", metrics) == "fixed"


def test_youden_lies_midway_between_the_neighbours() -> None:
    assert youden(np.array([0, 0, 1, 1]), np.array([0.1, 0.3, 0.8, 0.9])) == 0.55


def test_youden_takes_the_widest_of_equally_good_gaps() -> None:
    # J = 1/2 between 0.1 and 0.4, and between 0.6 and 0.7.
    label, probability = np.array([0, 1, 0, 1]), np.array([0.1, 0.4, 0.6, 0.7])
    assert youden(label, probability) == 0.25


def test_youden_is_midway_and_in_the_widest_gap_of_a_network_that_is_very_sure_too() -> None:
    below_one = 1 - np.array([9e-7, 8e-7, 2e-8, 1e-8])
    assert youden(np.array([0, 0, 1, 1]), below_one) == pytest.approx(1 - 4.1e-7, abs=1e-8)
    # J = 1/2 in two gaps, 4e-7 and 1e-8 wide.
    label, probability = np.array([0, 1, 0, 1]), np.array([1e-8, 4.1e-7, 5e-7, 5.1e-7])
    assert 1e-8 < youden(label, probability) <= 4.1e-7


def test_youden_takes_the_highest_of_equally_wide_gaps() -> None:
    # J = 1/2 between 0.1 and 0.2 and between 0.8 and 0.9; as binary fractions the two widths differ.
    label, probability = np.array([0, 1, 0, 1]), np.array([0.1, 0.2, 0.8, 0.9])
    assert youden(label, probability) == 0.85


@pytest.mark.parametrize("probability", [[0.7] * 4, [0.9, 0.8, 0.2, 0.1]], ids=["constant", "reversed"])
def test_youden_without_a_gap_better_than_chance_is_a_half(probability) -> None:
    assert youden(np.array([0, 0, 1, 1]), np.array(probability)) == 0.5


@examples(deadline=None)
@given(IMAGES)
def test_no_threshold_beats_youden(images) -> None:
    label, probability = arrays(images)
    best = max(informedness(label, probability, t) for t in [*np.unique(probability), 2])
    if best > 0:
        assert informedness(label, probability, youden(label, probability)) == pytest.approx(best)


@examples(deadline=None)
@given(IMAGES, st.floats(0.01, 1))
def test_sensitivity_is_reached_and_no_higher_threshold_reaches_it(images, wanted) -> None:
    label, probability = arrays(images)
    threshold = highest_with_sensitivity(label, probability, wanted)
    assert (probability[label == 1] >= threshold).mean() >= wanted
    assert (probability[label == 1] >= np.nextafter(threshold, 2)).mean() < wanted


def test_wanted_sensitivity_that_no_float_can_hold() -> None:
    # 0.07 * 100 is 7.000000000000001 in binary, but seven of a hundred are enough.
    probability = np.arange(100) / 100
    assert highest_with_sensitivity(np.ones(100), probability, 0.07) == 0.93


def test_threshold_stays_between_neighbours_that_almost_touch() -> None:
    for low, high in itertools.pairwise(np.round(np.arange(400_000, 400_020) / 1e6, 6)):
        threshold = youden(np.array([0, 1]), np.array([low, high]))
        assert low < threshold <= high
        assert round(threshold, 6) == threshold


def test_threshold_between_neighbours_beyond_six_digits() -> None:
    low, high = 1 - 2e-9, 1 - 1e-9
    assert low < youden(np.array([0, 1]), np.array([low, high])) <= high


def test_fixed_needs_no_image_and_is_rounded_like_probabilities() -> None:
    nothing = np.array([], dtype=int), np.array([])
    assert choose_threshold(*nothing, settings("fixed", threshold=0.3)) == 0.3
    assert choose_threshold(*nothing, settings("fixed", threshold=0.12345678)) == 0.123457


def test_rules_are_told_apart() -> None:
    label, probability = np.array([0, 0, 1, 1]), np.array([0.1, 0.3, 0.8, 0.9])
    assert choose_threshold(label, probability, settings("youden")) == 0.55
    assert choose_threshold(label, probability, settings("sensitivity", sensitivity=0.5)) == 0.9
    assert choose_threshold(label, probability, settings("sensitivity", sensitivity=0.51)) == 0.8


@pytest.mark.parametrize(
    ("rule", "label", "missing"),
    [
        ("youden", [0, 0], "pneumonia"),
        ("youden", [1, 1], "normal"),
        ("youden", [], "normal"),
        ("sensitivity", [0, 0], "pneumonia"),
        ("sensitivity", [], "pneumonia"),
    ],
)
def test_a_class_that_is_missing_is_named(rule, label, missing) -> None:
    with pytest.raises(UserError, match=f"validation split has no {missing} image.*{rule}"):
        choose_threshold(np.array(label, dtype=int), np.full(len(label), 0.5), settings(rule))


def test_sensitivity_needs_no_normal_image() -> None:
    assert choose_threshold(np.array([1, 1]), np.array([0.2, 0.4]), settings("sensitivity")) == 0.2
