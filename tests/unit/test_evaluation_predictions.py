import numpy as np
import pandas as pd
import pytest

from pneumonia.errors import UserError
from pneumonia.evaluation.predictions import (
    PREDICTION_COLUMNS,
    as_positive,
    predict,
    read_predictions,
    tabulate,
)
from pneumonia.writing import write_table


def index(n: int) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "file": [f"f{i}" for i in range(n)],
            "label": ["normal" if i % 2 else "pneumonia" for i in range(n)],
            "patient": [f"{i:03d}" for i in range(n)],
            "group": ["NA" if i else "" for i in range(n)],
            "age": ["" if i % 5 == 0 else str(i % 90) for i in range(n)],
            "sex": ["F" if i % 3 else "" for i in range(n)],
            "view": "AP",
            "height": 1,
        },
        index=range(100, 100 + n),
    )


def test_what_is_read_is_what_was_evaluated(tmp_path) -> None:
    probability = np.random.default_rng(0).random(2000)
    table = predict(tabulate(index(2000), pd.Series(["val", "test"] * 1000), probability), 0.25)
    assert tuple(table.columns) == PREDICTION_COLUMNS
    np.testing.assert_allclose(table["probability"], probability, atol=5.1e-7)
    write_table(tmp_path / "predictions.csv", table)
    pd.testing.assert_frame_equal(
        read_predictions(tmp_path / "predictions.csv"), table, check_exact=True, check_dtype=False
    )


def test_of_the_age_there_is_the_band_alone() -> None:
    table = tabulate(index(100), pd.Series(["val"] * 100), np.full(100, 0.5))
    assert table["age_band"][[0, 1, 17, 18, 39, 41, 59, 61, 79, 81, 89]].tolist() == [
        "",
        "0-17",
        "0-17",
        "18-39",
        "18-39",
        "40-59",
        "40-59",
        "60-79",
        "60-79",
        "80 and over",
        "80 and over",
    ]
    assert (table["sex"][:3].tolist(), set(table["view"])) == (["", "F", "F"], {"AP"})
    assert "age" not in table


def test_the_threshold_itself_is_pneumonia() -> None:
    table = predict(tabulate(index(3), pd.Series(["val"] * 3), np.array([0.2, 0.3, 0.4])), 0.3)
    assert table["predicted"].tolist() == ["normal", "pneumonia", "pneumonia"]


def test_pneumonia_is_one() -> None:
    assert as_positive(pd.Series(["normal", "pneumonia"])).tolist() == [0, 1]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_diverged_network_is_refused(value) -> None:
    with pytest.raises(UserError, match="diverged"):
        tabulate(index(2), pd.Series(["val"] * 2), np.array([0.5, value]))
