"""Run recipes with several seeds through DVC's queue: `python -m pneumonia.recipe_queue NAME ...`.

`make recipes RECIPES="NAME ..." SEEDS="0 1 2"` does the same. Each recipe and seed is an experiment of the
name that `make exp` gives it. What is done, here or in docs/results, is skipped; the rest is queued and
worked off. The command may be interrupted or killed, and so may DVC's workers: the same command goes on.
After Ctrl-C the workers go on alone; `dvc queue stop --kill` ends them.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout

from pneumonia.command_line import ended_in_words, take_settings
from pneumonia.dvc_queue import Queue, Task, last_error
from pneumonia.errors import UserError
from pneumonia.params import Params
from pneumonia.recipes import catalogue, experiment_command, experiment_name, is_grid, params_with
from pneumonia.results.collect import collect, experiment_params, is_of
from pneumonia.results.experiments import head, list_experiments
from pneumonia.results.matching import differences
from pneumonia.results.record import read_result
from pneumonia.results.traceable import untraceable

LOCK = Path(".dvc/tmp/recipes.lock")
SECONDS = 2.0
"""Between two looks at the queue."""
ATTEMPTS = 3
"""How often an experiment whose worker is gone is queued anew by one command."""


class Job(NamedTuple):
    """A recipe with a seed."""

    name: str
    """Of the experiment."""
    recipe: str
    seed: int
    command: list[str]
    params: Params


def plan(recipes: Sequence[str], seeds: Sequence[int], settings: list[str], root: Path) -> list[Job]:
    """All experiments that are wanted, seed by seed, so that an interrupted list has some of everything.

    Raises:
        UserError: a recipe is unknown or wrong, or a setting is; a setting has several values.
    """
    for setting in settings:
        if is_grid(setting.partition("=")[2]):
            raise UserError(f'-S {setting}: a grid is for `make exp RECIPE=... SET="-S {setting} --queue"`.')
    jobs = []
    for seed in dict.fromkeys(seeds):
        for recipe in dict.fromkeys(recipes):
            given = [f"seed={seed}", *settings]
            command = experiment_command(recipe, given, root)
            params = params_with(recipe, given, root)
            jobs.append(Job(experiment_name(recipe, given), recipe, seed, command, params))
    return jobs


def is_done(job: Job, root: Path) -> bool:
    """Whether an experiment of this name has run with these parameters to its end, or its result is kept.

    Raises:
        UserError: the commit that is checked out has an experiment of this name with other parameters.
    """
    here = head(root)
    in_the_way = None
    for experiment in list_experiments(root):
        if experiment.name != job.name:
            continue
        try:
            params = experiment_params(experiment, root)
            differing = differences(job.params, params) or untraceable(experiment, root)
            if job.params.source.patients and not params.source.patients:
                differing.append("it did not know the patients of source.patients")
        except UserError as error:
            differing = [str(error)]
        if not differing:
            return True
        if experiment.baseline == here:
            in_the_way = "; ".join(differing)
    if job.name == experiment_name(job.recipe, [f"seed={job.seed}"]):
        kept = read_result(root, job.recipe, job.seed)
        blind = kept is not None and kept.patients_unknown and job.params.source.patients
        if kept is not None and is_of(kept, job.params, root) and not blind:
            return True
    if in_the_way:
        raise UserError(
            f"The experiment {job.name} is not this run ({in_the_way}); "
            f"`dvc exp remove {job.name}` frees the name."
        )
    return False


@dataclass
class Progress:
    """Works a list of jobs off and says how far it is."""

    queue: Queue
    jobs: list[Job]
    done: Callable[[Job], bool]
    started: dict[str, float] = field(default_factory=dict)
    took: list[float] = field(default_factory=list)
    finished: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    attempts: dict[str, int] = field(default_factory=dict)
    shown: str = ""

    def left(self) -> list[Job]:
        """Those that neither ended nor failed."""
        return [job for job in self.jobs if job.name not in self.failed and job.name not in self.finished]

    def step(self, workers: int) -> None:
        """Look once; queue what is neither done nor queued, and start workers where some are missing."""
        # Workers are counted first: a task that runs afterwards and has none was left behind by a dead one.
        alive = len(self.queue.workers())
        tasks = {task.name: task for task in self.queue.tasks()}
        for job in self.left():
            if self.done(job):
                self._end(job)
                continue
            task = tasks.get(job.name)
            if task is None or task.state == "Success":
                # On its way from one state to the next while there are workers.
                if alive == 0:
                    self._queue_anew(job, task)
            elif task.state == "Running":
                self.started.setdefault(job.name, time.monotonic())
                if alive == 0:
                    self._queue_anew(job, task)
            elif task.state == "Failed":
                self.failed[job.name] = last_error(self.queue.log(task))
        self._show(tasks)
        if self.left() and alive < workers:
            self.queue.start_workers(workers)

    def prepare(self) -> None:
        """Mark what is done, forget what failed earlier, and queue the rest."""
        alive = len(self.queue.workers())
        tasks = {task.name: task for task in self.queue.tasks()}
        for job in self.jobs:
            task = tasks.get(job.name)
            if self.done(job):
                self.finished.append(job.name)
                continue
            lost = task is not None and task.state == "Running" and alive == 0
            if task is None or lost or task.state in ("Failed", "Success"):
                self._queue_anew(job, task)
        queued = len(self.left())
        _say(f"{len(self.finished)} of {len(self.jobs)} are done; {queued} to run.")

    def _queue_anew(self, job: Job, task: Task | None) -> None:
        self.attempts[job.name] = self.attempts.get(job.name, 0) + 1
        if self.attempts[job.name] > ATTEMPTS:
            self.failed[job.name] = f"its worker was gone {ATTEMPTS} times"
            return
        self.started.pop(job.name, None)
        if task is not None:
            self.queue.forget(task)
        error = self.queue.add(job.command)
        if error:
            self.failed[job.name] = error
        else:
            _say(f"queued  {job.name}")

    def _end(self, job: Job) -> None:
        self.finished.append(job.name)
        if job.name in self.started:
            self.took.append(time.monotonic() - self.started[job.name])
        _say(f"done    {job.name}")

    def _show(self, tasks: dict[str, Task]) -> None:
        running = [
            job.name for job in self.left() if job.name in tasks and tasks[job.name].state == "Running"
        ]
        line = describe(
            len(self.finished), len(self.failed), len(self.jobs), running, self._remaining(running)
        )
        if running and line != self.shown:
            self.shown = line
            _say(line)

    def _remaining(self, running: list[str]) -> float | None:
        if not self.took:
            return None
        mean = sum(self.took) / len(self.took)
        spent = sum(min(mean, time.monotonic() - self.started[name]) for name in running)
        return max(0.0, mean * len(self.left()) - spent) / max(1, len(running))


def describe(done: int, failed: int, total: int, running: list[str], remaining: float | None) -> str:
    """One line of progress; the time in whole minutes, so that it changes once a minute at most.

    >>> describe(2, 0, 6, ["plain-s1"], 1500.0)
    '2 of 6 done, 4 left; running plain-s1; about 25 minutes left'
    """
    parts = [f"{done} of {total} done" + (f", {failed} failed" if failed else "")]
    parts[0] += f", {total - done - failed} left"
    parts.append(f"running {', '.join(running)}")
    if remaining is not None:
        minutes = max(1, round(remaining / 60))
        parts.append(f"about {minutes} minute{'s' if minutes > 1 else ''} left")
    return "; ".join(parts)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def work_off(jobs: list[Job], workers: int, root: Path) -> int:
    """Run what is not done, write the result files, and return the exit status.

    Raises:
        UserError: this is no DVC repository, another such command works in it, or one of the names is taken
            by an experiment with other parameters.
    """
    queue = Queue(root)  # before the lock, whose folder would make a DVC repository of any other
    lock = FileLock(root / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError("`make recipes` is already at work in this checkout; let it end first.") from None
    with lock:
        for job in jobs:
            is_done(job, root)  # so that a name in the way stops all before anything is queued
        progress = Progress(queue, jobs, lambda job: is_done(job, root))
        progress.prepare()
        while progress.left():
            progress.step(workers)
            if progress.left():
                time.sleep(SECONDS)
        collected = collect(root)
    for path in collected.written:
        _say(f"wrote   {path}")
    for sentence in (*collected.refused, *collected.remarks):
        _say(sentence)
    for name, error in progress.failed.items():
        _say(f"FAILED  {name}: {error} (`dvc queue logs {name}`)")
    return 1 if progress.failed else 0


def main(arguments: list[str], root: Path) -> int:
    """Read the command line and work it off.

    Raises:
        UserError: as `plan` and `work_off`.
    """
    parser = argparse.ArgumentParser(
        prog="python -m pneumonia.recipe_queue",
        description="Run recipes with several seeds through DVC's queue.",
        allow_abbrev=False,
    )
    parser.add_argument("recipes", nargs="*", help="names of recipes/; without any they are listed")
    parser.add_argument(
        "--seeds", nargs="+", type=int, default=[0, 1, 2], metavar="K", help="seeds; default: 0 1 2"
    )
    take_settings(parser)
    parser.add_argument("-j", "--jobs", type=int, default=1, help="how many at a time; default: 1")
    options = parser.parse_args(arguments)
    if not options.recipes:
        _say(catalogue(root))
        return 0
    jobs = plan(options.recipes, options.seeds, options.set_param, root)
    return work_off(jobs, max(1, options.jobs), root)


if __name__ == "__main__":
    with ended_in_words("What runs goes on in the background; `dvc queue stop --kill` ends it."):
        sys.exit(main(sys.argv[1:], Path()))
