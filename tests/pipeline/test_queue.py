"""Eight queued experiments, four at a time, that race for an MLflow store which does not exist yet."""

import csv
import hashlib
import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from conftest import Repository

from pneumonia import paths
from pneumonia.params import load_params
from pneumonia.tracking import provenance
from pneumonia.tracking.run import flatten, flatten_params
from pneumonia.tracking.store import open_store

pytestmark = pytest.mark.pipeline

RATES = ["1e-3", "2e-3", "4e-3", "5e-3", "6e-3", "7e-3", "8e-3", "9e-3"]
"""None is that of the repository, whose results DVC would take from its cache: no run, then."""


START_AND_WAIT = """
import subprocess
from dvc.repo import Repo

queue = Repo().experiments.celery_queue
entries = list(queue.iter_queued())
subprocess.run(["dvc", "queue", "start", "-j", "4"], check=True)
for entry in entries:
    queue.wait_for_start(entry, sleep_interval=1)
    queue.follow(entry)
    queue.get_result(entry)
"""
"""`dvc queue start` returns at once; the waiting is that of `dvc exp run --run-all` for the same workers."""


@dataclass(frozen=True)
class Experiment:
    """What DVC and git have of an experiment."""

    repository: Repository
    name: str
    commit: str

    def file(self, path: Path) -> str:
        return self.repository.run("git", "show", f"{self.commit}:{path.as_posix()}")

    def json(self, path: Path) -> Any:
        return json.loads(self.file(path))

    def digests(self) -> dict[str, str]:
        """MD5 of each output, from dvc.lock."""
        lock = yaml.safe_load(self.file(Path("dvc.lock")))
        outputs = [out for stage in lock["stages"].values() for out in stage["outs"]]
        return {out["path"]: out["md5"] for out in outputs}

    def output(self, path: Path) -> Path:
        """An output in DVC's cache."""
        digest = self.digests()[path.as_posix()]
        return self.repository.root / ".dvc/cache/files/md5" / digest[:2] / digest[2:]


