"""The queue of recipes: what is planned, skipped, queued anew and given up; a table stands for the queue."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from results_examples import add_experiment, git, make_checkout

from pneumonia.dvc_queue import Queue, State, Task, last_error
from pneumonia.errors import UserError
from pneumonia.recipe_queue import ATTEMPTS, Progress, describe, is_done, main, plan
from pneumonia.results.collect import collect

BASELINE, AUGMENTED = "singh-baseline", "singh-augmented"
SETTINGS = {
    "arch": "resnet18",
    "head_epochs": 1,
    "backbone_lr_factor": 1.0,
    "epochs": 5,
    "batch_size": 32,
    "optimizer": "adam",
    "lr": 0.001,
    "momentum": 0.0,
    "weight_decay": 0.0,
    "schedule": "constant",
    "warmup_epochs": 0,
    "plateau_patience": 10,
    "gradient_clip": 0.0,
    "monitor": "val_accuracy",
    "source.name": "kermany",
    "evaluate.threshold_rule": "fixed",
    "augment.flip_horizontal": 0.0,
    "augment.rotation": 0,
    "augment.translation": 0.0,
    "augment.scale": [1.0, 1.0],
    "augment.brightness": 0.0,
    "augment.contrast": 0.0,
}
"""Of singh-baseline."""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    return make_checkout(tmp_path)


# --- the plan -----------------------------------------------------------------------------------------------


def test_each_recipe_with_each_seed_under_the_name_that_make_exp_gives_it(checkout: Path) -> None:
    jobs = plan([BASELINE, AUGMENTED, BASELINE], [0, 1, 1], ["source.path=../a.zip"], checkout)
    assert [job.name for job in jobs] == [
        f"{BASELINE}-s0",
        f"{AUGMENTED}-s0",
        f"{BASELINE}-s1",
        f"{AUGMENTED}-s1",
    ]
    assert jobs[3].command[:5] == ["dvc", "exp", "run", "--name", f"{AUGMENTED}-s1"]
    assert jobs[3].command[-4:] == ["-S", "seed=1", "-S", "source.path=../a.zip"]
    assert (jobs[3].params.seed, jobs[3].params.weight_decay) == (1, 1e-4)


@pytest.mark.parametrize(
    ("recipes", "settings", "sentence"),
    [
        ([BASELINE, "singh-augmnted"], [], "the recipe singh-augmnted is not in recipes; did you mean"),
        ([BASELINE], ["epoch=2"], "unknown key 'epoch'"),
        ([BASELINE], ["augment.rotation=wide"], "augment.rotation is 'wide'; it must be a number"),
        ([BASELINE], ["lr"], "-S lr: a setting is key=value"),
        ([BASELINE], ["arch=resnet18,resnet50"], "-S arch=resnet18,resnet50: a grid is for `make exp"),
    ],
)
def test_a_mistake_stops_all_before_anything_is_queued(
    checkout: Path, recipes: list[str], settings: list[str], sentence: str
) -> None:
    arguments = [*recipes, *(part for setting in settings for part in ("-S", setting))]
    with pytest.raises(UserError) as caught:
        main(arguments, checkout)
    assert sentence in str(caught.value)
    assert not (checkout / ".dvc").exists()


def test_without_a_name_the_recipes_are_listed(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seeds", "0"], checkout) == 0
    assert BASELINE in capsys.readouterr().out


def test_without_dvc_it_says_so(checkout: Path) -> None:
    with pytest.raises(UserError, match="DVC cannot open"):
        main([BASELINE, "--seeds", "0"], checkout)


# --- what is done -------------------------------------------------------------------------------------------


def test_an_experiment_with_the_same_parameters_is_done(checkout: Path) -> None:
    (job,) = plan([BASELINE], [1], ["source.path=../a.zip", "threads=1"], checkout)
    assert not is_done(job, checkout)
    add_experiment(checkout, f"{BASELINE}-s1", SETTINGS | {"seed": 1})
    assert is_done(job, checkout)


def test_it_is_done_on_an_older_commit_too(checkout: Path) -> None:
    add_experiment(checkout, f"{BASELINE}-s1", SETTINGS | {"seed": 1})
    git(checkout, "commit", "--quiet", "--allow-empty", "--message", "later")
    (job,) = plan([BASELINE], [1], [], checkout)
    assert is_done(job, checkout)


def test_other_parameters_under_the_name_are_in_the_way_on_this_commit_only(checkout: Path) -> None:
    add_experiment(checkout, f"{BASELINE}-s1", SETTINGS | {"seed": 1, "lr": 0.5})
    (job,) = plan([BASELINE], [1], [], checkout)
    with pytest.raises(UserError, match=r"is not this run \(lr is 0.5 instead of 0.001\); `dvc exp remove"):
        is_done(job, checkout)
    git(checkout, "commit", "--quiet", "--allow-empty", "--message", "later")
    assert not is_done(job, checkout)


def test_an_experiment_whose_results_are_not_its_own_is_not_done(checkout: Path) -> None:
    add_experiment(
        checkout, f"{BASELINE}-s1", SETTINGS | {"seed": 1}, change=lambda stages: stages.pop("evaluate")
    )
    (job,) = plan([BASELINE], [1], [], checkout)
    with pytest.raises(UserError, match=r"is not this run \(no stage in its dvc.lock wrote metrics/eval"):
        is_done(job, checkout)


def test_one_of_unknown_patients_is_not_done_when_they_are_given(checkout: Path) -> None:
    add_experiment(checkout, f"{BASELINE}-s1", SETTINGS | {"seed": 1})
    (job,) = plan([BASELINE], [1], ["source.patients=map.json"], checkout)
    with pytest.raises(UserError, match=r"it did not know the patients of source.patients"):
        is_done(job, checkout)


def test_a_kept_result_is_done_for_the_recipe_alone(checkout: Path) -> None:
    commit = add_experiment(checkout, f"{BASELINE}-s1", SETTINGS | {"seed": 1})
    collect(checkout)
    head = git(checkout, "rev-parse", "HEAD")
    git(checkout, "update-ref", "-d", f"refs/exps/{head[:2]}/{head[2:]}/{BASELINE}-s1", commit)
    (job,) = plan([BASELINE], [1], [], checkout)
    assert is_done(job, checkout)
    (other,) = plan([BASELINE], [1], ["lr=0.5"], checkout)
    assert not is_done(other, checkout)


# --- working it off -----------------------------------------------------------------------------------------


@dataclass
class Table:
    """DVC's queue, as far as it is used."""

    states: dict[str, State] = field(default_factory=dict)
    alive: int = 0
    added: list[str] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)
    started: list[int] = field(default_factory=list)
    error: str | None = None

    def workers(self) -> list[Any]:
        return [None] * self.alive

    def tasks(self) -> list[Task]:
        return [Task(name, f"rev of {name}", state) for name, state in self.states.items()]

    def add(self, command: list[str]) -> str | None:
        name = command[4]
        self.added.append(name)
        if self.error is None:
            self.states[name] = "Queued"
        return self.error

    def forget(self, task: Task) -> None:
        self.forgotten.append(task.name)
        del self.states[task.name]

    def start_workers(self, count: int) -> None:
        self.started.append(count)
        self.alive = count

    def log(self, task: Task) -> str:
        return "Running stage 'train':\nerror: arch is resnet99.\nERROR: failed to reproduce 'train': x\n"


