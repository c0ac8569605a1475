"""`dvc repro` with two processes that train together: the stage and its outputs stay what they are."""

import json
import sqlite3
from pathlib import Path

import pandas as pd
import pytest
from conftest import Repository

pytestmark = pytest.mark.pipeline

SECONDS = 600
"""After which processes that wait for each other are a failed test."""


def finish(repository: Repository, *command: str, **environment: str) -> tuple[int, str]:
    """Run a command to its end: its exit status, and what it and its children printed."""
    with repository.start(*command, **environment) as process:
        try:
            output, _ = process.communicate(timeout=SECONDS)
        finally:
            process.kill()
    return process.returncode, output


def runs(repository: Repository) -> list[tuple[str]]:
    with sqlite3.connect(repository.root / "mlflow.db") as store:
        return store.execute("select status from runs order by start_time").fetchall()


def test_two_processes_give_every_output_and_one_run(repository: Repository) -> None:
    before = len(runs(repository))
    repository.set_params(devices=2)
    status, output = finish(repository, "dvc", "repro")
    assert status == 0, output
    assert output.count("Running stage 'train'") == 1
    assert "Traceback" not in output
    assert runs(repository)[before:] == [("FINISHED",)]
    assert "up to date" in repository.dvc("status")
    history = pd.read_csv(repository.root / "plots" / "history.csv")
    assert list(history["epoch"]) == [0, 1]
    assert repository.metrics("train")["epochs"] == 2
    assert not list((repository.root / ".resume").iterdir())
    lock = (repository.root / "dvc.lock").read_text("utf-8")
    # The same again, byte for byte.
    repository.dvc("repro", "--force", "--single-item", "train", "--no-run-cache", fails=False)
    assert (repository.root / "dvc.lock").read_text("utf-8") == lock


def test_torchrun_runs_the_stage_and_a_wrong_number_is_a_sentence(repository: Repository) -> None:
    before = len(runs(repository))
    repository.set_params(devices=2)
    launch = ("python", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node")
    status, output = finish(repository, *launch, "3", "-m", "stages.train")
    assert status != 0
    assert (
        "torchrun has started 3 processes, 3 a machine, but params.yaml has devices: 2 and nodes: 1" in output
    )
    assert len(runs(repository)) == before
    status, output = finish(repository, *launch, "2", "-m", "stages.train")
    assert status == 0, output
    assert len(runs(repository)) == before + 1
    assert json.loads((repository.root / "metrics" / "train.json").read_text("utf-8"))["epochs"] == 2


def test_divergence_is_one_sentence_and_one_failed_run(repository: Repository) -> None:
    before = len(runs(repository))
    repository.set_params(
        devices=2,
        arch="test_vit",
        lr=10.0,
        optimizer="sgd",
        gradient_clip=0.0,
        epochs=20,
        schedule="constant",
    )
    status, output = finish(repository, "python", "-m", "stages.train")
    assert status == 1
    assert output.count("error: ") == 1
    assert output.count("Training diverged") == 1
    assert "Traceback" not in output
    assert runs(repository)[before:] == [("FAILED",)]


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"devices": 3}, "batch_size is 16; it must be divisible by devices times nodes, 3"),
        ({"devices": 2, "nodes": 2}, "nodes is 2, and `dvc repro` starts processes on one machine only; run"),
        ({"devices": 0}, "devices is 0; it must be a whole number, at least 1"),
    ],
)
def test_numbers_that_do_not_fit_are_refused_before_anything_is_done(
    repository: Repository, values: dict[str, int], sentence: str
) -> None:
    model = Path(repository.root / "models" / "model.safetensors").read_bytes()
    repository.set_params(**values)
    status, output = finish(repository, "python", "-m", "stages.train")
    assert status == 1
    assert output.startswith("error: ")
    assert sentence in output
    assert output.count("\n") == 1
    assert (repository.root / "models" / "model.safetensors").read_bytes() == model
