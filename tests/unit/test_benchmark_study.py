from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import study
from benchmarks.changed_films import CHANGES, changed
from pneumonia.params import load_params
from pneumonia.training.loop import TrainingData

PARAMS = load_params(Path(study.ROOT, "params.yaml"))


def films(count: int, side: int) -> Any:
    smooth = np.linspace(30, 220, side, dtype=np.float64)
    dice = np.random.default_rng(1)
    return np.clip(smooth + dice.normal(0, 8, (count, side, side)), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("name", CHANGES)
def test_each_change_is_one_and_always_the_same(name: str) -> None:
    before = films(2, 48)
    after = changed(before, CHANGES[name])
    assert after.shape == before.shape
    assert after.dtype == np.uint8
    assert np.abs(after.astype(int) - before).mean() > 0.5
    np.testing.assert_array_equal(after, changed(before, CHANGES[name]))


@pytest.mark.parametrize("name", study.VARIANTS)
def test_each_variant_passes_the_schema_and_says_its_own(name: str) -> None:
    training = study.settings(PARAMS.training, study.VARIANTS[name])
    assert training.arch == study.VARIANTS[name].get("arch", study.BASE["arch"])
    assert training.augment.contrast == study.VARIANTS[name]["augment"]["contrast"]


def test_figures_are_those_of_the_threshold() -> None:
    label = np.array([0, 0, 1, 1])
    probability = np.array([0.3, 0.6, 0.55, 0.9])
    assert study.figures(label, probability, 0.5) == {
        "auroc": 0.75,
        "balanced_accuracy": 0.75,
        "sensitivity": 1.0,
        "specificity": 0.5,
    }


def test_a_study_writes_means_over_the_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "ROOT", tmp_path)
    labels = np.arange(16) % 2
    data = TrainingData(films(32, 32), np.arange(16), labels, np.arange(16, 32), labels, 0.5, 0.2)
    params = study.settings(PARAMS.training, {"arch": "test_resnet", "epochs": 1, "augment": study.STILL})
    found = study.study(params, PARAMS.evaluate, data)
    assert found["changed"].keys() == CHANGES.keys()
    mean = np.mean([of["auroc"] for of in found["changed"].values()])
    assert found["changed, mean"]["auroc"] == pytest.approx(mean, abs=1e-4)
    assert not any((tmp_path / ".resume").glob("*"))