ONE, TWO = f"{BASELINE}-s0", f"{BASELINE}-s1"


def progress(table: Table, root: Path, done: set[str]) -> Progress:
    return Progress(cast("Queue", table), plan([BASELINE], [0, 1], [], root), lambda job: job.name in done)


def test_what_is_neither_done_nor_queued_is_queued_once(checkout: Path) -> None:
    table = Table({TWO: "Queued"})
    work = progress(table, checkout, done=set())
    work.prepare()
    work.step(1)
    work.step(1)
    assert (table.added, table.forgotten, table.started) == ([ONE], [], [1])

    table = Table()
    work = progress(table, checkout, done={ONE})
    work.prepare()
    work.step(2)
    assert (table.added, table.started) == ([TWO], [2])


def test_nothing_is_started_when_all_is_done(checkout: Path) -> None:
    table = Table()
    work = progress(table, checkout, done={ONE, TWO})
    work.prepare()
    assert work.left() == []
    assert (table.added, table.started) == ([], [])


def test_a_running_task_without_a_worker_is_queued_anew(checkout: Path) -> None:
    table = Table({ONE: "Running", TWO: "Queued"})
    work = progress(table, checkout, done=set())
    work.prepare()
    assert (table.added, table.forgotten) == ([ONE], [ONE])
    work.step(1)
    table.states[ONE] = "Running"
    work.step(1)
    assert table.added == [ONE]  # it has a worker
    table.alive = 0
    work.step(1)
    assert (table.added, table.forgotten) == ([ONE, ONE], [ONE, ONE])


