"""Runs that MLflow did not take: kept in the original repository until it does.

Of each run that is kept there is a folder `.mlflow-unsent/TIME-KEY` with the files that recording reads, at
their paths, the model as MLflow stores it, and `run.json`: the run's origin. `run.json` is written last and
in one step, so a folder without it is not a run. A run takes as much of the disk as its model, and stays
until it has been sent; delete the folder to give it up.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from filelock import BaseFileLock, FileLock

from pneumonia import paths
from pneumonia.atomic import PART, renamed_when_whole
from pneumonia.tracking.model import KEPT_MODEL, save_model
from pneumonia.tracking.origin import Origin
from pneumonia.tracking.results import ARTIFACTS, open_run, record, stages_up_to
from pneumonia.tracking.store import failures, open_store, reason, shown, tracking_uri

FOLDER = Path(".mlflow-unsent")
RUN = "run.json"

LOCK_SECONDS = 60
"""How long a stage or the command waits while another process sends."""


def keep(root: Path, checkout: Path, origin: Origin, last: str) -> None:
    """Keep a run instead of what was kept of it before.

    Args:
        root: of the original repository.
        checkout: with the results of the stages.
        origin: of the run.
        last: the stage up to which there are results.

    Raises:
        failures(): it cannot be written.
    """
    earlier = _of_key(root, origin.key)
    folder = root / FOLDER / f"{origin.ended[last]}-{origin.key}"
    folder.mkdir(parents=True)
    try:
        for stage in stages_up_to(last):
            for path in ARTIFACTS[stage]:
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                copy = shutil.copytree if (checkout / path).is_dir() else shutil.copyfile
                copy(checkout / path, folder / path)
            if stage == "evaluate":
                # The code that the model carries may be another one by the time it is sent.
                save_model(folder / KEPT_MODEL, checkout / paths.WEIGHTS, checkout / paths.MODEL_CARD)
        _write(folder, origin, last)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    for old in earlier:
        _remove(old)


def kept(root: Path) -> list[Path]:
    """The folders of all runs that are kept, the oldest first."""
    return sorted(file.parent for file in (root / FOLDER).glob(f"*/{RUN}"))


@contextmanager
def taken_up(root: Path, origin: Origin) -> Iterator[None]:
    """Go on with what is kept of the same run; it is removed when the block ends well.

    Raises:
        OSError: another process has been sending for too long.
    """
    if not _of_key(root, origin.key):
        yield
        return
    with sending(root, LOCK_SECONDS):
        folders = _of_key(root, origin.key)
        for folder in folders:
            found = _read(folder)
            # A training that is repeated is a run of its own.
            if found and not origin.trained:
                before = found[0]
                origin.trained, origin.run_id, origin.git = before.trained, before.run_id, before.git
                origin.started, origin.epochs = before.started, before.epochs
                origin.ended = before.ended | origin.ended
        yield
        for folder in folders:
            _remove(folder)


def sending(root: Path, seconds: float) -> BaseFileLock:
    """The lock that one process holds while it sends; entering raises OSError when another one has it."""
    (root / FOLDER).mkdir(exist_ok=True)
    return FileLock(root / FOLDER / ".lock", timeout=seconds)


def send(root: Path, say: Callable[[str], None], *, anywhere: bool = False) -> int:
    """Send the runs that are kept, inside of `sending`; return how many could not be.

    Args:
        root: of the original repository.
        say: told of each run what became of it.
        anywhere: send what was meant for another store to this one.

    Raises:
        failures(): the store cannot be opened.
    """
    uri = shown(tracking_uri(root))
    left = 0
    for folder in kept(root):
        found = _read(folder)
        if found is None:
            say(f"{folder} was kept by another version of this project and is left alone.")
        elif found[0].store != uri and not anywhere:
            say(f"{found[0].name} is for {found[0].store}, which MLFLOW_TRACKING_URI does not name now.")
        else:
            failure = _send(root, folder, *found)
            if failure is None:
                say(f"{found[0].name} is sent to {uri}.")
                continue
            say(f"{found[0].name} could not be sent ({failure}).")
        left += 1
    return left


def _send(root: Path, folder: Path, origin: Origin, last: str) -> str | None:
    """Send one run; return why that failed."""
    store = open_store(root, origin.experiment)
    try:
        run = open_run(store, origin)
        # If it breaks off from here on, the next attempt goes on with the same run.
        _write(folder, origin, last)
        record(run, folder, origin, last)
        _remove(folder)
    except failures() as error:
        return reason(error)
    return None


def _of_key(root: Path, key: str) -> list[Path]:
    return [folder for folder in kept(root) if folder.name.endswith(f"-{key}")]


def _write(folder: Path, origin: Origin, last: str) -> None:
    part = folder / f"{RUN}{PART}"
    with renamed_when_whole(part, folder / RUN):
        part.write_text(json.dumps({"last": last, "origin": asdict(origin)}, indent=2), encoding="utf-8")


def _read(folder: Path) -> tuple[Origin, str] | None:
    """The origin of a run that is kept, and its last stage; None where another version wrote it otherwise."""
    try:
        content = json.loads((folder / RUN).read_text(encoding="utf-8"))
        origin = Origin(**content["origin"])
        origin.epochs = {int(epoch): time for epoch, time in origin.epochs.items()}
        return origin, content["last"]
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _remove(folder: Path) -> None:
    (folder / RUN).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
