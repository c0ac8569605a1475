"""Golden values are worked out by hand from five images, at the threshold 0.5."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pneumonia.evaluation.metrics import calibration_bins, expected_calibration_error, point_metrics

LABEL = np.array([0, 0, 1, 1, 1])
PROBABILITY = np.array([0.1, 0.6, 0.4, 0.8, 0.6])


def test_every_metric_of_five_images() -> None:
    metrics = point_metrics(LABEL, PROBABILITY, 0.5, bins=2)
    log_likelihood = math.log(0.9) + math.log(0.4) + math.log(0.4) + math.log(0.8) + math.log(0.6)
    assert metrics.pop("confusion") == {"tn": 1, "fp": 1, "fn": 1, "tp": 2}
    assert metrics == pytest.approx(
        {
            "n": 5,
            "threshold": 0.5,
            "loss": -log_likelihood / 5,
            "accuracy": 3 / 5,
            "balanced_accuracy": 7 / 12,
            "auroc": 4.5 / 6,  # of six pairs four are in order, one is tied
            "auprc": (1 + 2 / 3 + 3 / 4) / 3,
            "sensitivity": 2 / 3,
            "specificity": 1 / 2,
            "precision": 2 / 3,
            "f1": 2 / 3,
            "accuracy_normal": 1 / 2,
            "accuracy_pneumonia": 2 / 3,
            "brier": (0.01 + 0.36 + 0.36 + 0.04 + 0.16) / 5,
            "ece": 2 / 5 * abs(0.25 - 1 / 2) + 3 / 5 * abs(2 / 3 - 2 / 3),
        },
        abs=1e-12,
    )


def test_the_threshold_itself_is_positive() -> None:
    assert point_metrics(LABEL, PROBABILITY, 0.6, 2)["confusion"] == {"tn": 1, "fp": 1, "fn": 1, "tp": 2}
    assert point_metrics(LABEL, PROBABILITY, 0.600001, 2)["confusion"] == {"tn": 2, "fp": 0, "fn": 2, "tp": 1}


def test_a_certain_mistake_costs_sixteen_nats() -> None:
    metrics = point_metrics(np.array([0, 1]), np.array([1.0, 1.0]), 0.5, 10)
    assert metrics["loss"] == pytest.approx(-math.log(1e-7) / 2, abs=1e-6)


def test_normal_images_alone() -> None:
    metrics = point_metrics(np.array([0, 0]), np.array([0.2, 0.9]), 0.5, 10)
    absent = {"sensitivity", "accuracy_pneumonia", "balanced_accuracy", "auroc", "auprc"}
    assert not absent & set(metrics)
    assert metrics["specificity"] == metrics["accuracy_normal"] == metrics["accuracy"] == 0.5
    assert metrics["precision"] == metrics["f1"] == 0
    assert metrics["brier"] == pytest.approx((0.04 + 0.81) / 2)


def test_pneumonia_images_alone() -> None:
    metrics = point_metrics(np.array([1, 1]), np.array([0.2, 0.9]), 0.5, 10)
    absent = {"specificity", "accuracy_normal", "balanced_accuracy", "auroc", "auprc"}
    assert not absent & set(metrics)
    assert metrics["sensitivity"] == metrics["accuracy_pneumonia"] == metrics["accuracy"] == 0.5
    assert metrics["brier"] == pytest.approx((0.64 + 0.01) / 2)


def test_equal_scores_are_a_coin_toss() -> None:
    metrics = point_metrics(LABEL, np.full(5, 0.3), 0.5, 10)
    assert metrics["auroc"] == 0.5
    assert metrics["auprc"] == pytest.approx(3 / 5)
    assert metrics["precision"] == 0  # nothing is predicted positive
    assert metrics["balanced_accuracy"] == 0.5
    assert metrics["ece"] == pytest.approx(0.3)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 10)), min_size=1, max_size=12),
    st.integers(0, 10),
    st.integers(2, 20),
)
@pytest.mark.filterwarnings("error")
def test_no_metric_is_ever_nan(images, threshold, bins) -> None:
    label, tenths = (np.array(column) for column in zip(*images, strict=True))
    metrics = point_metrics(label, tenths / 10, threshold / 10, bins)
    counts = metrics.pop("confusion")
    assert sum(counts.values()) == metrics["n"] == len(images)
    assert all(math.isfinite(value) for value in metrics.values())
    assert all(0 <= value <= 1 for name, value in metrics.items() if name not in ("n", "loss"))


@pytest.mark.parametrize(
    ("label", "probability"),
    [([0, 1], [0.5, math.nan]), ([0, 1], [0.5, 1.1]), ([0, 2], [0.5, 0.5]), ([0], [0.5, 0.5]), ([], [])],
)
def test_impossible_values_are_refused(label, probability) -> None:
    with pytest.raises(ValueError, match=r"must be|expected|at least one"):
        point_metrics(np.array(label, dtype=int), np.array(probability, dtype=float), 0.5, 10)


def test_bins_close_on_the_right_and_empty_ones_are_left_out() -> None:
    table = calibration_bins(np.array([0, 1, 1, 1]), np.array([0.0, 0.5, 0.500001, 1.0]), 2)
    assert table.to_dict("list") == {
        "predicted": pytest.approx([0.25, 0.7500005]),
        "observed": [0.5, 1.0],
        "n": [2, 2],
    }
    assert calibration_bins(np.array([0, 1]), np.array([0.05, 0.95]), 10)["n"].tolist() == [1, 1]


def test_calibrated_scores_have_no_calibration_error() -> None:
    label = np.array([0, 0, 0, 1, 1, 1, 1, 0])
    assert expected_calibration_error(label, np.repeat([0.25, 0.75], 4), 4) == pytest.approx(0)
