import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pneumonia.gallery.selection import KINDS, Selection, select


def predictions(*rows: tuple[str, str, float], threshold: float = 0.5, split: str = "test") -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=["file", "label", "probability"])
    called = table["probability"].map(
        lambda probability: "pneumonia" if probability >= threshold else "normal"
    )
    return table.assign(split=split, predicted=called)


def files(selection: Selection) -> list[str]:
    return selection.rows["file"].to_list()


def test_the_worst_failures_come_first_and_the_rest_is_counted() -> None:
    table = predictions(
        ("a", "pneumonia", 0.4),
        ("b", "pneumonia", 0.1),
        ("c", "pneumonia", 0.3),
        ("d", "pneumonia", 0.9),
        ("e", "normal", 0.6),
        ("f", "normal", 0.99),
        ("g", "normal", 0.2),
    )
    missed, alarms, _ = select(table, 0.5, worst=2, borderline=0)
    assert (files(missed), missed.total) == (["b", "c"], 3)
    assert (files(alarms), alarms.total) == (["f", "e"], 2)


def test_only_the_test_split_is_shown() -> None:
    table = pd.concat(
        [predictions(("v", "pneumonia", 0.01), split="val"), predictions(("t", "pneumonia", 0.2))]
    )
    assert [files(selection) for selection in select(table, 0.5, 5, 5)] == [["t"], [], ["t"]]


def test_nearest_is_measured_in_log_odds() -> None:
    # From 0.97: log odds 3.48. 0.93 lies 0.89 below; 0.9999 lies 5.7 above, though only 0.03 away.
    table = predictions(("sure", "pneumonia", 0.9999), ("doubtful", "normal", 0.93), threshold=0.97)
    assert files(select(table, 0.97, 1, 1)[2]) == ["doubtful"]


@pytest.mark.parametrize("threshold", [0.0, 1.0, 1.000001])
def test_certain_probabilities_and_extreme_thresholds_have_a_distance(threshold: float) -> None:
    table = predictions(("a", "normal", 0.0), ("b", "normal", 0.5), ("c", "normal", 1.0))
    expected = ["a", "b", "c"] if threshold == 0 else ["c", "b", "a"]
    assert files(select(table, threshold, 1, 3)[2]) == expected


def test_an_empty_table_gives_empty_selections() -> None:
    selections = select(predictions(), 0.5, 3, 3)
    assert [(selection.kind, len(selection.rows), selection.total) for selection in selections] == [
        (kind, 0, 0) for kind in KINDS
    ]


@given(st.permutations(range(6)), st.sampled_from([0.2, 0.8]))
def test_ties_are_in_the_order_of_the_files_whatever_the_order_of_the_rows(
    order: list[int], probability: float
) -> None:
    label = "pneumonia" if probability < 0.5 else "normal"
    rows = [(f"file{number}", label, probability) for number in order]
    rows += [(f"zfile{number}", label, 1 - probability) for number in order]
    missed, alarms, borderline = select(predictions(*rows), 0.5, 4, 12)
    failures = missed if label == "pneumonia" else alarms
    assert files(failures) == ["file0", "file1", "file2", "file3"]
    assert files(borderline) == sorted(name for name, _, _ in rows)


def test_rows_keep_their_index_labels() -> None:
    table = predictions(("b", "pneumonia", 0.1), ("a", "pneumonia", 0.2))
    table.index = pd.Index([70, 71])
    assert list(select(table, 0.5, 2, 2)[0].rows.index) == [70, 71]
