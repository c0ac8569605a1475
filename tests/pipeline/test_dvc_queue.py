"""DVC's queue with one stage that only waits: what killed workers leave behind is found and cleared away."""

import os
from pathlib import Path

import psutil
import pytest
from conftest import Repository

from pneumonia.dvc_queue import Queue

pytestmark = pytest.mark.pipeline

PIPELINE = """
stages:
  wait:
    cmd: python wait.py
    params: [x]
    outs: [out.txt]
"""
WAIT = """
import os, time
from pathlib import Path
Path(os.environ["DVC_ROOT"], "started").write_text(str(os.getpid()))
time.sleep(600)
"""


@pytest.fixture
def waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    repository = Repository(tmp_path)
    for name, value in repository.environment().items():
        monkeypatch.setenv(name, value)
    repository.run("git", "init", "--quiet", "--initial-branch=main")
    repository.dvc("init", "--quiet")
    (tmp_path / "dvc.yaml").write_text(PIPELINE, "utf-8")
    (tmp_path / "params.yaml").write_text("x: 1\n", "utf-8")
    (tmp_path / "wait.py").write_text(WAIT, "utf-8")
    os.mkfifo(tmp_path / "started")
    repository.run("git", "add", "dvc.yaml", "params.yaml", "wait.py", ".dvc", ".dvcignore")
    repository.run("git", "commit", "--quiet", "--message", "start")
    return repository


def test_what_is_queued_is_listed_by_name_and_a_refusal_is_one_sentence(waiting: Repository) -> None:
    queue = Queue(waiting.root)
    assert queue.tasks() == []
    assert queue.add(["dvc", "exp", "run", "--name", "mine", "-S", "x=2"]) is None
    assert [(task.name, task.state) for task in queue.tasks()] == [("mine", "Queued")]
    refusal = queue.add(["dvc", "exp", "run", "--name", "other", "-S", "y.z=2"])
    assert refusal is not None
    assert refusal.startswith("ERROR: ")
    assert len(queue.tasks()) == 1
    assert queue.workers() == []
    assert waiting.run("git", "status", "--porcelain", "--untracked-files=no") == ""


def test_a_task_whose_worker_was_killed_leaves_no_process_and_no_copy(waiting: Repository) -> None:
    queue = Queue(waiting.root)
    queue.add(["dvc", "exp", "run", "--name", "mine", "-S", "x=2"])
    queue.start_workers(1)
    stage = psutil.Process(int((waiting.root / "started").read_text()))  # returns when the stage writes
    (worker,) = queue.workers()
    worker.kill()
    worker.wait()
    assert queue.workers() == []
    (task,) = queue.tasks()
    assert (task.name, task.state) == ("mine", "Running")  # DVC would list it so for ever
    assert stage.is_running()
    assert "Running stage 'wait'" in queue.log(task)

    queue.forget(task)
    assert queue.tasks() == []
    assert not stage.is_running()
    assert list((waiting.root / ".dvc/tmp/exps").glob("tmp*")) == []
    assert queue.add(["dvc", "exp", "run", "--name", "mine", "-S", "x=2"]) is None


def test_a_task_whose_worker_was_killed_while_setting_it_up_is_forgotten(waiting: Repository) -> None:
    queue = Queue(waiting.root)
    queue.add(["dvc", "exp", "run", "--name", "mine", "-S", "x=2"])
    broker = waiting.root / ".dvc/tmp/exps/celery/broker"
    (message,) = (broker / "in").iterdir()
    message.rename(broker / "processed" / message.name)  # a worker has taken it, and done no more
    (task,) = queue.tasks()
    assert task.state == "Running"
    queue.forget(task)
    assert queue.tasks() == []
    assert "refs/exps/celery/stash" not in waiting.run("git", "for-each-ref", "refs/exps")
