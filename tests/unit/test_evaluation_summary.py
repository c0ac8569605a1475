import numpy as np
import pandas as pd
import pytest

from pneumonia.errors import UserError
from pneumonia.evaluation.metrics import point_metrics
from pneumonia.evaluation.summary import evaluate, evaluate_subgroups
from pneumonia.params import Evaluate
from pneumonia.writing import write_metrics

SETTINGS = Evaluate(
    flips=False,
    calibration="none",
    threshold_rule="fixed",
    threshold=0.5,
    sensitivity=0.9,
    bootstrap=200,
    calibration_bins=5,
    seed=0,
)


def predictions() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    label = np.where(rng.random(60) < 0.5, "pneumonia", "normal")
    kind = np.where(rng.random(60) < 0.5, "bacterial", "viral")
    return pd.DataFrame(
        {
            "split": np.where(np.arange(60) < 24, "val", "test"),
            "label": label,
            "patient": [f"p{number // 2}" for number in range(60)],
            "group": np.where(label == "normal", "normal", kind),
            "sex": "",
            "age_band": "",
            "view": "",
            "probability": np.round(rng.random(60), 6),
        }
    )


def test_has_everything_of_both_splits(tmp_path) -> None:
    metrics = evaluate(predictions(), 0.5, SETTINGS)
    assert set(metrics) == {"val", "test", "groups"}
    with_interval = {"accuracy", "auroc", "sensitivity", "specificity"}
    others = {"n", "threshold", "loss", "balanced_accuracy", "auprc", "precision", "f1", "accuracy_normal"}
    others |= {"accuracy_pneumonia", "brier", "ece", "confusion"}
    for split, n in (("val", 24), ("test", 36)):
        assert set(metrics[split]) == with_interval | others | {f"{name}_ci95" for name in with_interval}
        assert metrics[split]["n"] == n
        for name in with_interval:
            interval = metrics[split][f"{name}_ci95"]
            assert interval["low"] <= metrics[split][name] <= interval["high"]
            assert interval["low"] < interval["high"]
    write_metrics(tmp_path / "evaluate.json", metrics)


def test_a_group_of_one_class_names_its_accuracy() -> None:
    table = predictions()
    groups = evaluate(table, 0.5, SETTINGS)["groups"]["test"]
    assert list(groups) == ["bacterial", "normal", "viral"]
    assert set(groups["normal"]) == {"n", "patients", "specificity", "specificity_ci95"}
    assert set(groups["viral"]) == {"n", "patients", "sensitivity", "sensitivity_ci95"}
    normal = table[(table["split"] == "test") & (table["group"] == "normal")]
    assert groups["normal"]["specificity"] == pytest.approx((normal["probability"] < 0.5).mean())
    assert groups["normal"]["n"] == len(normal)
    assert groups["normal"]["patients"] == normal["patient"].nunique() < len(normal)


def test_a_group_of_both_classes_has_an_auroc() -> None:
    table = predictions().assign(group=lambda table: np.where(table.index % 3 == 0, "AP", ""))
    groups = evaluate(table, 0.5, SETTINGS)["groups"]["val"]
    assert list(groups) == ["AP", "unnamed"]
    part = table[(table["split"] == "val") & (table["group"] == "AP")]
    label = (part["label"] == "pneumonia").to_numpy().astype(int)
    expected = point_metrics(label, part["probability"].to_numpy(), 0.5, 5)
    for name in ("accuracy", "sensitivity", "specificity", "auroc"):
        assert groups["AP"][name] == expected[name]
        assert set(groups["AP"][f"{name}_ci95"]) == {"low", "high"}


def test_what_the_headers_say_is_split_by_and_the_rest_is_unknown(tmp_path) -> None:
    numbers = np.arange(60)
    table = predictions().assign(
        sex=np.where(numbers % 3 == 0, "F", ""), age_band=np.where(numbers == 59, "80 and over", "")
    )
    metrics = evaluate_subgroups(table, 0.5, SETTINGS)
    test = metrics["test"]
    assert set(test) == {"sex", "age_band"}
    assert set(metrics["val"]) == {"sex"}
    assert set(test["sex"]) == {"F", "unknown"}
    part = table[(table["split"] == "test") & (table["sex"] == "F")]
    label = (part["label"] == "pneumonia").to_numpy().astype(int)
    assert test["sex"]["F"]["n"] == len(part)
    assert test["sex"]["F"]["pneumonia"] == label.sum()
    assert test["sex"]["F"]["patients"] == part["patient"].nunique()
    expected = point_metrics(label, part["probability"].to_numpy(), 0.5, 5)
    assert test["sex"]["F"]["auroc"] == expected["auroc"]
    # One image: what it does not define is left out.
    alone = {
        "n",
        "pneumonia",
        "patients",
        *(
            ["sensitivity", "sensitivity_ci95"]
            if table["label"][59] == "pneumonia"
            else ["specificity", "specificity_ci95"]
        ),
    }
    assert set(test["age_band"]["80 and over"]) == alone
    write_metrics(tmp_path / "evaluate.json", metrics)


@pytest.mark.parametrize("label", ["normal", "pneumonia"])
def test_one_class_can_be_written(tmp_path, label) -> None:
    write_metrics(tmp_path / "a.json", evaluate(predictions().assign(label=label), 0.5, SETTINGS))


@pytest.mark.parametrize("split", ["val", "test"])
def test_an_empty_split_is_named(split) -> None:
    table = predictions()
    with pytest.raises(UserError, match=f"The {split} split has no image"):
        evaluate(table[table["split"] != split], 0.5, SETTINGS)
