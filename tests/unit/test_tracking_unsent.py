"""What MLflow does not take is kept and sent later, whole, once, and by nobody twice."""

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from pneumonia import paths
from pneumonia.errors import UserError
from pneumonia.params import Params, load_params
from pneumonia.tracking import origin, record, store, unsent
from pneumonia.tracking.send import send
from tests.unit.mlflow_server import Server, answering, mlflow_server, silent
from tests.unit.tracking_examples import CLOSED_PORT, make_weights, train, write_checkout

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with mlflow_server(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return make_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def params() -> Params:
    return load_params(REPOSITORY / "params.yaml")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "original").mkdir()
    return tmp_path / "original"


@pytest.fixture
def checkout(tmp_path: Path, weights: bytes) -> Path:
    """The copy that DVC makes for a queued experiment."""
    (tmp_path / "copy").mkdir()
    write_checkout(tmp_path / "copy", weights)
    return tmp_path / "copy"


@pytest.fixture(autouse=True)
def environment(
    root: Path, server: Server, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.left = None
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", request.node.name)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("DVC_ROOT", str(root))
    monkeypatch.setenv("DVC_EXP_NAME", "tepid-hoke")
    monkeypatch.setenv("DVC_EXP_BASELINE_REV", "5" * 40)


def run_stages(checkout: Path, params: Params) -> None:
    train(checkout, params)
    record.record_evaluation(checkout, params)
    record.record_gallery(checkout, params)


def contents(root: Path) -> list[dict[str, Any]]:
    """All that the server has of the runs of the test's experiment, but for ids and times."""
    opened = store.open_store(root)
    client = opened.client
    found = []
    for run in client.search_runs([opened.experiment_id]):
        models = [output.model_id for output in run.outputs.model_outputs]
        found.append(
            {
                "name": run.info.run_name,
                "status": run.info.status,
                "params": run.data.params,
                "tags": run.data.tags,
                "metrics": {
                    key: [
                        (point.step, point.value) for point in client.get_metric_history(run.info.run_id, key)
                    ]
                    for key in run.data.metrics
                },
                "artifacts": {
                    file.path
                    for folder in ("metrics", "plots", "plots/curves", "plots/gallery", "reports")
                    for file in client.list_artifacts(run.info.run_id, folder)
                },
                "models": [str(client.get_logged_model(model).status) for model in models],
                "all models": len(
                    client.search_logged_models(
                        [opened.experiment_id], f"source_run_id = '{run.info.run_id}'"
                    )
                ),
            }
        )
    return found


@pytest.fixture(scope="module")
def whole(
    server: Server, params: Params, weights: bytes, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """What a server that never fails has in the end."""
    folder = tmp_path_factory.mktemp("whole")
    write_checkout(folder, weights)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("MLFLOW_TRACKING_URI", server.uri)
        patched.setenv("MLFLOW_EXPERIMENT_NAME", "whole")
        patched.setenv("DVC_ROOT", str(folder))
        patched.setenv("DVC_EXP_NAME", "tepid-hoke")
        patched.setenv("DVC_EXP_BASELINE_REV", "5" * 40)
        run_stages(folder, params)
        assert unsent.kept(folder) == []
        (run,) = contents(folder)
    assert run["status"] == "FINISHED"
    assert run["models"] == ["READY"]
    assert run["metrics"]["lr"] == [(1, 0.001), (2, 0.0005), (3, 0.0001)]
    return run


# --- kept and sent ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("requests", [0, 2, 3, 4, 6, 12, 20, 28, 40, 50])
def test_a_server_that_dies_after_any_request_gets_the_whole_run_later(
    root: Path, checkout: Path, params: Params, server: Server, whole: dict[str, Any], requests: int
) -> None:
    server.left = requests
    run_stages(checkout, params)
    assert server.left == 0
    assert len(unsent.kept(root)) == 1
    shutil.rmtree(checkout)  # as DVC does after a queued experiment

    server.left = 30  # and again in the middle of sending
    with pytest.raises(UserError, match="1 of 1 runs are still kept"):
        send(root)
    server.left = None
    send(root)
    assert contents(root) == [whole]
    assert unsent.kept(root) == []


@pytest.mark.parametrize("stage", ["evaluate", "gallery"])
def test_a_server_that_comes_back_gets_the_run_from_the_next_stage(
    root: Path,
    checkout: Path,
    params: Params,
    server: Server,
    whole: dict[str, Any],
    stage: str,
) -> None:
    server.left = 4  # in the middle of the training
    train(checkout, params)
    if stage == "gallery":
        record.record_evaluation(checkout, params)
    server.left = None
    if stage == "evaluate":
        record.record_evaluation(checkout, params)
        assert unsent.kept(root) == []
    record.record_gallery(checkout, params)
    assert contents(root) == [whole]
    assert unsent.kept(root) == []


def test_the_next_run_sends_what_is_kept(
    root: Path, checkout: Path, params: Params, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.left = 0
    run_stages(checkout, params)
    server.left = None
    monkeypatch.setenv("DVC_EXP_NAME", "next-one")
    run_stages(checkout, params)
    assert sorted(run["name"] for run in contents(root)) == ["next-one", "tepid-hoke"]
    assert [run["status"] for run in contents(root)] == ["FINISHED"] * 2
    assert unsent.kept(root) == []


def test_times_are_those_of_the_run_and_not_of_its_sending(
    root: Path, checkout: Path, params: Params, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(1000, 9000, 1000))
    for module in (origin, record):
        monkeypatch.setattr(module, "milliseconds", lambda: next(clock))
    server.left = 0
    train(checkout, params)
    server.left = None
    send(root)
    opened = store.open_store(root)
    (run,) = opened.client.search_runs([opened.experiment_id])
    assert (run.info.start_time, run.info.end_time) == (1000, 4000)
    history = opened.client.get_metric_history(run.info.run_id, "lr")
    assert [(point.step, point.timestamp) for point in history] == [(1, 2000), (2, 3000), (3, 4000)]


def test_the_model_is_stored_with_the_code_that_trained_it(
    root: Path, checkout: Path, params: Params, server: Server
) -> None:
    server.left = 0
    run_stages(checkout, params)
    (kept,) = unsent.kept(root)
    (kept / "mlflow-model/code/pneumonia/network/build.py").write_text("# of that day\n", encoding="utf-8")
    server.left = None
    send(root)
    opened = store.open_store(root)
    (model,) = opened.client.search_logged_models([opened.experiment_id])
    (code,) = server.files.rglob(f"{model.model_id}/**/network/build.py")
    assert code.read_text("utf-8") == "# of that day\n"
    description = (code.parents[3] / "MLmodel").read_text("utf-8")
    assert f"model_id: {model.model_id}" in description
    assert f"run_id: {model.source_run_id}" in description


def test_a_run_that_is_repeated_takes_the_place_of_what_was_kept_of_it(
    root: Path, checkout: Path, params: Params, server: Server
) -> None:
    server.left = 0
    run_stages(checkout, params)
    before = unsent.kept(root)
    run_stages(checkout, params)
    assert len(before) == 1
    assert len(unsent.kept(root)) == 1
    assert unsent.kept(root) != before


# --- what it may cost ---------------------------------------------------------------------------------------


def test_a_server_that_never_answers_is_not_waited_for(
    root: Path,
    checkout: Path,
    params: Params,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    # Only our own limits are left.
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "36000")
    for limit in ("LIVE_SECONDS", "STAGE_SECONDS", "KEPT_SECONDS"):
        monkeypatch.setattr(record, limit, 0.1)
    with silent() as uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        run_stages(checkout, params)
    assert len(unsent.kept(root)) == 1
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 4
    assert all("(no answer in 0 seconds)" in line for line in lines)


def test_a_server_that_hangs_is_noticed_by_mlflow_itself(
    root: Path,
    checkout: Path,
    params: Params,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with silent() as uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        train(checkout, params)
    assert len(unsent.kept(root)) == 1
    assert "timed out" in capfd.readouterr().err


def test_a_slow_server_is_left_alone_when_it_has_cost_its_share(
    checkout: Path, params: Params, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = [0.0]
    logged = []

    def slow(call: Any, limit: float) -> None:
        if limit < 20:
            raise TimeoutError
        seconds[0] += 20
        logged.append(limit)

    monkeypatch.setattr(record, "bounded", slow)
    monkeypatch.setattr("time.monotonic", lambda: seconds[0])
    with record.track_training(checkout, params) as log:
        monkeypatch.setattr(log, "_run", object())
        for epoch in range(100):
            seconds[0] += 10
            log.log_epoch(epoch, {"lr": 0.1})
    # The start, no epoch more (30 + 0.05 * 30 - 20 is less than 20), and the end.
    assert logged == [30, 120]


@pytest.mark.parametrize(
    ("status", "body", "headers"),
    [
        (500, b"", {}),
        (503, b"", {"Retry_After": "3600"}),
        (200, b"<html>Please sign in</html>", {}),
        (200, b"{}", {}),
        (302, b"", {"Location": "/login"}),
        (401, b"who are you?", {}),
    ],
)
def test_a_server_that_answers_anything_fails_no_stage(
    root: Path,
    checkout: Path,
    params: Params,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    body: bytes,
    headers: dict[str, str],
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    with answering(status, body, **headers) as uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        run_stages(checkout, params)
    assert len(unsent.kept(root)) == 1
    assert sum(pauses) < 10


# --- the command, and what is lost --------------------------------------------------------------------------


def test_the_command_says_what_it_sends_and_what_it_cannot(
    root: Path, checkout: Path, params: Params, server: Server
) -> None:
    def command(*arguments: str) -> tuple[int, str, str]:
        done = subprocess.run(
            [sys.executable, "-m", "pneumonia.tracking.send", *arguments],
            cwd=root,
            env=os.environ | {"PYTHONPATH": str(REPOSITORY / "src")},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    server.left = 0
    run_stages(checkout, params)
    code, out, err = command()
    assert (code, out) == (1, "")
    assert err.startswith(f"error: MLflow at {server.uri} failed (")
    assert err.endswith(f"); 1 of 1 runs are still kept in {root / '.mlflow-unsent'}.\n")
    server.left = None
    assert command() == (0, f"tepid-hoke is sent to {server.uri}.\n", "")
    assert command() == (0, f"Nothing is kept in {root / '.mlflow-unsent'}.\n", "")


def test_what_was_meant_for_one_store_goes_to_another_only_on_demand(
    root: Path,
    checkout: Path,
    params: Params,
    monkeypatch: pytest.MonkeyPatch,
    server: Server,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", CLOSED_PORT.replace("//", "//jane:secret@"))
    run_stages(checkout, params)
    (kept,) = unsent.kept(root)
    assert "secret" not in (kept / "run.json").read_text("utf-8")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    with pytest.raises(UserError, match="1 of 1 runs are still kept"):
        send(root)
    assert f"tepid-hoke is for {CLOSED_PORT}" in capfd.readouterr().out
    assert contents(root) == []
    send(root, anywhere=True)
    assert [run["name"] for run in contents(root)] == ["tepid-hoke"]


def test_two_that_send_at_once_send_once(
    root: Path, checkout: Path, params: Params, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.left = 0
    run_stages(checkout, params)
    server.left = None
    monkeypatch.setattr(unsent, "LOCK_SECONDS", 0)
    with FileLock(root / unsent.FOLDER / ".lock"):
        with pytest.raises(UserError, match="Another process is sending"):
            send(root)
        # Nor does a stage of the same run go on with it; of another run, it says nothing.
        record.record_gallery(checkout, params)
        monkeypatch.setenv("DVC_EXP_NAME", "other")
        record.record_gallery(checkout, params)
        assert [run["name"] for run in contents(root)] == ["other"]
    send(root)
    assert sorted(run["name"] for run in contents(root)) == ["other", "tepid-hoke"]


def test_a_disk_that_is_full_keeps_nothing_and_that_is_said(
    root: Path,
    checkout: Path,
    params: Params,
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    server.left = 0
    monkeypatch.setattr(unsent, "save_model", full)
    run_stages(checkout, params)
    _, training, evaluation, gallery = capfd.readouterr().err.splitlines()
    assert "kept in .mlflow-unsent, complete up to train" in training
    for line in (evaluation, gallery):
        assert "cannot be kept" in line
        assert "No space left on device" in line
        assert "`dvc repro -f -s gallery` tries again" in line
    # What had been kept before stays, and no half of a run.
    (kept,) = unsent.kept(root)
    assert [entry for entry in (root / unsent.FOLDER).iterdir() if entry.is_dir()] == [kept]
    assert json.loads((kept / "run.json").read_text("utf-8"))["last"] == "train"


def test_a_training_that_breaks_off_unseen_is_said_to_be_lost(
    root: Path, checkout: Path, params: Params, server: Server, capfd: pytest.CaptureFixture[str]
) -> None:
    def break_off() -> None:
        with record.track_training(checkout, params) as log:
            log.log_epoch(1, {"lr": 0.001})
            raise ValueError

    server.left = 0
    with pytest.raises(ValueError, match=r"^$"):
        break_off()
    assert capfd.readouterr().err.endswith("MLflow has no run of this training, which is FAILED.\n")
    server.left = 4
    with pytest.raises(ValueError, match=r"^$"):
        break_off()
    server.left = None
    (run,) = contents(root)
    assert run["status"] == "RUNNING"
    assert "without its end: FAILED" in capfd.readouterr().err


@pytest.mark.parametrize(
    "content", ["", "[]", '{"last": "gallery"}', '{"last": "train", "origin": {"old": 1}}']
)
def test_what_another_version_kept_is_left_alone(
    root: Path,
    checkout: Path,
    params: Params,
    server: Server,
    capfd: pytest.CaptureFixture[str],
    content: str,
) -> None:
    server.left = 0
    run_stages(checkout, params)
    (kept,) = unsent.kept(root)
    (kept / "run.json").write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match="1 of 1 runs are still kept"):
        send(root)
    assert f"{kept} was kept by another version" in capfd.readouterr().out
    assert (kept / paths.REPORT).is_file()
