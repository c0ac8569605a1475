"""What the stages call to be recorded in MLflow. Nothing here makes a stage fail, and none reads it back.

The run of a training is found again by what it was made of, not by its id: an id in an output would make the
outputs of every run different. A run is one training, evaluation and gallery with one set of parameters, code
and data. Each step is recorded from the files that its stage has written, so what MLflow does not take is
kept (unsent.py), and the next stage, the next run or `python -m pneumonia.tracking.send` sends it.

A store that is down or slow costs a training at most LIVE_SECONDS and LIVE_SHARE of its duration while it
goes on, each stage STAGE_SECONDS at its end, and the last one KEPT_SECONDS for what was kept before.
"""

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from filelock import Timeout

from pneumonia.params import Params
from pneumonia.tracking import results, unsent
from pneumonia.tracking.alive import Sign, end_killed_runs
from pneumonia.tracking.bounded import bounded
from pneumonia.tracking.origin import Origin, milliseconds
from pneumonia.tracking.run import Run
from pneumonia.tracking.store import failures, open_store, reason, repository_root, shown, tracking_uri
from pneumonia.writing import short

LIVE_SECONDS = 30
LIVE_SHARE = 0.05
STAGE_SECONDS = 120
KEPT_SECONDS = 60


class TrainingLog:
    """The run of a training while it goes on. A store that fails is left alone until the end."""

    def __init__(self, checkout: Path, params: Params) -> None:
        self._checkout = checkout
        self._root = repository_root(checkout)
        self._origin = Origin.of(checkout, params, trained=True)
        self._run: Run | None = None
        self._sign: Sign | None = None
        self._began = time.monotonic()
        self._spent = 0.0
        self._down = False
        self._live("the start of the run", self._start)

    def log_epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Add the metrics of an epoch: the columns of plots/history.csv without `epoch`."""
        now = milliseconds()
        self._origin.epochs[epoch] = now
        # As in the table, so that sending the table adds nothing to what is there.
        values = {name: short(value) for name, value in metrics.items()}
        run = self._run
        if run and not self._down:
            self._live(f"epoch {epoch}", lambda: run.log_metrics(values, now, epoch))

    def complete(self) -> None:
        """Record the training from its outputs, with the epochs that could not be sent while it went on."""
        if _record(self._checkout, self._origin, "train"):
            self._withdraw()

    def abort(self, status: str) -> None:
        """Mark the run as FAILED or KILLED."""
        run = self._run
        if run and not self._down:
            self._live(f"the end of the run as {status}", lambda: run.finish(milliseconds(), status))
            self._withdraw()
        elif self._origin.run_id:
            print(
                f"warning: MLflow has run {self._origin.run_id} without its end: {status}.", file=sys.stderr
            )
        else:
            print(f"warning: MLflow has no run of this training, which is {status}.", file=sys.stderr)

    def _start(self) -> None:
        store = open_store(self._root, self._origin.experiment)
        end_killed_runs(store, self._root)
        run = results.open_run(store, self._origin)
        self._sign = Sign(self._root, run.id)
        run.log_params(self._origin.params)
        self._run = run

    def _withdraw(self) -> None:
        if self._sign and not self._down:
            self._sign.withdraw()

    def _live(self, what: str, call: Callable[[], None]) -> None:
        now = time.monotonic()
        left = LIVE_SECONDS + LIVE_SHARE * (now - self._began) - self._spent
        try:
            bounded(call, left)
        except failures() as error:
            self._down = True
            consequence = (
                f"It did not take {what}; training goes on, and everything is sent again at its end."
            )
            _warn(self._root, error, consequence)
        self._spent += time.monotonic() - now


@contextmanager
def track_training(checkout: Path, params: Params) -> Iterator[TrainingLog]:
    """Record a training: parameters and tags at the start, epochs on the way, results at the end.

    The results are read when the block ends, so all outputs of the stage are written within it.

    Args:
        checkout: where the stage runs.
        params: all of params.yaml.
    """
    log = TrainingLog(checkout, params)
    try:
        yield log
    except (KeyboardInterrupt, SystemExit):  # Lightning turns the one into the other
        log.abort("KILLED")
        raise
    except BaseException:
        log.abort("FAILED")
        raise
    log.complete()


def record_evaluation(checkout: Path, params: Params) -> None:
    """Add the outputs of `evaluate`, and the model, to the run of their training.

    Where DVC had the weights in its cache, from a training with other parameters, code or experiment name,
    they go to a new run that names the one of that training.

    Args:
        checkout: where the stage runs, with its outputs written.
        params: all of params.yaml.
    """
    _record(checkout, Origin.of(checkout, params, trained=False), "evaluate")


def record_gallery(checkout: Path, params: Params) -> None:
    """Add the outputs of `gallery` as `record_evaluation` does; then send the runs that were kept."""
    root = repository_root(checkout)
    if _record(checkout, Origin.of(checkout, params, trained=False), "gallery") and unsent.kept(root):
        try:
            bounded(lambda: _send_kept(root), KEPT_SECONDS)
        except Timeout:
            pass  # another process is sending them
        except failures() as error:
            _warn(root, error, f"Runs are still kept in {unsent.FOLDER}.")


def _send_kept(root: Path) -> None:
    with unsent.sending(root, 0):
        unsent.send(root, lambda sentence: print(f"MLflow: {sentence}", file=sys.stderr))


def _record(checkout: Path, origin: Origin, last: str) -> bool:
    """Record up to the stage `last`; keep what the store does not take, and say so."""
    root = repository_root(checkout)
    origin.add_stage(last, checkout)

    def send() -> None:
        with unsent.taken_up(root, origin):
            store = open_store(root, origin.experiment)
            end_killed_runs(store, root)
            results.record(results.open_run(store, origin), checkout, origin, last)

    failure = None
    try:
        bounded(send, STAGE_SECONDS)
    except failures() as error:
        failure = error
    if failure:
        _warn(root, failure, _keep(root, checkout, origin, last))
    return failure is None


def _keep(root: Path, checkout: Path, origin: Origin, last: str) -> str:
    """Keep a run; return the sentence that says what became of it."""
    try:
        unsent.keep(root, checkout, origin, last)
    except failures() as error:
        return (
            f"The run cannot be kept in {unsent.FOLDER} either ({reason(error)}) and is not recorded; "
            "`dvc repro -f -s gallery` tries again."
        )
    return (
        f"The run is kept in {unsent.FOLDER}, complete up to {last}; the next stage or run sends it, or "
        "`PYTHONPATH=src python -m pneumonia.tracking.send`."
    )


def _warn(root: Path, error: BaseException, consequence: str) -> None:
    uri = shown(tracking_uri(root))
    print(f"warning: MLflow at {uri} failed ({reason(error)}). {consequence}", file=sys.stderr)