def test_what_failed_earlier_is_tried_again_and_what_fails_now_is_not(checkout: Path) -> None:
    table = Table({ONE: "Failed"}, alive=1)
    work = progress(table, checkout, done={TWO})
    work.prepare()
    assert (table.added, table.forgotten) == ([ONE], [ONE])
    table.states[ONE] = "Failed"
    work.step(1)
    assert work.failed == {ONE: "error: arch is resnet99."}
    assert work.left() == []
    assert table.added == [ONE]


def test_a_task_that_vanished_waits_for_the_workers_to_end(checkout: Path) -> None:
    table = Table(alive=1)
    work = progress(table, checkout, done={TWO})
    work.prepare()
    table.states.clear()
    work.step(1)
    assert table.added == [ONE]
    table.alive = 0
    work.step(1)
    assert table.added == [ONE, ONE]


def test_it_gives_up_after_some_attempts(checkout: Path) -> None:
    table = Table()
    work = progress(table, checkout, done={TWO})
    work.prepare()
    for _ in range(ATTEMPTS):
        table.states[ONE] = "Running"
        table.alive = 0
        work.step(1)
    assert len(table.added) == ATTEMPTS
    assert work.failed == {ONE: f"its worker was gone {ATTEMPTS} times"}


def test_dvcs_refusal_to_queue_is_a_failure_of_that_one(checkout: Path) -> None:
    table = Table({TWO: "Queued"}, error="ERROR: no")
    work = progress(table, checkout, done=set())
    work.prepare()
    assert work.failed == {ONE: "ERROR: no"}
    assert [job.name for job in work.left()] == [TWO]


def test_what_ended_is_said_with_the_time_that_is_left(
    checkout: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = 0.0
    monkeypatch.setattr("pneumonia.recipe_queue.time.monotonic", lambda: clock)
    done: set[str] = set()
    table = Table(alive=1)
    work = progress(table, checkout, done)
    work.prepare()
    table.states[ONE] = "Running"
    work.step(1)
    clock = 600.0
    done.add(ONE)
    table.states |= {ONE: "Success", TWO: "Running"}
    work.step(1)
    assert capsys.readouterr().out.splitlines() == [
        f"queued  {ONE}",
        f"queued  {TWO}",
        "0 of 2 are done; 2 to run.",
        f"0 of 2 done, 2 left; running {ONE}",
        f"done    {ONE}",
        f"1 of 2 done, 1 left; running {TWO}; about 10 minutes left",
    ]


def test_the_line_of_progress() -> None:
    assert describe(1, 1, 4, ["a", "b"], 59.0) == (
        "1 of 4 done, 1 failed, 2 left; running a, b; about 1 minute left"
    )


@pytest.mark.parametrize(
    ("log", "sentence"),
    [
        ("a\nerror: arch is x.\nERROR: failed to reproduce 'train': failed to run\n", "error: arch is x."),
        ("a\nERROR: failed to reproduce 'train'\n", "ERROR: failed to reproduce 'train'"),
        ("train: 1%\rtrain: 2%\rKilled\n", "Killed"),
        ("", "no message"),
    ],
)
def test_the_last_error_is_the_stages_own(log: str, sentence: str) -> None:
    assert last_error(log) == sentence
