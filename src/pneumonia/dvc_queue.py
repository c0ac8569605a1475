"""DVC's queue of experiments: what is in it, who works on it, and what was left behind by killed workers.

States are read through DVC's Python classes: the command line tells them without the experiment's name in
full or at the price of seconds a question, and it takes a task for running for ever when its worker was
killed. `dvc queue kill` is no remedy: it signals the process number that the task once had, whosever that is
by now. What changes the workspace or starts a process is left to the command line, in a process of its own,
so that an interruption of ours does not hit DVC between two steps.
"""

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import psutil
from celery.result import AsyncResult
from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc.scm import SCMError

from pneumonia.errors import UserError

ATTEMPTS = 5
PAUSE = 0.5  # seconds
WORKER_APPEARS = 60.0
"""Seconds in which a started worker is there, on the busiest machine."""

State = Literal["Queued", "Running", "Failed", "Success"]


class Task(NamedTuple):
    """An experiment in the queue, or one that the queue has had."""

    name: str
    rev: str
    """Commit of what was queued: the task's key."""
    state: State


class Queue:
    """The queue of one repository.

    Raises:
        UserError: it is no DVC repository.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        try:
            self._repo = Repo(str(self.root))
        except DvcException as error:
            raise UserError(f"DVC cannot open {self.root}: {error}") from error
        self._queue = self._repo.experiments.celery_queue

    def tasks(self) -> list[Task]:
        """All tasks, the oldest first.

        Raises:
            UserError: DVC cannot read its queue.
        """
        # A task that goes from one state to the next may be missing in one look, but not in two.
        rows = {row["rev"]: row for row in [*self._look(), *self._look()]}
        ordered = sorted(rows.values(), key=lambda row: row["timestamp"])
        return [Task(row["name"] or "", row["rev"], cast("State", row["status"])) for row in ordered]

    def add(self, command: list[str]) -> str | None:
        """Queue what a `dvc exp run` command line would run; return DVC's error, or None."""
        done = self._dvc([*command[1:], "--queue"])
        if done.returncode == 0:
            return None
        return last_error(done.stdout)

    def workers(self) -> list[psutil.Process]:
        """The living worker processes of this repository."""
        node = "dvc-exp-" + hashlib.sha256(self._queue.wdir.encode()).hexdigest()[:6]
        return [
            process
            for process, arguments in _processes()
            if "queue-worker" in arguments and any(argument.startswith(node) for argument in arguments)
        ]

    def start_workers(self, count: int) -> None:
        """Start as many as are missing to `count`; return when one more is there.

        Raises:
            UserError: none starts.
        """
        before = len(self.workers())
        # Without a pipe: the workers would hold its other end open for as long as they live.
        self._dvc(["queue", "start", "-j", str(count)], stdout=subprocess.DEVNULL)
        # A worker takes seconds to appear; asked again before, DVC would start it twice.
        until = time.monotonic() + WORKER_APPEARS
        while len(self.workers()) <= before:
            if time.monotonic() > until:
                raise UserError(
                    "DVC's worker does not start; its messages are in .dvc/tmp/exps/celery, files *.out."
                )
            time.sleep(PAUSE)

    def forget(self, task: Task) -> None:
        """Remove a task that failed or whose worker is gone, with its process and its temporary copy."""
        infofile = Path(self._queue.get_infofile_path(task.rev))
        for process, arguments in _processes():
            if "exec-run" in arguments and str(infofile) in arguments:
                _kill_with_children(process)
        self._remove_copy(task)
        for result, entry in list(self._queue._iter_active_tasks()):
            if entry.stash_rev == task.rev:
                self._queue.celery.backend.mark_as_failure(result.id, None)
        # A task that was killed while being set up is removed from the stash first, then from the list.
        while any(done.stash_rev == task.rev for _, done in self._done()):
            self._queue.remove([task.rev])

    def log(self, task: Task) -> str:
        """What a task printed; empty when it never started."""
        info = self._queue.proc.get(task.rev)
        if info is None or info.stdout is None:
            return ""
        with contextlib.suppress(OSError):
            return Path(info.stdout).read_text(encoding="utf-8", errors="replace")
        return ""

    def _look(self) -> list[dict[str, Any]]:
        for attempt in range(ATTEMPTS):
            try:
                rows: list[dict[str, Any]] = self._queue.status()
            except (DvcException, SCMError, OSError) as error:  # a file vanished while it was read
                if attempt == ATTEMPTS - 1:
                    raise UserError(
                        f"DVC cannot read its queue ({error}); see `dvc queue status`."
                    ) from error
                time.sleep(PAUSE)
            else:
                return rows
        raise AssertionError

    def _done(self) -> list[tuple[AsyncResult, Any]]:
        return list(self._queue._iter_done_tasks())

    def _remove_copy(self, task: Task) -> None:
        try:
            copy = Path(self._queue._load_info(task.rev).root_dir).resolve()
        except (FileNotFoundError, ValueError, TypeError):
            return
        if copy.parent == Path(self._repo.tmp_dir, "exps").resolve() and copy.name.startswith("tmp"):
            shutil.rmtree(copy, ignore_errors=True)

    def _dvc(self, arguments: list[str], stdout: int = subprocess.PIPE) -> "subprocess.CompletedProcess[str]":
        # DVC starts its workers, and these the stages, by name.
        search = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        return subprocess.run(  # noqa: S603
            [sys.executable, "-m", "dvc", *arguments],
            cwd=self.root,
            env={**os.environ, "PATH": search},
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
            check=False,
        )


def last_error(log: str) -> str:
    """The last line of a log that says what was wrong."""
    lines = [line.strip() for line in log.replace("\r", "\n").splitlines() if line.strip()]
    telling = [line for line in lines if line.lower().startswith("error")]
    # DVC's own says only that a stage failed; the stage's sentence comes before it.
    ours = [line for line in telling if "failed to reproduce" not in line]
    return (ours or telling or lines or ["no message"])[-1]


def _processes() -> Iterable[tuple[psutil.Process, list[str]]]:
    for process in psutil.process_iter(["cmdline", "status"]):
        if process.info["cmdline"] and process.info["status"] != psutil.STATUS_ZOMBIE:
            yield process, process.info["cmdline"]


def _kill_with_children(process: psutil.Process) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        family = [process, *process.children(recursive=True)]
        for member in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        psutil.wait_procs(family, timeout=30)
