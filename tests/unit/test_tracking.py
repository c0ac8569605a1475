"""MLflow: one run a training, found again by what it was made of; a store that fails never fails a stage."""

import errno
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path, PureWindowsPath
from typing import Any, BinaryIO

import pytest
from mlflow.utils.file_utils import local_file_uri_to_path
from sqlalchemy import make_url

from pneumonia import paths
from pneumonia.params import Params, load_params
from pneumonia.tracking import alive, provenance, record, store, unsent
from pneumonia.tracking.run import Run, flatten, flatten_params
from tests.unit.tracking_examples import CLOSED_PORT, artifacts, make_weights, runs, train, write_checkout

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The original repository, whose database is set up once for all tests."""
    return tmp_path_factory.mktemp("original repository")


@pytest.fixture(autouse=True)
def environment(root: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_URI", "DVC_EXP_NAME", "DVC_EXP_BASELINE_REV"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DVC_ROOT", str(root))
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", request.node.name)
    shutil.rmtree(root / unsent.FOLDER, ignore_errors=True)


@pytest.fixture(scope="session")
def params() -> Params:
    return load_params(REPOSITORY / "params.yaml")


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return make_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture
def checkout(tmp_path: Path, weights: bytes) -> Path:
    write_checkout(tmp_path, weights)
    return tmp_path


# --- one run of all stages ----------------------------------------------------------------------------------


def test_three_stages_make_one_complete_run(
    root: Path, checkout: Path, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_EXP_NAME", "tepid-hoke")
    monkeypatch.setenv("DVC_EXP_BASELINE_REV", "5" * 40)
    train(checkout, params)
    record.record_evaluation(checkout, params)
    record.record_gallery(checkout, params)

    (run,) = runs(root)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "tepid-hoke"
    assert run.data.params == flatten_params(params.model_dump())
    assert run.data.params["lr"] == json.dumps(params.lr)
    assert run.data.params["augment.scale"] == "[0.9, 1.1]"
    assert run.data.metrics == {
        "lr": 0.0001,
        "val_auroc": 0.7,
        "train.best_epoch": 2,
        "train.val_auroc": 0.7,
        "data.images.train.total": 3,
        "test.auroc": 0.9,
        "test.confusion.tn": 4,
        "subgroups.test.sex.F.n": 4,
    }
    client = store.open_store(root).client
    history = {
        name: [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, name)]
        for name in ("lr", "val_auroc")
    }
    assert history == {"lr": [(1, 0.001), (2, 0.0005), (3, 0.0001)], "val_auroc": [(1, 0.6), (2, 0.7)]}
    assert artifacts(root, run) == [
        "data/predictions/subgroups.json",
        "metrics/data.json",
        "metrics/evaluate.json",
        "metrics/train.json",
        "plots/curves/roc.csv",
        "plots/gallery/false_negatives.png",
        "plots/history.csv",
        "reports/report.html",
    ]


def test_tags_lead_back_to_the_data_and_say_nothing_of_the_user(
    root: Path, checkout: Path, params: Params
) -> None:
    train(checkout, params)
    record.record_evaluation(checkout, params)
    record.record_gallery(checkout, params)

    (run,) = runs(root)
    weights = hashlib.md5((checkout / paths.WEIGHTS).read_bytes()).hexdigest()
    assert run.data.tags == {
        "mlflow.runName": "workspace",
        "dvc.exp_name": "workspace",
        "dvc.exp_baseline": "none",
        "sha256.code": provenance.code_sha256(checkout),
        "md5.images": "59b514174bffe4ae402b3d63aad79fe0",  # md5sum of the six letters
        "md5.index": hashlib.md5(b"file\na.dcm\n").hexdigest(),
        "md5.split": hashlib.md5(b"file,split\na.dcm,train\n").hexdigest(),
        "md5.weights": weights,
        "data.archive_sha256": "00ff",
        "train.precision": "bf16",
        "recorded.train": "true",
        "recorded.evaluate": "true",
        "recorded.gallery": "true",
    }
    assert run.info.user_id == "unknown"


def test_the_model_is_logged_once(root: Path, checkout: Path, params: Params) -> None:
    train(checkout, params)
    record.record_evaluation(checkout, params)
    record.record_evaluation(checkout, params)

    (run,) = runs(root)
    assert len(run.outputs.model_outputs) == 1
    opened = store.open_store(root)
    assert len(opened.client.search_logged_models([opened.experiment_id])) == 1


# --- which run ----------------------------------------------------------------------------------------------


def test_experiments_with_the_same_weights_are_not_mixed_up(
    root: Path, checkout: Path, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("first", "second"):
        monkeypatch.setenv("DVC_EXP_NAME", name)
        train(checkout, params)
    for name in ("first", "second"):
        monkeypatch.setenv("DVC_EXP_NAME", name)
        (checkout / paths.EVALUATE_METRICS).write_text(json.dumps({name: 1}), encoding="utf-8")
        record.record_evaluation(checkout, params)

    first, second = runs(root)
    assert (first.info.run_name, second.info.run_name) == ("first", "second")
    assert [[name in run.data.metrics for name in ("first", "second")] for run in (first, second)] == [
        [True, False],
        [False, True],
    ]


def test_a_repeated_training_gets_its_own_evaluation(root: Path, checkout: Path, params: Params) -> None:
    train(checkout, params)
    record.record_evaluation(checkout, params)
    train(checkout, params)
    (checkout / paths.EVALUATE_METRICS).write_text(json.dumps({"repeated": 1}), encoding="utf-8")
    record.record_evaluation(checkout, params)

    assert ["repeated" in run.data.metrics for run in runs(root)] == [False, True]


KILLED = """
import os, signal, sys
from pathlib import Path
from pneumonia.params import load_params
from pneumonia.tracking import record

