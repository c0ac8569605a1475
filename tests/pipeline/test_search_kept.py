"""A guided search and a grid of a recipe with the real dvc: each trial an experiment and an MLflow run."""

import json
import re
import sqlite3
import sys

import optuna
import pytest
from conftest import Repository

pytestmark = pytest.mark.pipeline

SPACE = "lr: {low: 1e-4, high: 1e-2, log: true}\noptimizer: {choices: [sgd, adam]}\n"


def python(repository: Repository, *arguments: str) -> str:
    """Run a command of ours, as make does."""
    return repository.run(sys.executable, "-m", *arguments, PYTHONPATH="src")


def test_a_search_that_was_interrupted_goes_on(repository: Repository) -> None:
    (repository.root / "quick.yaml").write_text(SPACE, "utf-8")
    repository.commit("a space")
    search = ("pneumonia.search", "--space", "quick.yaml", "--trials")
    first = python(repository, *search, "1")
    assert first.splitlines()[-1] == "dvc exp apply quick-0"
    # As one finds it after a trial was killed: proposed, and not told what came out.
    study = optuna.load_study(
        study_name="quick", storage=f"sqlite:///{repository.root / '.cache/search/quick.db'}"
    )
    killed = study.ask(study.trials[0].distributions)
    second = python(repository, *search, "2")
    assert "--name quick-0" not in second
    assert re.findall(r"dvc exp run --temp --name (\S+)", second) == ["quick-1"]

    experiments = repository.dvc("exp", "list", "--name-only").split()
    assert sorted(experiments) == ["quick-0", "quick-1"]
    shown = json.loads(repository.dvc("exp", "show", "--json"))
    rows = {row["name"]: row["revs"][0]["data"] for row in shown[-1]["experiments"]}
    assert rows["quick-1"]["params"]["params.yaml"]["data"]["lr"] == killed.params["lr"]
    told = {f"quick-{trial.number}": trial.value for trial in study.get_trials()}
    assert told == {
        name: row["metrics"]["metrics/train.json"]["data"]["val_auroc"] for name, row in rows.items()
    }
    with sqlite3.connect(repository.root / "mlflow.db") as store:
        names = {name for (name,) in store.execute("select value from tags where key = 'mlflow.runName'")}
    assert {"quick-0", "quick-1"} <= names
    assert repository.run("git", "status", "--porcelain") == ""


def test_a_grid_of_a_recipe_waits_in_the_queue(repository: Repository) -> None:
    (repository.root / "recipes/tiny.yaml").write_text("# Tiny.\nepochs: 1\nwarmup_epochs: 0\n", "utf-8")
    repository.commit("a recipe")
    grid = ("-S", "lr=1e-3,3e-3", "-S", "optimizer=sgd,adam", "--queue")
    printed = python(repository, "pneumonia.recipes", "tiny", *grid)
    assert printed.startswith("dvc exp run --name tiny-lr-optimizer -S epochs=1")
    shown = json.loads(repository.dvc("exp", "show", "--json"))
    queued = {row["name"]: row["revs"][0]["data"] for row in shown[-1]["experiments"]}
    assert sorted(queued) == [f"tiny-lr-optimizer-{number}" for number in (1, 2, 3, 4)]
    params = [row["params"]["params.yaml"]["data"] for row in queued.values()]
    assert {values["epochs"] for values in params} == {1}
    assert sorted((values["lr"], values["optimizer"]) for values in params) == [
        (1e-3, "adam"),
        (1e-3, "sgd"),
        (3e-3, "adam"),
        (3e-3, "sgd"),
    ]
