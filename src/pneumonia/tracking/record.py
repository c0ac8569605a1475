"""What each stage writes to MLflow. Nothing here makes a stage fail, and no stage reads any of it back.

The run of a training is found again by what it was made of, not by its id: an id in an output would make the
outputs of every run different. A run is one training, evaluation and gallery with one set of parameters, code
and data. Each step is recorded from the files that its stage has written, so a later stage also records the
steps before it that are missing: because DVC took their results from its cache, or MLflow was down.
"""

import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pneumonia import paths
from pneumonia.params import Params
from pneumonia.tracking import provenance
from pneumonia.tracking.model import log_model
from pneumonia.tracking.run import Run, flatten_params
from pneumonia.tracking.store import Store, failures, open_store, repository_root, shown, tracking_uri

TRAINED_BY = "training_run"
"""Tag of a run that has not trained itself: the id of the one that did, or `unknown`."""


class TrainingLog:
    """The run of a training while it goes on. A store that fails is left alone until the end."""

    def __init__(self, checkout: Path, params: Params) -> None:
        self._checkout = checkout
        self._params = params
        self._run: Run | None = None
        self._epochs: list[int] = []
        self._down = False
        with self._live("the start of the run"):
            self._run = self._new_run()

    def log_epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Add the metrics of an epoch: the columns of plots/history.csv without `epoch`."""
        if self._run and not self._down:
            with self._live(f"epoch {epoch}"):
                self._run.log_metrics(metrics, epoch)
                self._epochs.append(epoch)

    def complete(self) -> None:
        """Record the training from its outputs, with the epochs that could not be sent while it went on."""
        with _tolerant(self._checkout, "The training is not recorded yet; the evaluation will try again."):
            self._run = self._run or self._new_run()
            _record_training(self._run, self._checkout, self._epochs)
            self._run.finish()

    def abort(self, status: str) -> None:
        """Mark the run as FAILED or KILLED."""
        if self._run and not self._down:
            with self._live("the end of the run"):
                self._run.finish(status)

    def _new_run(self) -> Run:
        store = open_store(repository_root(self._checkout))
        identity = provenance.identity_tags(self._checkout)
        _end_killed_runs(store, flatten_params(self._params.model_dump()), identity)
        return _create_run(store, self._checkout, self._params, identity)

    @contextmanager
    def _live(self, what: str) -> Iterator[None]:
        consequence = f"It did not take {what}; training goes on, and everything is sent again at its end."
        self._down = True
        with _tolerant(self._checkout, consequence):
            yield
            self._down = False


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
    with _tolerant(checkout, "The evaluation is not recorded yet; the gallery will try again."):
        run, recorded = _find_or_create_run(checkout, params)
        if "train" not in recorded:
            _record_training(run, checkout)
        _record_evaluation(run, checkout)
        run.finish()


def record_gallery(checkout: Path, params: Params) -> None:
    """Add the outputs of `gallery` to the run of their training, as `record_evaluation` does."""
    with _tolerant(checkout, "The run is not recorded; `dvc repro -f -s gallery` tries again."):
        run, recorded = _find_or_create_run(checkout, params)
        if "train" not in recorded:
            _record_training(run, checkout)
        if "evaluate" not in recorded:
            _record_evaluation(run, checkout)
        run.log_files(checkout, paths.GALLERY, paths.REPORT)
        run.set_tags(_recorded("gallery"))
        run.finish()


def _record_training(run: Run, checkout: Path, epochs_sent: Iterable[int] = ()) -> None:
    run.log_history(checkout / paths.HISTORY, skip=epochs_sent)
    run.log_results(checkout / paths.TRAIN_METRICS, "train.")
    run.log_results(checkout / paths.DATA_REPORT, "data.")
    run.log_files(checkout, paths.HISTORY, paths.TRAIN_METRICS, paths.DATA_REPORT)
    run.set_tags({provenance.WEIGHTS: provenance.file_md5(checkout / paths.WEIGHTS), **_recorded("train")})


def _record_evaluation(run: Run, checkout: Path) -> None:
    run.log_results(checkout / paths.EVALUATE_METRICS)
    # The predictions stay with DVC: they list patients.
    run.log_files(checkout, paths.EVALUATE_METRICS, paths.CURVES)
    log_model(run, checkout / paths.WEIGHTS, checkout / paths.MODEL_CARD)
    run.set_tags(_recorded("evaluate"))


def _recorded(stage: str) -> dict[str, str]:
    return {f"recorded.{stage}": "true"}


def _create_run(store: Store, checkout: Path, params: Params, tags: Mapping[str, str]) -> Run:
    tags = {**tags, **provenance.git_tags(checkout)}
    return Run.create(store, provenance.experiment_name(), flatten_params(params.model_dump()), tags)


def _end_killed_runs(store: Store, params: Mapping[str, str], identity: Mapping[str, str]) -> None:
    """Set earlier runs of the same training to KILLED that were killed before they could say so.

    One that goes on beside this one is taken for killed too, until it says FINISHED.
    """
    experiment = (provenance.EXPERIMENT, provenance.BASELINE)
    made_of = {name: value for name, value in identity.items() if name not in experiment}
    running = f"attributes.status = 'RUNNING' and tags.`{provenance.CODE}` = '{identity[provenance.CODE]}'"
    for run in store.client.search_runs([store.experiment_id], running):
        if made_of.items() <= run.data.tags.items() and params == run.data.params:
            Run(store, run.info.run_id).finish("KILLED")


def _find_or_create_run(checkout: Path, params: Params) -> tuple[Run, set[str]]:
    """The run of the results in the checkout, and the stages that it has on record."""
    store = open_store(repository_root(checkout))
    weights = provenance.file_md5(checkout / paths.WEIGHTS)
    identity = {**provenance.identity_tags(checkout), provenance.WEIGHTS: weights}
    values = flatten_params(params.model_dump())
    same_weights = store.client.search_runs(
        [store.experiment_id],
        f"tags.`{provenance.WEIGHTS}` = '{weights}'",
        order_by=["attributes.start_time DESC"],
    )
    for run in same_weights:
        if identity.items() <= run.data.tags.items() and values == run.data.params:
            recorded = {
                stage for stage in ("train", "evaluate") if _recorded(stage).items() <= run.data.tags.items()
            }
            return Run(store, run.info.run_id), recorded
    trained_by = [run.info.run_id for run in same_weights if TRAINED_BY not in run.data.tags]
    tags = {**identity, TRAINED_BY: trained_by[0] if trained_by else "unknown"}
    return _create_run(store, checkout, params, tags), set()


@contextmanager
def _tolerant(checkout: Path, consequence: str) -> Iterator[None]:
    """Turn a failure of the store into one sentence on stderr."""
    try:
        yield
    except failures() as error:
        uri = shown(tracking_uri(repository_root(checkout)))
        print(f"warning: MLflow at {uri} failed ({_reason(error)}). {consequence}", file=sys.stderr)


def _reason(error: BaseException) -> str:
    """The first cause, in one line: MLflow's own sentence names an address and a stack of retries."""
    while cause := error.__cause__ or (None if error.__suppress_context__ else error.__context__):
        error = cause
    return textwrap.shorten(str(error), 160, placeholder=" ...") or type(error).__name__
