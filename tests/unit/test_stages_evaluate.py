"""The stages after training on images and models that no metric likes: defined metrics or a sentence."""

import json
import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logit

import stages.evaluate
import stages.gallery
from pneumonia import paths
from pneumonia.classes import CLASSES
from pneumonia.errors import UserError
from pneumonia.network.build import build
from pneumonia.network.description import NetworkDescription
from pneumonia.network.weights import save_weights
from pneumonia.params import Params, load_params
from pneumonia.split_table import write_split
from pneumonia.store import INDEX_COLUMNS, write_images
from pneumonia.summary import summarise
from pneumonia.writing import write_metrics, write_table

ROOT = Path(__file__).parents[2]
SIZE = 32
PARAMS = load_params(ROOT / "params.yaml")


@dataclass(frozen=True)
class Part:
    """The images of validation or test: a label, a patient's number and a probability each."""

    labels: list[int]
    patients: list[int]
    probabilities: list[float]


def part(labels: list[int], probability: float = 0.5) -> Part:
    """Each image of a patient of its own, all with the same probability."""
    return Part(labels, list(range(len(labels))), [probability] * len(labels))


probabilities = st.one_of(
    st.sampled_from([0.0, 1.0, 0.5, 0.3, 1e-9, 1 - 1e-9, 0.4999999, 0.296500]), st.floats(0, 1)
)
parts = st.integers(1, 7).flatmap(
    lambda n: st.builds(
        Part,
        st.one_of(st.lists(st.integers(0, 1), min_size=n, max_size=n), st.just([0] * n), st.just([1] * n)),
        st.one_of(st.lists(st.integers(0, 2), min_size=n, max_size=n), st.just([0] * n)),
        st.one_of(st.lists(probabilities, min_size=n, max_size=n), probabilities.map(lambda p: [p] * n)),
    )
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A repository with a network whose weights are zero, as the working directory."""
    before, folder = Path.cwd(), tmp_path_factory.mktemp("repository")
    os.chdir(folder)
    module = build("test_resnet", 2, SIZE)
    for parameter in module.parameters():
        torch.nn.init.zeros_(parameter)
    save_weights(
        paths.WEIGHTS,
        module,
        NetworkDescription(arch="test_resnet", outputs=2, size=SIZE, mean=0.5, std=0.25),
    )
    yield folder
    os.chdir(before)


def params(rule: str = "youden", **settings: Any) -> Params:
    changes: dict[str, Any] = {"threshold_rule": rule, "bootstrap": 100, **settings}
    return PARAMS.model_copy(
        update={
            "device": "cpu",
            "precision": "fp32",
            "threads": 1,
            "evaluate": PARAMS.evaluate.model_copy(update=changes),
        }
    )


def write_inputs(val: Part, test: Part) -> None:
    """Packed images, index and split; the patients of validation are none of the test's."""
    rows = [
        (split, label, f"{split} {patient}", probability)
        for split, images in (("val", val), ("test", test))
        for label, patient, probability in zip(
            images.labels, images.patients, images.probabilities, strict=True
        )
    ]
    names = [f"{number:03}.png" for number in range(len(rows))]
    table = {
        **{column: [""] * len(rows) for column in INDEX_COLUMNS},
        "file": names,
        "label": [CLASSES[label] for _, label, _, _ in rows],
        "patient": [patient for _, _, patient, _ in rows],
        "group": ["a group" if number % 3 else "" for number in range(len(rows))],
        "sha256": names,
        "pixels_sha256": names,
        "height": [SIZE] * len(rows),
        "width": [SIZE] * len(rows),
    }
    index = pd.DataFrame(table)
    paths.INDEX.parent.mkdir(parents=True, exist_ok=True)
    index.to_csv(paths.INDEX, index=False)
    images = np.random.default_rng(0).integers(0, 256, (len(rows), SIZE, SIZE), dtype=np.uint8)
    write_images(paths.IMAGES, images, SIZE)
    write_split(paths.SPLIT, index, pd.Series([split for split, *_ in rows]))


def evaluate(val: Part, test: Part, rule: str, *, real: bool = False, **settings: Any) -> dict[str, Any]:
    """Run the stage; with `real` the network predicts, else the probabilities of the parts are taken."""
    write_inputs(val, test)
    predicted = np.array([*val.probabilities, *test.probabilities])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stages.evaluate, "record_evaluation", lambda *_: None)
        if not real:
            patch.setattr(stages.evaluate, "predict_logits", lambda *_, **__: logit(predicted))
        stages.evaluate.evaluate(params(rule, **settings))
    return read_strictly(paths.EVALUATE_METRICS)


def read_strictly(path: Path) -> dict[str, Any]:
    """A metrics file, of which `dvc metrics diff` can compare every value."""

    def refuse(word: str) -> NoReturn:
        raise AssertionError(f"{word} in {path}")

    loaded: dict[str, Any] = json.loads(path.read_text("utf-8"), parse_constant=refuse)
    for value in leaves(loaded):
        assert isinstance(value, int | float | str)
        assert isinstance(value, str) or math.isfinite(value)
    return loaded


def leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for inner in value.values():
            yield from leaves(inner)
    else:
        yield value


def check(metrics: dict[str, Any], labels: list[int]) -> None:
    """What must be defined is there, what cannot be is not, and all of it is in its range."""
    both = len(set(labels)) == 2
    assert ("auroc" in metrics) == ("auroc_ci95" in metrics) == ("balanced_accuracy" in metrics) == both
    assert ("sensitivity" in metrics) == ("sensitivity_ci95" in metrics) == (1 in labels)
    assert ("specificity" in metrics) == ("specificity_ci95" in metrics) == (0 in labels)
    assert {"n", "loss", "accuracy", "accuracy_ci95", "precision", "f1", "brier", "ece"} <= metrics.keys()
    assert metrics["n"] == len(labels) == sum(metrics["confusion"].values())
    for name, value in metrics.items():
        if isinstance(value, dict) and name != "confusion":
            assert 0 <= value["low"] <= value["high"] <= 1, name
        elif name not in ("n", "confusion", "loss"):
            assert 0 <= value <= 1, name
    assert 0 <= metrics["loss"] < 16.2  # nats, of a probability of 1e-7


