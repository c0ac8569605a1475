"""`dvc repro`, for real: everything is rebuilt, nothing twice, nothing that did not change."""

import json
import re
import sqlite3
import zipfile
from pathlib import Path

import pytest
import yaml
from conftest import Repository

from pneumonia import paths
from pneumonia.store import open_images

pytestmark = pytest.mark.pipeline

STAGES = ["download", "preprocess", "split", "train", "evaluate", "gallery"]


def stages_run(output: str) -> list[str]:
    return [name for name in STAGES if f"Running stage '{name}'" in output]


def test_every_output_is_there(rebuilt: Repository) -> None:
    for name in [
        "data/raw/images.zip",
        "data/processed/images.npy",
        "data/split/split.csv",
        "models/model.safetensors",
        "models/model.json",
        "data/predictions/predictions.csv",
        "plots/history.csv",
        "plots/curves/roc.csv",
        "reports/report.html",
        "mlflow.db",
    ]:
        assert (rebuilt.root / name).stat().st_size > 0, name
    assert rebuilt.run("git", "status", "--porcelain") == ""


def test_the_second_time_nothing_runs(rebuilt: Repository) -> None:
    assert stages_run(rebuilt.dvc("repro")) == []
    assert "up to date" in rebuilt.dvc("status")


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("gallery.colormap", "viridis", ["gallery"]),
        ("evaluate.threshold_rule", "fixed", ["evaluate", "gallery"]),
        ("split.seed", 1, ["split", "train", "evaluate", "gallery"]),
    ],
)
def test_a_changed_parameter_runs_what_depends_on_it_and_no_more(
    repository: Repository, key: str, value: object, expected: list[str]
) -> None:
    repository.set_params(**{key: value})
    assert stages_run(repository.dvc("repro")) == expected


def test_another_size_is_not_served_from_the_cache_of_the_first(repository: Repository) -> None:
    repository.set_params(**{"preprocess.size": 32})
    assert stages_run(repository.dvc("repro", "preprocess")) == ["preprocess"]
    assert open_images(repository.root / paths.IMAGES).shape[1:] == (32, 32)


def test_a_fresh_clone_elsewhere_gives_the_same_bytes(rebuilt: Repository, tmp_path: Path) -> None:
    """Another folder, another environment, and none of the first repository's cache."""
    clone = Repository(tmp_path / "clone")
    rebuilt.run("git", "clone", "--quiet", str(rebuilt.root), str(clone.root))
    output = clone.dvc(
        "repro",
        PYTHONHASHSEED="7",  # order of sets
        OMP_NUM_THREADS="3",  # threads that `threads` does not set
        LOKY_MAX_CPU_COUNT="1",  # decoding processes, as many as the cores elsewhere
        TZ="Pacific/Chatham",
        LC_ALL="C",  # with the two below: files are ASCII to those who do not say otherwise
        PYTHONUTF8="0",
        PYTHONCOERCECLOCALE="0",
    )
    assert stages_run(output) == STAGES
    outputs = sorted(outputs_of(rebuilt))
    assert outputs == sorted(outputs_of(clone))
    assert len(outputs) > 20
    different = [
        name for name in outputs if (rebuilt.root / name).read_bytes() != (clone.root / name).read_bytes()
    ]
    assert different == []
    # dvc.lock, too: what is committed is what a clone gets.
    assert clone.run("git", "status", "--porcelain") == ""


def outputs_of(repository: Repository) -> list[str]:
    """The files below everything that dvc.lock names as an output of a stage."""
    lock = yaml.safe_load((repository.root / "dvc.lock").read_text("utf-8"))
    tops = [repository.root / out["path"] for stage in lock["stages"].values() for out in stage["outs"]]
    files = [file for top in tops for file in (top.rglob("*") if top.is_dir() else [top]) if file.is_file()]
    return [file.relative_to(repository.root).as_posix() for file in files]


def test_nothing_that_is_kept_is_a_pickle(rebuilt: Repository) -> None:
    """Pickles begin with 0x80 and their protocol; PyTorch's own files are zip archives of pickles."""
    artifacts = [file for file in (rebuilt.root / "mlartifacts").rglob("*") if file.is_file()]
    assert any(file.suffix == ".safetensors" for file in artifacts)
    for file in [*artifacts, *(rebuilt.root / name for name in outputs_of(rebuilt))]:
        assert not re.match(rb"\x80[\0-\x09]", file.read_bytes()[:2]), file
        assert not zipfile.is_zipfile(file) or file.name == "images.zip", file


def test_patients_stay_in_one_split_and_counts_agree(rebuilt: Repository) -> None:
    data = rebuilt.metrics("data")
    evaluation = rebuilt.metrics("evaluate")
    assert data["images"]["total"] == 96
    assert evaluation["test"]["n"] == data["images"]["test"]["total"]
    assert evaluation["val"]["n"] == data["images"]["val"]["total"]
    confusion = evaluation["test"]["confusion"]
    assert sum(confusion.values()) == evaluation["test"]["n"]


def test_metrics_files_have_numbers_that_diff_can_compare(rebuilt: Repository) -> None:
    for path in (rebuilt.root / "metrics").glob("*.json"):
        text = path.read_text("utf-8")
        assert "NaN" not in text
        assert "null" not in text
        json.loads(text)


def test_a_wrong_parameter_is_one_sentence_and_nothing_is_lost(repository: Repository) -> None:
    repository.set_params(lr="fast")
    output = repository.dvc("repro", fails=True)
    assert "error: params.yaml: lr is 'fast'; it must be a number, above 0 and at most 10." in output
    assert "Traceback" not in output
    repository.run("git", "checkout", "params.yaml")
    assert stages_run(repository.dvc("repro")) == []


def test_plots_show_has_every_plot(rebuilt: Repository, tmp_path: Path) -> None:
    rebuilt.dvc("plots", "show", "--out", str(tmp_path / "plots"))
    page = (tmp_path / "plots" / "index.html").read_text("utf-8")
    for title in ("Loss", "Accuracy", "ROC curve", "Confusion matrix", "Precision and recall", "Calibration"):
        assert title in page
    assert "false_negatives" in page


def test_one_mlflow_run_has_it_all(rebuilt: Repository) -> None:
    with sqlite3.connect(rebuilt.root / "mlflow.db") as store:
        statuses = [row[0] for row in store.execute("select status from runs")]
        metrics = {row[0] for row in store.execute("select distinct key from metrics")}
        tags = dict(store.execute("select key, value from tags").fetchall())
        (epochs,) = store.execute("select count(*) from metrics where key = 'val_auroc'").fetchone()
    assert statuses == ["FINISHED"]
    assert {"val_auroc", "train_loss", "test.auroc", "test.confusion.tp"} <= metrics
    assert epochs == 2
    commit = rebuilt.run("git", "rev-parse", "HEAD~1").strip()
    assert commit in tags.values()
