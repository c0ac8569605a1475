import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from pneumonia.evaluation.curves import MOST_ROWS, confusion, curves, precision_recall, roc, thresholds
from pneumonia.evaluation.metrics import point_metrics
from pneumonia.evaluation.predictions import predict
from pneumonia.writing import write_table

LABEL = np.array([0, 0, 1, 1, 1])
PROBABILITY = np.array([0.1, 0.6, 0.4, 0.8, 0.6])


def rows(table: pd.DataFrame) -> list[tuple[float, ...]]:
    return [pytest.approx(row) for row in table.itertuples(index=False, name=None)]


def overlapping(n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    label = rng.integers(2, size=n)
    return label, np.round(1 / (1 + np.exp(-rng.normal(1.5 * label - 0.75, 1.0))), 6)


def test_roc_of_five_images() -> None:
    assert rows(roc(LABEL, PROBABILITY)) == [
        (0, 0, 1.000001),
        (0, 1 / 3, 0.8),
        (1 / 2, 2 / 3, 0.6),
        (1 / 2, 1, 0.4),
        (1, 1, 0.1),
    ]


def test_precision_recall_of_five_images() -> None:
    assert rows(precision_recall(LABEL, PROBABILITY)) == [
        (0, 1, 1.000001),
        (1 / 3, 1, 0.8),
        (2 / 3, 2 / 3, 0.6),
        (1, 3 / 4, 0.4),
        (1, 3 / 5, 0.1),
    ]


def test_thresholds_of_five_images() -> None:
    table = thresholds(LABEL, PROBABILITY)
    assert table["threshold"].is_monotonic_increasing
    assert table["threshold"].tolist() == [step / 100 for step in range(81)]  # 0.8 is the highest score
    by_threshold = table.set_index("threshold")
    assert by_threshold.loc[0.0].tolist() == pytest.approx([1, 0, 3 / 5, 3 / 5])
    assert by_threshold.loc[0.4].tolist() == pytest.approx([1, 1 / 2, 3 / 4, 4 / 5])
    assert by_threshold.loc[0.41].tolist() == pytest.approx([2 / 3, 1 / 2, 2 / 3, 3 / 5])
    assert by_threshold.loc[0.8].tolist() == pytest.approx([1 / 3, 1, 1, 3 / 5])


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1000)), min_size=2, max_size=30).filter(
        lambda images: {label for label, _ in images} == {0, 1}
    )
)
def test_thresholds_say_what_the_metrics_say(images) -> None:
    label, score = (np.array(column) for column in zip(*images, strict=True))
    table = thresholds(label, score / 1000)
    for row in table.iloc[:: max(1, len(table) // 5)].to_dict("records"):
        metrics = point_metrics(label, score / 1000, row["threshold"], 10)
        assert row == pytest.approx({name: metrics[name] for name in row})


def test_scores_crowded_at_the_end_of_the_scale_are_resolved() -> None:
    label = np.array([0, 1, 0, 1])
    table = thresholds(label, np.array([0.9991, 0.9992, 0.9993, 0.9994]))
    assert {0.9992, 0.9994} <= set(table["threshold"])


@pytest.mark.parametrize("curve", [roc, precision_recall, thresholds])
@pytest.mark.parametrize("label", [[0, 0], [1, 1], []])
@pytest.mark.filterwarnings("error")
def test_no_rows_where_a_class_is_missing(curve, label) -> None:
    table = curve(np.array(label, dtype=int), np.full(len(label), 0.5))
    assert len(table) == 0
    assert "threshold" in table.columns


@pytest.mark.filterwarnings("error")
def test_equal_scores_give_the_diagonal() -> None:
    assert rows(roc(LABEL, np.full(5, 0.3))) == [(0, 0, 1.000001), (1, 1, 0.3)]
    assert rows(precision_recall(LABEL, np.full(5, 0.3))) == [(0, 1, 1.000001), (1, 0.6, 0.3)]


def test_large_roc_keeps_its_shape() -> None:
    label, probability = overlapping(40_000)
    table = roc(label, probability)
    assert len(table) <= MOST_ROWS
    x, y = table["false_positive_rate"].to_numpy(), table["true_positive_rate"].to_numpy()
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    assert (np.diff(x) >= 0).all()
    assert (np.diff(y) >= 0).all()
    assert np.trapezoid(y, x) == pytest.approx(roc_auc_score(label, probability), abs=2e-5)
    # Seen from the diagonal the curve is a function: no point of the full curve is far from the thinned.
    full_x, full_y, _ = roc_curve(label, probability)
    assert len(full_x) > 5 * MOST_ROWS
    assert np.abs(np.interp(full_x + full_y, x + y, y - x) - (full_y - full_x)).max() < 0.002


def test_large_precision_recall_keeps_its_shape() -> None:
    label, probability = overlapping(40_000)
    table = precision_recall(label, probability)
    assert len(table) <= MOST_ROWS
    assert table.iloc[0, :2].tolist() == [0, 1]
    assert table.iloc[-1, :2].tolist() == pytest.approx([1, label.mean()])
    area = np.sum(np.diff(table["recall"]) * table["precision"].to_numpy()[1:])
    assert area == pytest.approx(average_precision_score(label, probability), abs=1e-3)


def test_thresholds_of_many_images_are_bounded() -> None:
    assert len(thresholds(*overlapping(40_000))) <= MOST_ROWS + 101


def test_confusion_has_a_row_an_image() -> None:
    table = pd.DataFrame({"label": ["normal", "pneumonia"], "probability": [0.7, 0.7]}, index=[4, 2])
    assert confusion(predict(table, 0.7)).to_dict("list") == {
        "actual": ["normal", "pneumonia"],
        "predicted": ["pneumonia", "pneumonia"],
    }


def test_curves_take_the_right_split_and_can_all_be_written(tmp_path) -> None:
    predictions = pd.DataFrame(
        {
            "split": ["val"] * 2 + ["test"] * 5,
            "label": ["normal", "pneumonia"] + [("normal", "pneumonia")[i] for i in LABEL],
            "probability": [0.25, 0.75, *PROBABILITY],
        }
    )
    tables = curves(predict(predictions, 0.5), bins=2)
    assert list(tables) == ["roc", "precision_recall", "calibration", "confusion", "thresholds"]
    assert len(tables["roc"]) == 5
    assert tables["calibration"]["n"].tolist() == [2, 3]
    assert len(tables["confusion"]) == 5
    assert tables["thresholds"]["threshold"].max() == 0.75
    for name, table in tables.items():
        write_table(tmp_path / f"{name}.csv", table)
        assert "inf" not in (tmp_path / f"{name}.csv").read_text()
