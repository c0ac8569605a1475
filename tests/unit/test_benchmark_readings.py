from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import readings, study
from benchmarks.changed_films import CHANGES
from pneumonia.params import load_params
from pneumonia.training.loop import TrainingData

PARAMS = load_params(Path(study.ROOT, "params.yaml"))
LABEL = np.array([0, 0, 0, 1, 1, 1])
ORDERED = np.array([-3.0, -2.0, -1.0, 1.0, 2.0, 3.0])


def films(as_they_are: Any, everything_else: Any) -> dict[str, Any]:
    return {readings.AS_THEY_ARE: as_they_are} | dict.fromkeys(CHANGES, everything_else)


def test_a_shift_of_all_changed_films_costs_specificity_unless_the_threshold_saw_it() -> None:
    shifted = films(ORDERED, ORDERED + 3.5)
    found = {
        name: readings.judged(LABEL, [shifted], rule)
        for name, rule in readings.rules(PARAMS.evaluate).items()
    }
    assert found["youden"]["changed, mean"]["specificity"] == 0.0
    assert found["youden"]["as they are"]["balanced_accuracy"] == 1.0
    both = found["youden, changed films too"]
    assert both["changed, mean"]["specificity"] > 0
    assert both["as they are"]["sensitivity"] < 1


def test_the_films_that_are_judged_do_not_choose_their_threshold() -> None:
    said = {name: np.full(6, 0.5) for name in films(ORDERED, ORDERED)}
    said["grainy"] = np.array([0.9, 0.9, 0.9, 0.95, 0.95, 0.95])
    rule = readings.rules(PARAMS.evaluate)["youden, changed films too"]
    assert rule(LABEL, said, "grainy") == 0.5
    assert rule(LABEL, said, "darker") > 0.9


def test_networks_together_are_read_by_the_mean_of_their_logits() -> None:
    right = {flips: films(4 * ORDERED, 4 * ORDERED) for flips in (False, True)}
    wrong = {flips: films(-ORDERED, -ORDERED) for flips in (False, True)}
    table = readings.readings(LABEL, [right, wrong], PARAMS.evaluate)
    assert table["2 networks"]["youden"]["changed, mean"]["auroc"] == 1.0
    assert table["1 network"]["youden"]["changed, mean"]["auroc"] == 0.5


def test_a_network_is_trained_and_reads_every_film(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "ROOT", tmp_path)
    labels = np.arange(16) % 2
    images = np.random.default_rng(0).integers(0, 256, (32, 32, 32), dtype=np.uint8)
    data = TrainingData(images, np.arange(16), labels, np.arange(16, 32), labels, 0.5, 0.2)
    params = study.settings(PARAMS.training, {"arch": "test_resnet", "epochs": 1, "augment": study.STILL})
    found = readings.logits_of(params, data)
    assert found[True].keys() == {readings.AS_THEY_ARE, *CHANGES}
    assert found[False]["darker"].shape == (16,)
    assert not np.array_equal(found[False]["darker"], found[True]["darker"])
    assert not any((tmp_path / ".resume").glob("*"))
