"""What `make repro` prints at its end."""

from pathlib import Path
from typing import Any

from pneumonia.summary import summarise


def test_metrics_stand_side_by_side_and_what_is_not_defined_is_a_dash(tmp_path: Path) -> None:
    val: dict[str, Any] = {
        "n": 12,
        "accuracy": 0.75,
        "auroc": 0.8125,
        "sensitivity": 1.0,
        "specificity": 0.5,
        "f1": 0.8,
    }
    val["confusion"] = {"tn": 3, "fp": 3, "fn": 0, "tp": 6}
    test = {**val, "n": 20, "threshold": 0.25, "accuracy_ci95": {"low": 0.5, "high": 0.9}}
    del test["auroc"]
    lines = summarise({"val": val, "test": test}, "youden", tmp_path / "report.html").splitlines()
    assert [line.split() for line in lines[1:4]] == [
        ["images", "12", "20"],
        ["accuracy", "0.750", "0.750", "0.500", "to", "0.900"],
        ["AUROC", "0.812", "-"],
    ]
    assert "Threshold 0.250, chosen on validation." in lines
    assert any((tmp_path / "report.html").as_uri() in line for line in lines)


def test_a_fixed_threshold_is_not_said_to_be_chosen(tmp_path: Path) -> None:
    split = {"n": 12, "threshold": 0.5}
    assert "Threshold 0.500, fixed in params.yaml." in summarise(
        {"val": split, "test": split}, "fixed", tmp_path / "report.html"
    )


def test_a_threshold_that_nothing_speaks_for_is_not_said_to_be_chosen(tmp_path: Path) -> None:
    split = {"n": 12, "threshold": 0.5, "confusion": {"tn": 0, "fp": 6, "fn": 0, "tp": 6}}
    assert "Threshold 0.500, because on validation no threshold was better than chance." in summarise(
        {"val": split, "test": split}, "youden", tmp_path / "report.html"
    )
