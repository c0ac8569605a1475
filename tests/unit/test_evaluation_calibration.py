"""Calibration: the line of greatest likelihood, from validation alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from pneumonia.errors import UserError
from pneumonia.evaluation.calibration import SLOPES, fit_calibration
from pneumonia.network.reading import Calibration, Reading

RNG = np.random.default_rng(0)
LOGIT = RNG.normal(1, 3, 20_000)
LABEL = (RNG.random(20_000) < 1 / (1 + np.exp(-0.4 * LOGIT + 0.8))).astype(np.int64)


def fit(label: np.ndarray, logit: np.ndarray, method: str = "platt") -> Calibration:
    found = fit_calibration(label, logit, method)  # type: ignore[arg-type]
    assert found is not None
    return found


def test_the_line_from_which_labels_were_drawn_is_found_again() -> None:
    found = fit(LABEL, LOGIT)
    assert found.slope == pytest.approx(0.4, abs=0.02)
    assert found.intercept == pytest.approx(-0.8, abs=0.05)


def test_it_is_the_logistic_regression() -> None:
    # Of as many images Platt's targets are nearly 0 and 1.
    reference = LogisticRegression(C=1e9).fit(LOGIT[:, None], LABEL)
    found = fit(LABEL, LOGIT)
    assert found.slope == pytest.approx(reference.coef_[0, 0], abs=1e-3)
    assert found.intercept == pytest.approx(reference.intercept_[0], abs=1e-3)
    slope_alone = LogisticRegression(C=1e9, fit_intercept=False).fit(LOGIT[:, None], LABEL)
    found = fit(LABEL, LOGIT, "temperature")
    assert found.slope == pytest.approx(slope_alone.coef_[0, 0], abs=1e-3)
    assert found.intercept == 0


@pytest.mark.parametrize("scale", [1e-3, 0.1, 10])
def test_how_large_the_logits_are_does_not_matter(scale: float) -> None:
    slope = fit(LABEL, scale * LOGIT).slope
    expected = np.clip(fit(LABEL, LOGIT).slope / scale, *SLOPES)
    assert slope == pytest.approx(expected, rel=1e-3)


def test_images_that_are_all_on_their_side_ask_for_no_infinite_slope() -> None:
    label = np.array([0] * 8 + [1] * 18)
    found = fit(label, np.where(label == 1, 2.0, -3.0))
    probability = Reading(calibration=found).probability(np.array([-3.0, 2.0]))
    np.testing.assert_allclose(probability, [1 / 10, 19 / 20], atol=1e-4)  # Platt's targets themselves


def test_a_network_that_is_worse_than_chance_is_not_turned_round() -> None:
    assert fit(1 - LABEL, LOGIT).slope == SLOPES[0]


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 1), st.floats(-50, 50)), min_size=2, max_size=30),
    st.sampled_from(["temperature", "platt"]),
)
def test_whatever_the_logits_the_line_rises(images: list[tuple[int, float]], method: str) -> None:
    both = [(0, 0.0), (1, 0.0), *images]
    label, logit = np.array([image[0] for image in both]), np.array([image[1] for image in both])
    found = fit(label, logit, method)
    assert np.isfinite([found.slope, found.intercept]).all()
    assert SLOPES[0] <= found.slope <= SLOPES[1]
    ordered = Reading(calibration=found).probability(np.sort(logit))
    assert (np.diff(ordered) >= 0).all()


def test_no_method_is_no_line_and_a_missing_class_a_sentence() -> None:
    assert fit_calibration(LABEL, LOGIT, "none") is None
    with pytest.raises(UserError, match=r"no pneumonia image, so evaluate.calibration platt"):
        fit(np.zeros(3, np.int64), np.zeros(3))
    with pytest.raises(UserError, match="no normal image"):
        fit(np.ones(3, np.int64), np.zeros(3))
