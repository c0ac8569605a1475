from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import readings, study
from benchmarks.changed_films import CHANGES
from pneumonia.errors import UserError
from pneumonia.network.build import build
from pneumonia.network.description import NetworkDescription
from pneumonia.network.device import choose_compute
from pneumonia.network.weights import save_weights
from pneumonia.params import load_params

PARAMS = load_params(Path(study.ROOT, "params.yaml"))
CPU = choose_compute("cpu", "fp32", 1, deterministic=True)
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


def test_a_network_reads_every_film(tmp_path: Path) -> None:
    description = NetworkDescription(arch="test_resnet", outputs=2, size=32, mean=0.5, std=0.2)
    save_weights(tmp_path / "a.safetensors", build("test_resnet", 2, 32), description)
    images = np.random.default_rng(0).integers(0, 256, (5, 32, 32), dtype=np.uint8)
    found = readings.logits_of(tmp_path / "a.safetensors", images, CPU)
    assert found[True].keys() == {readings.AS_THEY_ARE, *CHANGES}
    assert found[False]["darker"].shape == (5,)
    assert not np.array_equal(found[False]["darker"], found[True]["darker"])
    with pytest.raises(UserError, match="for films of 32 pixels, these have 16"):
        readings.logits_of(tmp_path / "a.safetensors", images[:, :16, :16], CPU)


def test_a_network_that_is_too_sure_gains_by_calibration() -> None:
    sure = films(np.array([-9.0, -9.0, 9.0, 9.0, 9.0, -9.0]), 3 * ORDERED)
    table = readings.calibrations(LABEL, [{False: sure, True: sure}])
    assert table["none"][readings.AS_THEY_ARE] == pytest.approx(1 / 3, abs=1e-3)
    assert table["temperature"][readings.AS_THEY_ARE] < 0.25