logs = []
for os.environ["DVC_EXP_NAME"] in sys.argv[3:]:
    logs.append(record.TrainingLog(Path(sys.argv[1]), load_params(Path(sys.argv[2]))))
    logs[-1].log_epoch(1, {"lr": 0.001})
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX's")
def test_any_later_run_ends_that_of_a_training_that_was_killed_outright_and_of_no_other(
    root: Path, checkout: Path, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["killed", "killed in a clone"]
    command = [sys.executable, "-c", KILLED, str(checkout), str(REPOSITORY / "params.yaml"), *names]
    killed = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(REPOSITORY / "src")}, check=False)
    assert killed.returncode == -signal.SIGKILL
    (run_id,) = [run.info.run_id for run in runs(root) if run.info.run_name == names[1]]
    elsewhere = root / alive.FOLDER / f"{run_id}.note"
    # As it is where a repository is copied with its notes.
    elsewhere.write_text(elsewhere.read_text("utf-8").replace(str(root), "/clone"), encoding="utf-8")

    def statuses() -> dict[str, str]:
        return {run.info.run_name: run.info.status for run in runs(root)}

    monkeypatch.setenv("DVC_EXP_NAME", "living")
    living = record.TrainingLog(checkout, params.model_copy(update={"lr": params.lr / 2}))
    monkeypatch.setenv("DVC_EXP_NAME", "next")
    record.record_gallery(checkout, params)
    expected = {
        "killed": "KILLED",
        "killed in a clone": "RUNNING",
        "living": "RUNNING",
        "next": "FINISHED",
    }
    assert statuses() == expected
    living.complete()
    train(checkout, params)
    assert statuses() == expected | {"living": "FINISHED"}
    assert list(elsewhere.parent.glob("*.note")) == [elsewhere]


