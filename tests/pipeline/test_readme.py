"""The README's commands are run as they stand there; what cannot be run here is what CI runs."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import requests
from conftest import CHECKOUT, Repository
from requests.adapters import HTTPAdapter
from urllib3 import Retry

from pneumonia.params import load_params
from pneumonia.summary import ROWS, summarise

pytestmark = pytest.mark.pipeline

README = (CHECKOUT / "README.md").read_text(encoding="utf-8")
CI = (CHECKOUT / ".ci" / "run").read_text(encoding="utf-8")
MAKEFILE = (CHECKOUT / "Makefile").read_text(encoding="utf-8")


def commands(heading: str) -> list[str]:
    """Lines of the shell blocks below a heading, without comments."""
    section = README.split(f"## {heading}\n")[1].split("\n## ")[0]
    blocks = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    lines = [line.split(" #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


def test_the_two_commands_are_what_ci_runs_and_the_steps_without_make_what_make_runs() -> None:
    make_repro, make_test, *steps = commands("Two commands")
    assert (make_repro, make_test) == ("make repro", "make test")
    assert {"make repro", "make test"} <= set(CI.splitlines())
    by_make = {"$(PYTHON) -m venv $(VENV)": "python3 -m venv .venv"}
    recipe = {by_make.get(line.strip(), line.strip()) for line in MAKEFILE.splitlines()}
    assert set(steps) - {". .venv/bin/activate"} <= recipe


def test_the_summary_is_that_of_the_committed_metrics() -> None:
    rule = load_params(CHECKOUT / "params.yaml").evaluate.threshold_rule
    summary = summarise(metrics(CHECKOUT), rule, Path("report.html"))
    assert summary.split("Report")[0] in README


def test_the_results_of_the_default_run_are_those_of_the_files() -> None:
    section = README.split("**The default run**")[1].split("\n**")[0]
    rows = re.findall(r"\n\| (\w[\w ]*) \| (.*) \| (.*) \|", section)
    assert len(rows) == 8
    names = ROWS | {"Brier score": "brier", "threshold": "threshold"}
    evaluation = metrics(CHECKOUT)
    for title, *shown in rows:
        assert shown == [cell(evaluation[split], names[title]) for split in ("val", "test")], title


def test_the_results_on_kermany_are_those_of_the_leaderboard() -> None:
    board = table((CHECKOUT / "docs" / "leaderboard.md").read_text("utf-8"))
    shown = table(README.split("**Kermany**")[1].split("\n**")[0])
    assert len(shown) >= 3
    for row in shown:
        (whole,) = (other for other in board if other["recipe"] == row["recipe"])
        assert row.items() <= whole.items()


def table(text: str) -> list[dict[str, str]]:
    """Rows of the first table, by the names of its columns."""
    lines = re.search(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert lines
    names, _, *rows = ([word.strip() for word in line.split("|")[1:-1]] for line in lines[0].splitlines())
    return [dict(zip(names, row, strict=True)) for row in rows]


def metrics(place: Path) -> dict[str, Any]:
    """What `evaluate` wrote there."""
    (path,) = {*place.glob("evaluate.json"), *place.glob("metrics/evaluate.json")}
    evaluation: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return evaluation


def cell(split: dict[str, Any], name: str) -> str:
    """A metric as the README shows it."""
    value = f"{split[name]}" if name == "n" else f"{split[name]:.3f}"
    interval = split.get(f"{name}_ci95")
    return value + (f" ({interval['low']:.3f} to {interval['high']:.3f})" if interval else "")


def test_the_daily_uses_work_as_they_are_typed(repository: Repository) -> None:
    (repository.root / ".venv").mkdir()
    (repository.root / ".venv" / "installed").touch()
    uses = commands("Three daily uses")
    assert len(uses) == 8
    for command in uses:
        if " mlflow ui " in command:
            look_at_mlflow(repository, command)
        else:
            repository.run("bash", "-c", command)
    read_new_films(repository)
    back = "git restore params.yaml dvc.lock metrics plots && dvc checkout"
    assert f"`{back}` takes them back" in README
    assert "params.yaml" in repository.run("git", "status", "--porcelain")
    repository.run("bash", "-c", back)
    assert repository.run("git", "status", "--porcelain") == ""
    assert "up to date" in repository.dvc("status")


def read_new_films(repository: Repository) -> None:
    """By the model of a run, as the README says."""
    (line,) = re.findall(r"`(mlflow\.pyfunc\.load_model\(.*?)`", README)
    script = f"""
import mlflow.pyfunc, numpy
(run, *_) = mlflow.search_runs(search_all_experiments=True, order_by=["start_time"]).run_id
x = numpy.zeros((2, 64, 64), numpy.uint8)
print({line.replace('"runs:/ID/model"', 'f"runs:/{run}/model"')}.to_csv())
"""
    settings = {"MLFLOW_TRACKING_URI": "sqlite:///mlflow.db", "MLFLOW_DISABLE_TELEMETRY": "true"}
    assert ",probability,predicted\n0,0." in repository.run(sys.executable, "-c", script, **settings)


def look_at_mlflow(repository: Repository, command: str) -> None:
    """Start the page, and ask for it until it answers."""
    setting, _, *options = command.split()
    executable = str(Path(sys.executable).parent / "mlflow")
    server = subprocess.Popen(
        [executable, *options, "--port", "5057"],
        cwd=repository.root,
        env=os.environ | dict([setting.split("=")]),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with requests.Session() as session:
            patient = Retry(total=12, backoff_factor=0.2, allowed_methods=None)
            session.mount("http://", HTTPAdapter(max_retries=patient))
            page = session.get("http://127.0.0.1:5057", timeout=30)
        assert page.ok
        assert "MLflow" in page.text
    finally:
        server.terminate()
        server.wait()
