"""`python -m pneumonia.verify` after the real `dvc repro`: it agrees with DVC, and sees what was changed."""

import json
from pathlib import Path

import pytest
from conftest import Repository

from pneumonia.params import load_params
from pneumonia.verify import CHECKS

pytestmark = pytest.mark.pipeline


def verify(repository: Repository, *, fails: bool = False) -> dict[str, str]:
    """The word that each check begins its line with, and the lines of all differences under ""."""
    source = str(repository.root / "src")
    printed = repository.run("python", "-m", "pneumonia.verify", fails=fails, PYTHONPATH=source)
    assert "Traceback" not in printed
    lines = printed.splitlines()
    words = [line.replace(":", "").split()[:2] for line in lines if not line.startswith(" ")]
    return {
        **{title: word for word, title in words},
        "": "\n".join(line for line in lines if line.startswith(" ")),
    }


def test_a_reproduced_checkout_is_the_same_in_everything(rebuilt: Repository) -> None:
    assert verify(rebuilt) == {**dict.fromkeys(CHECKS, "same"), "": ""}
    assert rebuilt.run("git", "status", "--porcelain") == ""


def test_a_better_metric_other_weights_and_other_code_are_found(repository: Repository) -> None:
    metrics = repository.metrics("evaluate")
    metrics["test"]["auroc"] = 0.999999
    (repository.root / "metrics/evaluate.json").write_text(json.dumps(metrics), "utf-8")
    with (repository.root / "models/model.safetensors").open("ab") as weights:
        weights.write(b"\0")
    with (repository.root / "src/pneumonia/training/loop.py").open("a") as code:
        code.write("\n")
    found = verify(repository, fails=True)
    assert found["dvc.lock"] == found["metrics/evaluate.json"] == "DIFFERS"
    assert found["MLflow"] == "skipped"  # it has no run of these weights
    assert found["plots/curves"] == found["split"] == "same"
    for part in (
        "models/model.safetensors is not what train wrote",
        "src/pneumonia/training has changed since train ran",
        "metrics/evaluate.json is not what evaluate wrote",
        "test.auroc is 0.999999 in metrics/evaluate.json",
    ):
        assert part in found[""]


def test_a_fresh_clone_says_what_is_not_there_yet(rebuilt: Repository, tmp_path: Path) -> None:
    rebuilt.run("git", "clone", "--quiet", str(rebuilt.root), str(tmp_path / "clone"))
    found = verify(Repository(tmp_path / "clone"), fails=True)
    assert found["dvc.lock"] == "DIFFERS"
    assert set(found.values()) - {found[""]} <= {"DIFFERS", "skipped", "same"}
    assert [name for name, word in found.items() if word == "DIFFERS"] == ["dvc.lock"]
    assert found["metrics/train.json"] == "same"  # of files that git has
    (line,) = found[""].splitlines()
    assert "not here yet: data/predictions/predictions.csv, data/predictions/subgroups.json, " in line
    assert "run `dvc repro`, or `dvc pull`" in line


def test_a_recipe_is_an_experiment_of_its_name_that_verifies(repository: Repository) -> None:
    (repository.root / "recipes").mkdir(exist_ok=True)
    (repository.root / "recipes/wide.yaml").write_text(
        "# Wide.\narch: test_resnet.r160_in1k\nlr: 1e-05\naugment:\n  scale: [0.8, 1.25]\n", "utf-8"
    )
    repository.commit("a recipe")
    run = ("python", "-m", "pneumonia.recipes", "wide", "-S", "seed=1")
    source = str(repository.root / "src")
    printed = repository.run(*run, PYTHONPATH=source)
    line = (
        "dvc exp run --name wide-s1 -S arch=test_resnet.r160_in1k -S lr=1e-05 -S 'augment.scale=[0.8,1.25]'"
    )
    assert printed.startswith(line)
    assert repository.dvc("exp", "list", "--name-only").split() == ["wide-s1"]
    params = load_params(repository.root / "params.yaml")
    assert (params.arch, params.lr, params.seed) == ("test_resnet.r160_in1k", 1e-5, 1)
    assert params.augment.scale == [0.8, 1.25]
    assert verify(repository) == {**dict.fromkeys(CHECKS, "same"), "": ""}
    again = repository.run(*run, fails=True, PYTHONPATH=source)
    assert "conflicts with existing experiment 'wide-s1'" in again