@pytest.fixture(scope="module")
def raced(rebuilt: Repository, tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """The rebuilt repository after eight experiments; its MLflow store was made by them."""
    target = tmp_path_factory.mktemp("raced") / "copy"
    shutil.copytree(
        rebuilt.root, target, symlinks=True, ignore=shutil.ignore_patterns("mlflow.db*", "mlartifacts")
    )
    repository = Repository(target)
    assert not (target / "mlflow.db").exists()
    repository.dvc("exp", "run", "--queue", "-S", f"lr={','.join(RATES)}")
    repository.run(sys.executable, "-c", START_AND_WAIT)
    return repository


@pytest.fixture(scope="module")
def experiments(raced: Repository) -> dict[str, Experiment]:
    shown = json.loads(raced.dvc("exp", "show", "--json"))
    (baseline,) = [entry for entry in shown if entry["name"] == "main"]
    found = [row["revs"][0] for row in baseline["experiments"]]
    assert [row["error"] for row in found if row["error"]] == []
    return {row["name"]: Experiment(raced, row["name"], row["rev"]) for row in found}


@pytest.fixture(scope="module")
def runs(raced: Repository) -> list[Any]:
    with pytest.MonkeyPatch.context() as patched:
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
            patched.delenv(name, raising=False)
        store = open_store(raced.root)
        return list(store.client.search_runs([store.experiment_id]))


def local(uri: str) -> Path:
    return Path(unquote(urlsplit(uri).path)) if uri.startswith("file:") else Path(uri)


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def test_eight_experiments_are_eight_runs(experiments: dict[str, Experiment], runs: list[Any]) -> None:
    assert len(experiments) == len(RATES)
    assert sorted(run.data.tags["dvc.exp_name"] for run in runs) == sorted(experiments)
    assert sorted(float(run.data.params["lr"]) for run in runs) == [float(rate) for rate in RATES]
    assert {run.info.status for run in runs} == {"FINISHED"}


def test_none_had_to_be_kept(raced: Repository) -> None:
    assert not (raced.root / ".mlflow-unsent").exists()


def test_each_run_has_all_metrics_of_its_experiment_and_of_no_other(
    raced: Repository, experiments: dict[str, Experiment], runs: list[Any]
) -> None:
    store = open_store(raced.root)
    for run in runs:
        experiment = experiments[run.data.tags["dvc.exp_name"]]
        assert run.info.run_name == experiment.name
        results = {
            **flatten(experiment.json(paths.TRAIN_METRICS), "train."),
            **flatten(experiment.json(paths.DATA_REPORT), "data."),
            **flatten(experiment.json(paths.EVALUATE_METRICS)),
            **flatten(json.loads(experiment.output(paths.SUBGROUPS).read_text("utf-8")), "subgroups."),
        }
        numbers = {key: value for key, value in results.items() if isinstance(value, int | float)}
        rows = list(csv.DictReader(experiment.file(paths.HISTORY).splitlines()))
        curves = rows[0].keys() - {"epoch"}
        metrics = run.data.metrics
        assert metrics.keys() == numbers.keys() | curves
        assert {key: metrics[key] for key in numbers} == numbers
        for name in curves:
            history = store.client.get_metric_history(run.info.run_id, name)
            points = [(point.step, point.value) for point in history]
            assert points == [(int(row["epoch"]), float(row[name])) for row in rows], (experiment.name, name)


def test_each_run_has_the_files_and_the_model_of_its_experiment(
    raced: Repository, experiments: dict[str, Experiment], runs: list[Any]
) -> None:
    store = open_store(raced.root)
    for run in runs:
        experiment = experiments[run.data.tags["dvc.exp_name"]]
        digests = experiment.digests()
        artifacts = local(run.info.artifact_uri)
        files = {file.relative_to(artifacts).as_posix() for file in artifacts.rglob("*") if file.is_file()}
        listed = raced.run("git", "ls-tree", "-r", "--name-only", experiment.commit, "metrics", "plots")
        cached = {path.as_posix() for path in (paths.SUBGROUPS, paths.REPORT)}
        assert files == {*listed.split()} | cached
        for name in files - cached:
            blob = raced.run("git", "rev-parse", f"{experiment.commit}:{name}")
            assert raced.run("git", "hash-object", "--no-filters", str(artifacts / name)) == blob, name
        for name in cached:
            assert md5(artifacts / name) == digests[name]
        (output,) = run.outputs.model_outputs
        model = store.client.get_logged_model(output.model_id)
        weights = local(model.artifact_location) / "artifacts" / paths.WEIGHTS.name
        assert md5(weights) == digests[paths.WEIGHTS.as_posix()]


def test_each_run_leads_back_to_commit_code_parameters_and_data(
    raced: Repository, experiments: dict[str, Experiment], runs: list[Any], tmp_path: Path
) -> None:
    head = raced.run("git", "rev-parse", "HEAD").strip()
    for run in runs:
        tags = run.data.tags
        experiment = experiments[tags["dvc.exp_name"]]
        digests = experiment.digests()
        assert tags["mlflow.source.git.commit"] == head
        assert tags["git.dirty"] == "false"
        (tmp_path / "params.yaml").write_text(experiment.file(Path("params.yaml")), encoding="utf-8")
        params = load_params(tmp_path / "params.yaml")
        assert run.data.params == flatten_params(params.model_dump())
        for tag, path in {**provenance.DATA, provenance.WEIGHTS: paths.WEIGHTS}.items():
            assert tags[tag] == digests[path.as_posix()], tag

    # The code at the commit is the code that ran.
    checkout = tmp_path / "at the commit"
    raced.run("git", "worktree", "add", "--detach", str(checkout), head)
    assert {run.data.tags["sha256.code"] for run in runs} == {provenance.code_sha256(checkout)}
