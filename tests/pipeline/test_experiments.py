"""The three things that people type, for real."""

import json
import sqlite3
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import Repository

pytestmark = pytest.mark.pipeline


def test_an_experiment_changes_the_metrics_and_the_diff_shows_it(repository: Repository) -> None:
    before = repository.metrics("evaluate")
    repository.dvc("exp", "run", "-S", "lr=1e-4", "--name", "slow")
    assert repository.metrics("evaluate") != before
    table = repository.dvc("metrics", "diff", "--md", "HEAD")
    assert "| metrics/evaluate.json" in table
    assert "test.auroc" in table
    assert "| params.yaml | lr" in repository.dvc("params", "diff", "--md", "HEAD")
    shown = json.loads(repository.dvc("exp", "show", "--json"))
    assert "slow" in json.dumps(shown)


def test_a_rate_that_dvc_writes_without_a_dot_is_a_number(repository: Repository) -> None:
    repository.dvc("exp", "run", "-S", "lr=1e-5")
    assert "lr: 1e-05" in (repository.root / "params.yaml").read_text("utf-8")


def test_a_queued_grid_of_two_is_two_experiments_and_two_mlflow_runs(repository: Repository) -> None:
    repository.dvc("exp", "run", "--queue", "-S", "lr=1e-4,2e-4")
    repository.dvc("exp", "run", "--run-all")
    experiments = repository.dvc("exp", "list", "--name-only").split()
    assert len(experiments) == 2
    with sqlite3.connect(repository.root / "mlflow.db") as store:
        rows = store.execute(
            "select r.run_uuid, r.artifact_uri, t.value from runs r join tags t using (run_uuid)"
            " where t.key = 'mlflow.runName'"
        ).fetchall()
        rates = {
            uuid: float(value)
            for uuid, value in store.execute("select run_uuid, value from params where key = 'lr'")
        }
    new = [row for row in rows if row[2] in experiments]
    assert sorted(rates[uuid] for uuid, _, _ in new) == [1e-4, 2e-4]
    # Nothing hangs on the temporary directories, which are gone now.
    assert all(".dvc/tmp" not in artifacts for _, artifacts, _ in rows)


def test_real_data_from_a_path_relative_to_the_repository(repository: Repository) -> None:
    write_small_kermany(repository.root.parent / "kermany.zip")
    setting = ["-S", "source.name=kermany", "-S", "source.path=../kermany.zip"]
    output = repository.dvc("exp", "run", "--temp", *setting, fails=True)
    # A set of another size than the published one is refused; what matters is that it was found and read.
    assert "5,856" in output
    assert "Traceback" not in output


def write_small_kermany(path: Path) -> None:
    image = cv2.imencode(".jpeg", np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8))[
        1
    ].tobytes()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("chest_xray/test/NORMAL/IM-0001-0001.jpeg", image)
        archive.writestr("chest_xray/train/PNEUMONIA/person1_bacteria_1.jpeg", image)


def test_make_review_prints_what_changed(repository: Repository) -> None:
    repository.set_params(**{"evaluate.threshold_rule": "fixed"})
    repository.dvc("repro")
    # The environment of the test stands for the one that make would install.
    (repository.root / ".venv").mkdir()
    (repository.root / ".venv" / "installed").touch()
    printed = repository.run("make", "--silent", "review", "BASE=main")
    assert "| metrics/evaluate.json | test.threshold" in printed
    assert "evaluate.threshold_rule" in printed
