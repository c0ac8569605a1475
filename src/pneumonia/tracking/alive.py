"""Which trainings still go on: one that is killed outright cannot tell MLflow so, the next run does.

As long as the process of a training lives it holds a lock, which the system takes back however it ends.
Beside the lock is a note of the run, with the place whose processes may judge it: this clone on this host.
"""

import platform
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from pneumonia.tracking.origin import milliseconds
from pneumonia.tracking.results import find_run
from pneumonia.tracking.run import Run
from pneumonia.tracking.store import LOCK_SECONDS, Store, shown, tracking_uri

FOLDER = Path(".cache/mlflow-running")
NOTE = ".note"


class Sign:
    """That the process lives in which a run goes on."""

    def __init__(self, root: Path, run_id: str) -> None:
        self._note = root / FOLDER / f"{run_id}{NOTE}"
        self._note.parent.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(self._note)
        with _alone(root):  # nobody finds the note before it is locked
            self._lock.acquire(timeout=0)
            self._note.write_text(_place(root), encoding="utf-8")

    def withdraw(self) -> None:
        """The run has its end in MLflow."""
        self._lock.release()
        _forget(self._note)


def end_killed_runs(store: Store, root: Path) -> None:
    """Set the runs to KILLED whose processes are gone and that MLflow takes for running.

    Args:
        store: open.
        root: of the original repository.

    Raises:
        failures(): the store does not answer.
    """
    for note in _left(root):
        found = find_run(store, note.name.removesuffix(NOTE))
        if found and found.info.status == "RUNNING":
            Run(store, found.info.run_id).finish(milliseconds(), "KILLED")
        _forget(note)


def _left(root: Path) -> list[Path]:
    """The notes of this place and store that no living process holds."""
    notes = [note for note in (root / FOLDER).glob(f"*{NOTE}") if note.read_text("utf-8") == _place(root)]
    if not notes:
        return []
    with _alone(root):
        return [note for note in notes if _is_free(_lock(note))]


def _place(root: Path) -> str:
    """A repository may be copied with its notes, and used on several hosts or with several stores."""
    return "\n".join([platform.node(), str(root), shown(tracking_uri(root))])


def _is_free(lock: BaseFileLock) -> bool:
    try:
        with lock.acquire(timeout=0):
            return True
    except Timeout:
        return False


def _lock(note: Path) -> BaseFileLock:
    # MLflow is called in threads, see bounded.py: the lock is the process's.
    return FileLock(note.with_suffix(".lock"), thread_local=False)


def _alone(root: Path) -> BaseFileLock:
    return FileLock(root / FOLDER / "lock", timeout=LOCK_SECONDS)


def _forget(note: Path) -> None:
    note.unlink(missing_ok=True)
    note.with_suffix(".lock").unlink(missing_ok=True)