@pytest.mark.parametrize("change", ["experiment", "parameters", "code", "data"])
def test_weights_from_the_cache_make_a_complete_run_that_names_their_training(
    root: Path, checkout: Path, params: Params, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    train(checkout, params)
    if change == "experiment":
        monkeypatch.setenv("DVC_EXP_NAME", "other")
    elif change == "parameters":
        params = params.model_copy(
            update={"evaluate": params.evaluate.model_copy(update={"threshold_rule": "fixed"})}
        )
    elif change == "code":
        (checkout / "src/pneumonia/code.py").write_text("x = 2\n", encoding="utf-8")
    else:
        (checkout / paths.INDEX).write_text("file\nb.dcm\n", encoding="utf-8")
    record.record_evaluation(checkout, params)
    record.record_gallery(checkout, params)

    trained, other = runs(root)
    assert other.data.tags["training_run"] == trained.info.run_id
    assert "test.auroc" not in trained.data.metrics
    assert other.data.metrics["val_auroc"] == 0.7
    assert other.data.metrics["test.auroc"] == 0.9
    assert other.data.params == flatten_params(params.model_dump())
    assert artifacts(root, other)[-1] == "reports/report.html"
    assert len(other.outputs.model_outputs) == 1


def test_pulled_weights_make_a_complete_run_without_a_training(
    root: Path, checkout: Path, params: Params
) -> None:
    record.record_gallery(checkout, params)

    (run,) = runs(root)
    assert run.data.tags["training_run"] == "unknown"
    assert run.data.metrics["train.best_epoch"] == 2
    assert run.data.metrics["test.auroc"] == 0.9
    assert run.info.status == "FINISHED"


def test_what_could_not_be_uploaded_whole_is_not_there(
    root: Path, checkout: Path, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full in the middle of the model's weights, then in the middle of a curve."""
    train(checkout, params)
    copy_file, copy_content = shutil.copyfile, shutil.copyfileobj

    def stored() -> set[Path]:
        return {file for file in (root / store.ARTIFACTS).rglob("*") if file.is_file()}

    def copyfile(source: str, target: str, **options: Any) -> str:
        if Path(source).name == starved and root in Path(target).parents:
            Path(target).write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        return copy_file(source, target, **options)

    def copyfileobj(source: BinaryIO, target: BinaryIO, length: int = 0) -> None:
        if Path(source.name).name == starved:
            target.write(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        copy_content(source, target, length)

    before, left = stored(), {}
    for starved in ("model.safetensors", "roc.csv"):
        with monkeypatch.context() as patched:
            patched.setattr(shutil, "copyfile", copyfile)
            patched.setattr(shutil, "copyfileobj", copyfileobj)
            patched.setattr(unsent, "keep", lambda *_: None)
            record.record_evaluation(checkout, params)
        left[starved] = {file.name for file in stored() - before}
    assert not {"model.safetensors", "MLmodel", "roc.csv"} & left["model.safetensors"]
    assert {"model.safetensors", "MLmodel"} <= left["roc.csv"]
    assert "roc.csv" not in left["roc.csv"]
    record.record_evaluation(checkout, params)
    (run,) = runs(root)
    assert "plots/curves/roc.csv" in artifacts(root, run)
    assert len(run.outputs.model_outputs) == 1


# --- training that ends badly -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "status"), [(ValueError, "FAILED"), (KeyboardInterrupt, "KILLED"), (SystemExit, "KILLED")]
)
def test_a_training_that_breaks_off_is_marked_and_its_error_passed_on(
    root: Path, checkout: Path, params: Params, error: type[BaseException], status: str
) -> None:
    def break_off() -> None:
        with record.track_training(checkout, params) as log:
            log.log_epoch(1, {"lr": 0.001})
            raise error

    with pytest.raises(error):
        break_off()

    (run,) = runs(root)
    assert run.info.status == status
    assert "md5.weights" not in run.data.tags


# --- a store that fails -------------------------------------------------------------------------------------


def test_a_server_that_is_down_costs_a_sentence_a_stage(
    checkout: Path, params: Params, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", CLOSED_PORT.replace("//", "//jane:secret@"))
    train(checkout, params)
    record.record_evaluation(checkout, params)
    record.record_gallery(checkout, params)

    out, err = capfd.readouterr()
    assert out == ""
    assert [line.partition(" failed (")[0] for line in err.splitlines()] == [
        f"warning: MLflow at {CLOSED_PORT}"
    ] * 4
    assert "the start of the run" in err
    assert re.findall(r"kept in \.mlflow-unsent, complete up to (\w+)", err) == [
        "train",
        "evaluate",
        "gallery",
    ]
    assert "python -m pneumonia.tracking.send" in err
    assert "secret" not in err


def test_retries_do_not_touch_the_random_numbers_of_training(
    checkout: Path, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", CLOSED_PORT)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    before = random.getstate()
    train(checkout, params)
    assert random.getstate() == before


def test_a_server_that_is_down_at_first_gets_everything_in_the_end(
    root: Path, checkout: Path, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", CLOSED_PORT)
    with record.track_training(checkout, params) as log:
        log.log_epoch(1, {"lr": 0.001})
        monkeypatch.delenv("MLFLOW_TRACKING_URI")

    (run,) = runs(root)
    assert run.info.status == "FINISHED"
    points = store.open_store(root).client.get_metric_history(run.info.run_id, "lr")
    assert [point.step for point in points] == [1, 2, 3]


def test_a_server_that_dies_is_asked_once_and_then_at_the_end(
    root: Path,
    checkout: Path,
    params: Params,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    asked = []

    def refuse(run: Run, metrics: dict[str, float], time: int, step: int = 0) -> None:
        asked.append(step)
        raise ConnectionResetError("reset by peer")

    with record.track_training(checkout, params) as log:
        log.log_epoch(1, {"lr": 0.001})
        with monkeypatch.context() as patched:
            patched.setattr(Run, "log_metrics", refuse)
            log.log_epoch(2, {"lr": 0.0005})
            log.log_epoch(3, {"lr": 0.0001})

    assert asked == [2]
    assert capfd.readouterr().err.count("epoch 2") == 1
    (run,) = runs(root)
    points = store.open_store(root).client.get_metric_history(run.info.run_id, "lr")
    assert [(point.step, point.value) for point in points] == [(1, 0.001), (2, 0.0005), (3, 0.0001)]


@pytest.mark.parametrize(
    "uri",
    ["file:./mlruns", "unknown-store://host", "sqlite:////dev/null/mlflow.db", "postgresql://127.0.0.1:9/x"],
)
def test_an_unusable_store_is_a_warning(
    checkout: Path,
    params: Params,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    uri: str,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    record.record_gallery(checkout, params)
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"warning: MLflow at {uri} failed (")


@pytest.mark.parametrize(
    "uri", ["http://jane:s3cr]t@half", "http://jane:s3cr/et@half", "x://jane:s3cr#t@half"]
)
def test_an_address_that_is_none_is_a_warning_without_its_password(
    checkout: Path,
    params: Params,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    uri: str,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    record.record_gallery(checkout, params)
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"warning: MLflow at {uri.partition(':')[0]}://half failed (")
    assert "s3cr" not in line


def test_a_database_that_cannot_be_opened_is_given_up_in_seconds(
    checkout: Path, params: Params, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path.as_posix()}/src")  # a folder
    record.record_gallery(checkout, params)
    assert 0 < sum(pauses) < 5


# --- where the store is -------------------------------------------------------------------------------------


def test_the_database_is_in_the_original_repository(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = Path("/copy")
    assert store.repository_root(copy) == root
    assert store.tracking_uri(root) == f"sqlite:///{root.as_posix()}/mlflow.db"
    monkeypatch.delenv("DVC_ROOT")
    assert store.repository_root(copy) == copy.resolve()


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("http://server:5000", "http://server:5000"),
        ("sqlite:////elsewhere/runs.db", "sqlite:////elsewhere/runs.db"),
        ("sqlite:///runs.db", "sqlite:////repo/runs.db"),
        ("", "sqlite:////repo/mlflow.db"),
    ],
)
def test_the_users_uri_wins(monkeypatch: pytest.MonkeyPatch, given: str, used: str) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", given)
    assert store.tracking_uri(Path("/repo")) == used


@pytest.mark.parametrize(
    ("path", "database"),
    [
        (Path("/home/Jane Döe/a#b/mlflow.db"), "/home/Jane Döe/a#b/mlflow.db"),
        (Path("/100%20?/mlflow.db"), "/100%20?/mlflow.db"),
        (PureWindowsPath(r"C:\Users\Jane Doe\mlflow.db"), "C:/Users/Jane Doe/mlflow.db"),
    ],
)
def test_any_path_survives_the_uri(path: Path, database: str) -> None:
    assert make_url(store.sqlite_uri(path)).database == database


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("http://jane:secret@server:5000/x", "http://server:5000/x"),
        ("https://jane:s3c/r?e#t@server", "https://server"),
        ("https://jane:p@ss@server", "https://server"),
        ("http://server/?token=secret#secret", "http://server/"),
        ("http://server/?token=s3cr@et", "http://..."),
        ("http://jane:s?x=3cret@server", "http://..."),
        ("http://[half", "http://[half"),
        ("http:/jane:secret@server", "http:/server"),
        ("postgresql://mlflow:s3cr#t@db.local/mlflow", "postgresql://db.local/mlflow"),
        ("mysql+pymysql://mlflow:s/c?t@db.local:3306/mlflow", "mysql+pymysql://db.local:3306/mlflow"),
        ("mysql://db.local/mlflow?user=a&password=hunter2", "mysql://db.local/mlflow"),
        ("mssql+pyodbc:///?odbc_connect=UID%3Da%3BPWD%3Dp@ss", "mssql+pyodbc:///..."),
        ("sqlite:////home/jane@clinic/a?mode=ro", "sqlite:////home/jane@clinic/a"),
        ("file:./jane@clinic", "file:./jane@clinic"),
        ("./mlruns", "./mlruns"),
        ("databricks://profile", "databricks://profile"),
        ("", ""),
    ],
)
def test_neither_user_name_nor_password_nor_options_are_said(uri: str, said: str) -> None:
    assert store.shown(uri) == said


# --- a checkout that was copied or moved --------------------------------------------------------------------


def test_a_copied_checkout_records_into_its_own_folder_and_keeps_what_came_along(
    checkout: Path, params: Params, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path_factory.mktemp("ünder 100 %20 ")
    old, new = folder / "old", folder / "new"
    old.mkdir()
    monkeypatch.setenv("DVC_ROOT", str(old))
    train(checkout, params)
    record.record_gallery(checkout, params)
    before = sorted(old.rglob("*"))
    shutil.copytree(old, new)
    monkeypatch.setenv("DVC_ROOT", str(new))
    train(checkout, params)
    assert sorted(old.rglob("*")) == before

    came_along, made_here = runs(new)
    assert "reports/report.html" in artifacts(new, came_along)
    assert artifacts(new, made_here) == ["metrics/data.json", "metrics/train.json", "plots/history.csv"]
    shutil.rmtree(old)
    client = store.open_store(new).client
    report = client.download_artifacts(came_along.info.run_id, "reports/report.html")
    assert Path(report).read_text("utf-8") == "<html>"
    (output,) = came_along.outputs.model_outputs
    model = client.get_logged_model(output.model_id)
    assert (Path(local_file_uri_to_path(model.artifact_location)) / "MLmodel").is_file()


def test_of_a_copied_database_alone_the_old_runs_stay_where_their_files_are(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    run = Run.create(store.open_store(old), "old", {}, 0)
    new.mkdir()
    shutil.copy(old / store.DATABASE, new)
    copied = store.open_store(new)
    there = copied.client.get_run(run.id).info.artifact_uri
    assert there.startswith((old / store.ARTIFACTS).as_uri())
    here = copied.client.get_run(Run.create(copied, "new", {}, 0).id).info.artifact_uri
    assert here.startswith((new / store.ARTIFACTS).as_uri())


@pytest.mark.skipif(os.name != "posix", reason="links")
def test_a_checkout_that_is_opened_through_a_link_is_the_same(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "root")
    (tmp_path / "root").mkdir()
    for folder in ("root", "link"):
        opened = store.open_store(tmp_path / folder)
        location = opened.client.get_experiment(opened.experiment_id).artifact_location
        assert location == (tmp_path / "root" / store.ARTIFACTS).as_uri()


@pytest.mark.parametrize("name", ["big disk", "big disk/mlartifacts"])
def test_a_folder_that_somebody_chose_stays(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir(parents=True)
    chosen = (tmp_path / name).as_uri()
    store.open_store(tmp_path).client.create_experiment("chosen", artifact_location=chosen)
    opened = store.open_store(tmp_path, "chosen")
    assert opened.client.get_experiment(opened.experiment_id).artifact_location == chosen


def test_a_store_of_several_checkouts_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path.as_posix()}/shared.db")
    for folder in ("first", "second"):
        opened = store.open_store(tmp_path / folder)
        location = opened.client.get_experiment(opened.experiment_id).artifact_location
        assert location == (tmp_path / "first" / store.ARTIFACTS).as_uri()


RACER = """
import sys
from pathlib import Path
from pneumonia.tracking.run import Run
from pneumonia.tracking.store import open_store

print("ready", flush=True)
sys.stdin.readline()
store = open_store(Path(sys.argv[1]))
run = Run.create(store, "racer", {}, 0)
run.log_params({"lr": "0.1"})
run.log_metrics({"loss": 1.0}, 0)
run.log_files(Path(sys.argv[1]), Path("metrics/a.json"))
run.finish(0)
"""


def test_processes_that_race_for_a_new_store_lose_nothing_and_say_nothing(tmp_path: Path) -> None:
    root = tmp_path / "ünder 100 %20"
    (root / "metrics").mkdir(parents=True)
    (root / "metrics/a.json").write_text("{}", encoding="utf-8")
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(REPOSITORY / "src")},
        )
        for _ in range(2)
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    assert [racer.communicate() for racer in racers] == [("", "")] * 2

    found = runs(root)
    assert [(run.info.status, run.data.metrics) for run in found] == [("FINISHED", {"loss": 1.0})] * 2
    assert [artifacts(root, run) for run in found] == [["metrics/a.json"]] * 2


# --- names and digests --------------------------------------------------------------------------------------


def test_flatten_joins_keys_keeps_texts_and_drops_nothing_but_none() -> None:
    values = {"test": {"auroc": 0.9, "ci": {"low": 0.8}}, "device": "cpu", "gone": None, "odd (name)": 0}
    assert flatten(values, "x.") == {
        "x.test.auroc": 0.9,
        "x.test.ci.low": 0.8,
        "x.device": "cpu",
        "x.odd _name_": 0,
    }


def test_parameters_read_as_in_params_yaml() -> None:
    values = {"path": None, "on": True, "lr": 1e-05, "augment": {"scale": [0.9, 1.1]}, "name": "phantom"}
    assert flatten_params(values) == {
        "path": "null",
        "on": "true",
        "lr": "1e-05",
        "augment.scale": "[0.9, 1.1]",
        "name": "phantom",
    }


def test_the_code_digest_sees_contents_and_names_of_python_files_only(checkout: Path) -> None:
    digests = [provenance.code_sha256(checkout)]
    (checkout / "src/notes.txt").write_text("no code", encoding="utf-8")
    assert provenance.code_sha256(checkout) == digests[0]
    (checkout / "src/.#code.py").symlink_to("jane@host.1234")  # as editors lock a file
    assert provenance.code_sha256(checkout) == digests[0]
    (checkout / "src/pneumonia/code.py").write_text("x = 2\n", encoding="utf-8")
    digests.append(provenance.code_sha256(checkout))
    (checkout / "src/pneumonia/code.py").rename(checkout / "src/pneumonia/edoc.py")
    digests.append(provenance.code_sha256(checkout))
    assert len(set(digests)) == 3


def test_a_missing_file_has_no_digest(tmp_path: Path) -> None:
    assert provenance.file_md5(tmp_path / "none") == "absent"


def test_git_tags_name_the_commit_and_changed_code(checkout: Path) -> None:
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=n", "-c", "user.email=e@x"]
        command = ["git", "-C", str(checkout), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init")
    git("add", ".")
    git("commit", "-m", "first")
    commit = git("rev-parse", "HEAD")
    clean = {"mlflow.source.git.commit": commit, "git.dirty": "false"}
    assert provenance.git_tags(checkout) == clean
    (checkout / paths.TRAIN_METRICS).write_text("{}", encoding="utf-8")
    assert provenance.git_tags(checkout) == clean  # an output of the pipeline is not its code
    (checkout / "stages/new.py").write_text("", encoding="utf-8")
    assert provenance.git_tags(checkout) == clean | {"git.dirty": "true"}


def test_without_git_there_is_no_commit(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(checkout.parent))
    assert provenance.git_tags(checkout) == {}
    monkeypatch.setenv("PATH", "")
    assert provenance.git_tags(checkout) == {}
