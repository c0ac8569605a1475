"""Every results file is recomputed from what it was made of; each kind of tampering is found and named."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from verification_examples import change_json, change_table, write_checkout

from pneumonia import paths
from pneumonia.errors import UserError
from pneumonia.verification.outcome import Outcome
from pneumonia.verification.results import (
    check_curves,
    check_data_report,
    check_evaluation,
    check_predictions,
    check_training,
)
from pneumonia.verification.separation import check_separation

ALL = (check_predictions, check_evaluation, check_curves, check_training, check_data_report, check_separation)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("checkout")
    write_checkout(root)
    return root


@pytest.fixture
def root(written: Path, tmp_path: Path) -> Path:
    return shutil.copytree(written, tmp_path / "copy")


def only(outcome: Outcome) -> str:
    (sentence,) = outcome.differences
    return sentence


@pytest.mark.parametrize("check", ALL)
def test_what_the_stages_wrote_differs_in_nothing(root: Path, check: Callable[[Path], Outcome]) -> None:
    outcome = check(root)
    assert outcome.differences == ()
    assert outcome.note


def test_a_metric_that_was_made_better(root: Path) -> None:
    change_json(root / paths.EVALUATE_METRICS, lambda values: values["test"].update(auroc=0.99))
    sentence = only(check_evaluation(root))
    assert sentence.startswith("test.auroc is 0.99 in metrics/evaluate.json, 0.")
    assert sentence.endswith(" in the predictions")


def test_a_metric_in_the_last_digit_is_rounding_and_the_one_before_is_not(root: Path) -> None:
    change_json(root / paths.EVALUATE_METRICS, lambda v: v["test"].update(loss=v["test"]["loss"] + 4e-7))
    assert check_evaluation(root).differences == ()
    change_json(root / paths.EVALUATE_METRICS, lambda v: v["test"].update(loss=v["test"]["loss"] + 4e-6))
    assert "test.loss is " in only(check_evaluation(root))


def test_an_interval_of_a_group_that_was_taken_out(root: Path) -> None:
    change_json(root / paths.EVALUATE_METRICS, lambda v: v["groups"]["test"].pop("viral"))
    differences = check_evaluation(root).differences
    assert "groups.test.viral.n is in the predictions but not in metrics/evaluate.json" in differences


def test_a_subgroup_that_was_made_better(root: Path) -> None:
    change_json(root / paths.SUBGROUPS, lambda v: v["test"]["sex"]["F"].update(auroc=1.0))
    assert only(check_evaluation(root)).startswith("test.sex.F.auroc is 1 in data/predictions/subgroups.json")


def test_an_age_band_that_is_not_the_images(root: Path) -> None:
    change_table(root / paths.PREDICTIONS, lambda table: table.__setitem__("age_band", "0-17"))
    assert only(check_predictions(root)).startswith("age_band differs in ")


def test_two_predictions_that_were_swapped(root: Path) -> None:
    def swap(table):
        test = table[(table["split"] == "test")]
        one = test.index[test["label"] == "normal"][0]
        other = test.index[test["label"] == "pneumonia"][0]
        columns = ["probability", "predicted"]
        table.loc[[one, other], columns] = table.loc[[other, one], columns].to_numpy()

    change_table(root / paths.PREDICTIONS, swap)
    assert any("test.auroc" in sentence for sentence in check_evaluation(root).differences)
    assert any("plots/curves/roc.csv" in sentence for sentence in check_curves(root).differences)


def test_a_class_that_is_not_what_the_threshold_says(root: Path) -> None:
    def change(table):
        table.loc[0, "predicted"] = "normal" if table.loc[0, "predicted"] == "pneumonia" else "pneumonia"

    change_table(root / paths.PREDICTIONS, change)
    assert only(check_evaluation(root)).startswith("1 images are not predicted as their probability and")


def test_a_threshold_that_validation_did_not_choose(root: Path) -> None:
    change_json(root / paths.MODEL_CARD, lambda values: values.update(threshold=0.1))
    assert only(check_evaluation(root)).startswith("the threshold is 0.1 in models/model.json, 0.")


def test_a_calibration_must_be_the_same_in_metrics_and_card(root: Path) -> None:
    line = {"slope": 0.5, "intercept": -1.0}
    change_json(root / paths.MODEL_CARD, lambda values: values.update(calibration=line))
    assert any("calibration" in sentence for sentence in check_evaluation(root).differences)
    change_json(root / paths.EVALUATE_METRICS, lambda values: values.update(calibration=line))
    assert check_evaluation(root).differences == ()
    change_json(root / paths.MODEL_CARD, lambda values: values.pop("calibration"))
    assert any("calibration" in sentence for sentence in check_evaluation(root).differences)


def test_a_label_in_the_predictions_that_is_not_the_images(root: Path) -> None:
    change_table(root / paths.PREDICTIONS, lambda table: table.loc.__setitem__((3, "label"), "other"))
    assert only(check_predictions(root)).startswith("label differs in 1 rows, first in images/")


def test_an_image_that_is_left_out_of_the_predictions(root: Path) -> None:
    change_table(root / paths.PREDICTIONS, lambda table: table.drop(index=2))
    assert "does not list the val and test images" in only(check_predictions(root))


def test_a_point_of_a_curve_that_was_moved(root: Path) -> None:
    path = root / paths.CURVES / "roc.csv"
    change_table(path, lambda table: table.loc.__setitem__((1, "true_positive_rate"), "0.123"))
    assert only(check_curves(root)).startswith(
        "true_positive_rate differs in 1 rows, first in row 2: 0.123 in plots/curves/roc.csv, 0."
    )
    change_table(path, lambda table: table.drop(index=1))
    assert "plots/curves/roc.csv has other rows or columns" in only(check_curves(root))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"val_auroc": 0.9}, "val_auroc is 0.9 in metrics/train.json, 0.8 in plots/history.csv"),
        ({"epochs": 30}, "epochs is 30 in metrics/train.json, 3 in plots/history.csv"),
        ({"best_epoch": 7}, "best_epoch is 7 in metrics/train.json; plots/history.csv has no such epoch"),
        (
            {"best_epoch": 2, "train_loss": 0.5, "val_loss": 0.62, "val_auroc": 0.75},
            "the best epoch is 2 in metrics/train.json, but val_auroc is 0.8 in another row of",
        ),
    ],
)
def test_a_training_that_its_history_does_not_bear_out(
    root: Path, change: dict[str, float], sentence: str
) -> None:
    change_json(root / paths.TRAIN_METRICS, lambda values: values.update(change))
    assert only(check_training(root)).startswith(sentence)


def test_the_last_epoch_where_that_is_kept(root: Path) -> None:
    params = (root / "params.yaml").read_text("utf-8")
    (root / "params.yaml").write_text(params.replace("keep: best", "keep: last"), "utf-8")
    assert only(check_training(root)) == (
        "best_epoch is 1 in metrics/train.json, not the last of plots/history.csv, which params.yaml keeps"
    )
    change_table(root / paths.HISTORY, lambda table: table.drop(index=2))
    change_json(root / paths.TRAIN_METRICS, lambda values: values.update({"epochs": 2}))
    assert check_training(root).differences == ()


def test_a_loss_is_better_when_it_is_lower(root: Path) -> None:
    params = (root / "params.yaml").read_text("utf-8")
    (root / "params.yaml").write_text(params.replace("monitor: val_auroc", "monitor: val_loss"), "utf-8")
    assert check_training(root).differences == ()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda v: v["images"]["test"].update(total=999), "images.test.total is 999 in metrics/data.json"),
        (lambda v: v["patients"].update(total=1), "patients.total is 1 in metrics/data.json"),
        (lambda v: v["rejected"].pop("too_small"), "rejected.too_small is in the data but not in"),
        (lambda v: v.update(archive_sha256="00ff"), "archive_sha256 is 00ff in metrics/data.json"),
        (lambda v: v.update(mean=0.1), "mean is 0.1 in metrics/data.json, 0.4"),
    ],
)
def test_a_count_that_the_data_do_not_bear_out(root: Path, change: Callable, sentence: str) -> None:
    change_json(root / paths.DATA_REPORT, change)
    assert only(check_data_report(root)).startswith(sentence)


def test_grey_levels_that_are_not_those_of_the_training_images(root: Path) -> None:
    change_json(root / paths.STATISTICS, lambda values: values.update(std=0.5))
    assert only(check_data_report(root)).startswith("std is 0.5 in data/split/statistics.json, 0.29")


def test_a_patient_in_two_splits(root: Path) -> None:
    def tear(table):
        table.loc[(table["split"] == "train").idxmax(), "split"] = "test"

    change_table(root / paths.SPLIT, tear)
    with pytest.raises(
        UserError, match=r"The split shares 1 patients between its parts .* in train and test"
    ):
        check_separation(root)


@pytest.mark.parametrize("column", ["sha256", "pixels_sha256"])
def test_an_image_in_two_splits(root: Path, column: str) -> None:
    change_table(root / paths.INDEX, lambda table: table.__setitem__(column, "same"))
    with pytest.raises(UserError, match=r"The split shares 1 identical .* in train and val and test"):
        check_separation(root)


@pytest.mark.parametrize(
    ("path", "check"),
    [
        (paths.PREDICTIONS, check_evaluation),
        (paths.EVALUATE_METRICS, check_evaluation),
        (paths.CURVES / "roc.csv", check_curves),
        (paths.HISTORY, check_training),
        (paths.TRAIN_METRICS, check_training),
        (paths.DATA_REPORT, check_data_report),
        (paths.REJECTED, check_data_report),
        (paths.IMAGES, check_data_report),
        (paths.SPLIT, check_separation),
        (paths.INDEX, check_separation),
    ],
)
@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b'{"a": [', b'a,b\n1,2,3,4\n"5'])
def test_a_damaged_file_is_a_sentence(
    root: Path, path: Path, check: Callable[[Path], Outcome], content: bytes
) -> None:
    (root / path).write_bytes(content)
    try:
        outcome = check(root)
    except UserError as error:
        assert str(path) in str(error)  # noqa: PT017
    else:
        assert outcome.differences


def test_probabilities_that_are_none(root: Path) -> None:
    change_table(root / paths.PREDICTIONS, lambda table: table.__setitem__("probability", "nan"))
    with pytest.raises(UserError, match=r"predictions.csv cannot be read"):
        check_evaluation(root)
