import json
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pneumonia.writing import short, write_metrics, write_table


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.1 + 0.2, 0.3),
        (2 / 3, 0.666667),
        (1e-5, 1e-5),
        (1.23456789e-7, 1.23457e-7),
        (1234.56789012, 1234.56789),
        (0.998765432, 0.998765),
        (0.99912345678901, 0.999123457),
        (1 - 1.23456789e-9, 1 - 1.23457e-9),
        (-1 + 1.23456789e-9, -1 + 1.23457e-9),
        (0.99999, 0.99999),
        (1.0, 1.0),
    ],
)
def test_numbers_are_short(value: float, expected: float) -> None:
    assert short(value) == expected


@given(st.lists(st.floats(-30, 30).map(lambda logit: round(logit, 2)), min_size=2, unique=True))
def test_a_network_that_is_very_sure_keeps_its_order(logits: list[float]) -> None:
    probability = [1 / (1 + math.exp(-logit)) for logit in sorted(logits)]
    shortened = [short(value) for value in probability]
    assert shortened == sorted(shortened)
    assert len(set(shortened)) == len(logits)


def test_minus_zero_becomes_zero() -> None:
    assert str(short(-0.0)) == "0.0"


@settings(deadline=None)
@given(st.floats(-1e6, 1e6))
def test_short_is_near_and_stays_what_it_is(value: float) -> None:
    assert short(value) == pytest.approx(value, rel=1e-5, abs=1e-6)
    assert short(short(value)) == short(value)


def test_metrics_have_one_form_whatever_the_order_and_types(tmp_path) -> None:
    write_metrics(tmp_path / "new" / "a.json", {"b": np.float64(1 / 3), "a": {"y": np.int64(2), "x": "é"}})
    write_metrics(tmp_path / "b.json", {"a": {"x": "é", "y": 2}, "b": 1 / 3})
    written = (tmp_path / "new" / "a.json").read_bytes()
    assert written == (tmp_path / "b.json").read_bytes()
    assert written.decode() == '{\n  "a": {\n    "x": "é",\n    "y": 2\n  },\n  "b": 0.333333\n}\n'


def test_counts_stay_whole_numbers(tmp_path) -> None:
    write_metrics(tmp_path / "a.json", {"n": 11_170_753, "flag": True})
    assert json.loads((tmp_path / "a.json").read_text()) == {"n": 11_170_753, "flag": True}
    assert '"n": 11170753' in (tmp_path / "a.json").read_text()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, np.float32("nan"), None, [1]])
def test_what_dvc_cannot_compare_is_refused_and_named(tmp_path, value) -> None:
    with pytest.raises(ValueError, match=r"metric val\.auroc is"):
        write_metrics(tmp_path / "a.json", {"val": {"auroc": value}})
    assert not (tmp_path / "a.json").exists()


def test_table_is_rounded_with_unix_lines(tmp_path) -> None:
    table = pd.DataFrame({"x": [1 / 3, 1.0], "n": [1, 2], "name": ["a,b", "ü"]})
    write_table(tmp_path / "new" / "t.csv", table)
    assert (tmp_path / "new" / "t.csv").read_bytes() == 'x,n,name\n0.333333,1,"a,b"\n1.0,2,ü\n'.encode()
    assert table.loc[0, "x"] == 1 / 3


@pytest.mark.parametrize("values", [[1.0, math.inf], [math.nan, 1.0], ["a", None]])
def test_table_refuses_empty_and_infinite_cells(tmp_path, values) -> None:
    with pytest.raises(ValueError, match=r"t\.csv"):
        write_table(tmp_path / "t.csv", pd.DataFrame({"x": values}))


def test_table_without_rows_has_its_header(tmp_path) -> None:
    write_table(tmp_path / "t.csv", pd.DataFrame(columns=["x", "y"], dtype=float))
    assert (tmp_path / "t.csv").read_text() == "x,y\n"