@settings(max_examples=60)
@given(val=parts, test=parts, rule=st.sampled_from(["youden", "sensitivity", "fixed"]))
def test_metrics_are_defined_or_refused_in_a_sentence(place: Path, val: Part, test: Part, rule: str) -> None:
    needed = {"youden": {0, 1}, "sensitivity": {1}, "fixed": set()}[rule]
    if not needed <= set(val.labels):
        with pytest.raises(UserError, match=r"validation split has no (normal|pneumonia) image.*\.$"):
            evaluate(val, test, rule)
        return
    metrics = evaluate(val, test, rule)
    check(metrics["val"], val.labels)
    check(metrics["test"], test.labels)
    assert "n" in next(iter(metrics["groups"]["test"].values()))
    for table in paths.CURVES.glob("*.csv"):
        cells = pd.read_csv(table)
        assert not cells.isna().to_numpy().any(), table
        assert np.isfinite(cells.select_dtypes("number").to_numpy()).all(), table
    assert len(list(paths.CURVES.glob("*.csv"))) == 5


@pytest.mark.parametrize(
    ("labels", "rule"), [([0, 1, 1, 0], "youden"), ([1, 1, 1], "sensitivity"), ([0], "fixed"), ([1], "fixed")]
)
def test_a_constant_network_from_the_stage_to_the_report(place: Path, labels: list[int], rule: str) -> None:
    metrics = evaluate(part(labels), part(labels), rule, real=True)
    assert set(pd.read_csv(paths.PREDICTIONS)["probability"]) == {0.5}
    check(metrics["test"], labels)
    assert metrics["test"].get("auroc", 0.5) == 0.5
    assert metrics["test"]["threshold"] == 0.5
    write_what_the_report_reads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stages.gallery, "record_gallery", lambda *_: None)
        stages.gallery.gallery(params(rule))
    page = re.sub(r"base64,[^\"]*", "", paths.REPORT.read_text("utf-8"))
    assert not re.search(r"\b(nan|inf)\b", page)
    assert "nan" not in summarise(metrics, rule, paths.REPORT)


def write_what_the_report_reads() -> None:
    """What the stages before would have written."""
    for name in ("data", "train"):
        committed = json.loads((ROOT / "metrics" / f"{name}.json").read_text("utf-8"))
        write_metrics(
            Path("metrics", f"{name}.json"), committed | ({"best_epoch": 0} if name == "train" else {})
        )
    names = ("lr", "train_loss", "val_loss", "train_accuracy", "val_accuracy", "val_auroc")
    write_table(paths.HISTORY, pd.DataFrame({"epoch": [0], **dict.fromkeys(names, 0.5)}))


def test_a_network_that_gives_no_numbers_is_refused(place: Path) -> None:
    broken = Part([0, 1], [0, 1], [0.5, math.nan])
    for method in ("none", "platt"):
        with pytest.raises(UserError, match=r"probabilities that are not numbers"):
            evaluate(broken, part([0, 1]), "youden", calibration=method)


INFORMED = Part([0, 0, 0, 1, 1, 1], [0, 1, 2, 3, 4, 5], [0.1, 0.7, 0.6, 0.9, 0.5, 0.95])


@pytest.mark.parametrize("method", ["temperature", "platt"])
def test_a_calibration_is_written_where_it_is_read_and_leaves_the_ranks_alone(
    place: Path, method: str
) -> None:
    plain = evaluate(INFORMED, INFORMED, "youden")
    assert "calibration" not in plain
    assert "calibration" not in json.loads(paths.MODEL_CARD.read_text("utf-8"))
    probability = pd.read_csv(paths.PREDICTIONS)["probability"]
    metrics = evaluate(INFORMED, INFORMED, "youden", calibration=method)
    line = metrics["calibration"]
    assert json.loads(paths.MODEL_CARD.read_text("utf-8"))["calibration"] == line
    expected = 1 / (1 + np.exp(-line["slope"] * logit(probability) - line["intercept"]))
    found = pd.read_csv(paths.PREDICTIONS)["probability"]
    np.testing.assert_allclose(found, expected, atol=2e-6)
    assert metrics["test"]["auroc"] == plain["test"]["auroc"]
    assert metrics["val"]["loss"] != plain["val"]["loss"]


def test_the_calibration_does_not_see_the_test_images(place: Path) -> None:
    one = evaluate(INFORMED, part([0, 1, 1], 0.9), "youden", calibration="platt")
    other = evaluate(INFORMED, part([1, 0, 0], 0.2), "youden", calibration="platt")
    assert one["calibration"] == other["calibration"]


def test_flips_reach_the_network_and_the_card(place: Path) -> None:
    asked: list[bool] = []

    def predict_logits(*_: Any, flips: bool, **__: Any) -> np.ndarray:
        asked.append(flips)
        return np.zeros(12)

    write_inputs(INFORMED, INFORMED)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stages.evaluate, "record_evaluation", lambda *_: None)
        patch.setattr(stages.evaluate, "predict_logits", predict_logits)
        for flips in (True, False):
            stages.evaluate.evaluate(params(flips=flips))
            assert json.loads(paths.MODEL_CARD.read_text("utf-8")).get("flips", False) == flips
    assert asked == [True, False]
