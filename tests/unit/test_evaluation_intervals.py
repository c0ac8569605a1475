import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from pneumonia.evaluation import intervals
from pneumonia.evaluation.intervals import patient_intervals

RESAMPLES = 60


def naive(label, probability, patient, threshold, seed):
    """The same resamples, one by one, by lists of images and scikit-learn."""
    rng = np.random.default_rng(seed)
    names = sorted(set(patient))
    values = {"accuracy": [], "auroc": [], "sensitivity": [], "specificity": []}
    for _ in range(RESAMPLES):
        drawn = [names[i] for i in rng.integers(len(names), size=len(names))]
        rows = np.concatenate([np.flatnonzero(patient == name) for name in drawn])
        y, p = label[rows], probability[rows]
        right = (p >= threshold) == (y == 1)
        values["accuracy"].append(right.mean())
        if (y == 1).any():
            values["sensitivity"].append(right[y == 1].mean())
        if (y == 0).any():
            values["specificity"].append(right[y == 0].mean())
        if 0 < y.sum() < len(y):
            values["auroc"].append(roc_auc_score(y, p))
    return {
        name: dict(zip(("low", "high"), np.percentile(series, [2.5, 97.5]), strict=True))
        for name, series in values.items()
        if series
    }


IMAGES = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 8), st.integers(0, 6)), min_size=1, max_size=25)


def arrays(images):
    label, score, patient = (np.array(column) for column in zip(*images, strict=True))
    return label, score / 8, np.array([f"p{number}" for number in patient], dtype=object)


def assert_same(found, expected) -> None:
    assert found.keys() == expected.keys()
    for name, interval in expected.items():
        assert found[name] == pytest.approx(interval, abs=1e-12), name


@settings(max_examples=40, deadline=None)
@given(IMAGES, st.integers(0, 8), st.integers(0, 3))
@pytest.mark.filterwarnings("error")
def test_equal_to_a_loop_over_the_same_resamples(images, threshold, seed) -> None:
    label, probability, patient = arrays(images)
    found = patient_intervals(label, probability, patient, threshold / 8, RESAMPLES, seed)
    assert_same(found, naive(label, probability, patient, threshold / 8, seed))


@pytest.mark.parametrize("at_once", [1, 7, 59, 10_000])
def test_chunks_change_nothing(monkeypatch, at_once) -> None:
    rng = np.random.default_rng(3)
    label, probability = rng.integers(2, size=30), rng.random(30)
    patient = rng.integers(12, size=30).astype(str).astype(object)
    expected = patient_intervals(label, probability, patient, 0.5, RESAMPLES, 1)
    monkeypatch.setattr(intervals, "CELLS_AT_ONCE", at_once * 30)
    assert patient_intervals(label, probability, patient, 0.5, RESAMPLES, 1) == expected


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 1), st.integers(0, 5), st.integers(0, 4)), min_size=2, max_size=20
    ).filter(lambda rows: {label for label, _, weight in rows if weight} == {0, 1})
)
def test_weighted_auroc_is_that_of_scikit_learn(rows) -> None:
    label, score, weight = (np.array(column) for column in zip(*rows, strict=True))
    ranking = intervals._Ranking(label, score / 5, np.arange(len(rows)))
    pairs = weight[label == 1].sum() * weight[label == 0].sum()
    found = ranking.concordant_halves(weight[np.newaxis])[0] / (2 * pairs)
    assert found == pytest.approx(roc_auc_score(label, score, sample_weight=weight))


@settings(deadline=None)
@given(IMAGES)
def test_a_monotone_change_of_scores_changes_nothing(images) -> None:
    label, probability, patient = arrays(images)
    one = patient_intervals(label, probability, patient, 0.5, RESAMPLES, 0)
    assert one == patient_intervals(label, probability**2, patient, 0.25, RESAMPLES, 0)


@settings(deadline=None)
@given(IMAGES, st.randoms(use_true_random=False))
def test_the_order_of_images_changes_nothing(images, random) -> None:
    expected = patient_intervals(*arrays(images), 0.5, RESAMPLES, 0)
    random.shuffle(images)
    assert patient_intervals(*arrays(images), 0.5, RESAMPLES, 0) == expected


def test_copies_of_a_patients_images_add_no_certainty() -> None:
    rng = np.random.default_rng(5)
    label, probability = rng.integers(2, size=40), rng.random(40)
    patient = np.array([f"{number:02d}" for number in range(40)], dtype=object)
    once = patient_intervals(label, probability, patient, 0.5, 500, 0)
    copied = patient_intervals(
        *(np.repeat(values, 5) for values in (label, probability, patient)), 0.5, 500, 0
    )
    assert_same(copied, once)
    # Were the copies taken for patients of their own, the interval would be less than half as wide.
    apart = np.arange(200).astype(str).astype(object)
    narrow = patient_intervals(np.repeat(label, 5), np.repeat(probability, 5), apart, 0.5, 500, 0)
    width = {name: once[name]["high"] - once[name]["low"] for name in once}
    assert all(narrow[name]["high"] - narrow[name]["low"] < width[name] / 1.5 for name in once)


def test_accuracy_agrees_with_the_normal_approximation() -> None:
    n, right = 1000, 850
    probability = np.where(np.arange(n) < right, 0.9, 0.1)
    found = patient_intervals(
        np.ones(n, dtype=int), probability, np.arange(n).astype(str).astype(object), 0.5, 4000, 0
    )
    half = 1.96 * (0.85 * 0.15 / n) ** 0.5
    assert found["accuracy"] == pytest.approx({"low": 0.85 - half, "high": 0.85 + half}, abs=0.002)
    assert found["sensitivity"] == found["accuracy"]


@pytest.mark.parametrize(("label", "absent"), [(0, "sensitivity"), (1, "specificity")])
@pytest.mark.filterwarnings("error")
def test_one_class_leaves_out_what_needs_both(label, absent) -> None:
    patient = np.array(list("abc"), dtype=object)
    found = patient_intervals(np.full(3, label), np.array([0.1, 0.6, 0.9]), patient, 0.5, 100, 0)
    assert set(found) == {"accuracy", "sensitivity", "specificity"} - {absent}


def test_resamples_without_the_class_do_not_count() -> None:
    # One positive image among three patients: it is drawn or not, and when drawn it is found.
    patient = np.array(list("abc"), dtype=object)
    found = patient_intervals(np.array([1, 0, 0]), np.array([0.9, 0.1, 0.2]), patient, 0.5, 200, 0)
    assert found["sensitivity"] == found["auroc"] == {"low": 1.0, "high": 1.0}
