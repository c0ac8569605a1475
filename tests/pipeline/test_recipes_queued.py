"""`make recipes` with two recipes and two seeds: killed in the middle, run again, and one that fails."""

import json
import os
import signal
import sys

import pytest
from conftest import Repository

from pneumonia.dvc_queue import Queue
from pneumonia.results.record import read_results

pytestmark = pytest.mark.pipeline

COMMAND = (sys.executable, "-m", "pneumonia.recipe_queue", "--seeds", "0", "1", "--", "tiny", "tinier")
NAMES = ["tinier-s0", "tinier-s1", "tiny-s0", "tiny-s1"]


def experiments(repository: Repository) -> dict[str, str]:
    """Names and commits."""
    listed = repository.run("git", "for-each-ref", "--format=%(refname) %(objectname)", "refs/exps")
    pairs = [line.split() for line in listed.splitlines()]
    return {name.rpartition("/")[2]: commit for name, commit in pairs if name.count("/") == 4}


def test_killed_in_the_middle_it_goes_on_does_nothing_twice_and_names_what_fails(
    repository: Repository,
) -> None:
    environment = {"PYTHONPATH": "src"}
    recipes = repository.root / "recipes"
    (recipes / "tiny.yaml").write_text("# Tiny.\nepochs: 1\nwarmup_epochs: 0\n", "utf-8")
    (recipes / "tinier.yaml").write_text("# Tinier.\nbase: tiny\nlr: 1e-2\n", "utf-8")
    repository.commit("two recipes")

    wrong = repository.run(*COMMAND[:3], "-S", "epoch=2", *COMMAND[3:], fails=True, **environment)
    assert "unknown key 'epoch'; did you mean 'epochs'?" in wrong
    assert "No experiment tasks in the queue" in repository.dvc("queue", "status")

    with repository.start(*COMMAND, **environment) as first:
        assert first.stdout is not None
        for line in first.stdout:
            if line.startswith("1 of 4 done, 3 left; running "):
                break
        first.send_signal(signal.SIGKILL)
        first.wait()
        queue = Queue(repository.root)
        (worker,) = queue.workers()
        os.kill(worker.pid, signal.SIGKILL)
        worker.wait()
    before = experiments(repository)
    assert len(before) == 1
    (lost,) = [task.name for task in queue.tasks() if task.state == "Running"]

    output = repository.run(*COMMAND, **environment)
    assert "1 of 4 are done; 3 to run." in output
    assert f"queued  {lost}" in output
    assert output.count("queued  ") == 1
    after = experiments(repository)
    assert sorted(after) == NAMES
    assert {name: after[name] for name in before} == before
    for worker in queue.workers():  # an experiment is there a moment before its task has ended
        worker.wait(timeout=300)
    assert [task.name for task in queue.tasks() if task.state != "Success"] == []

    for recipe, rate in (("tiny", 3e-3), ("tinier", 1e-2)):
        results = read_results(repository.root, recipe)
        assert [result.seed for result in results] == [0, 1]
        assert {result.parameters["lr"] for result in results} == {rate}
        for result in results:
            shown = repository.run("git", "show", f"{after[result.experiment]}:metrics/evaluate.json")
            assert result.test.accuracy == json.loads(shown)["test"]["accuracy"]

    assert "4 of 4 are done; 0 to run." in repository.run(*COMMAND, **environment)
    assert experiments(repository) == after

    (recipes / "wrong.yaml").write_text("# No such architecture.\nbase: tiny\narch: resnet99\n", "utf-8")
    failing = repository.run(*COMMAND, "wrong", fails=True, **environment)
    assert "4 of 6 are done; 2 to run." in failing
    for name in ("wrong-s0", "wrong-s1"):
        (line,) = [line for line in failing.splitlines() if line.startswith(f"FAILED  {name}: error: ")]
        assert "resnet99" in line
    assert experiments(repository) == after
