"""What each stage's results are in MLflow: metrics, tags, files and the model of a run.

Everything is read from files below a folder: a checkout in which the stages ran, or what was kept of it
(unsent.py). Recording twice gives the same run as recording once.
"""

from pathlib import Path

from mlflow.entities import Run as RunEntity
from mlflow.exceptions import MlflowException

from pneumonia import paths
from pneumonia.tracking import provenance
from pneumonia.tracking.model import log_model
from pneumonia.tracking.origin import Origin
from pneumonia.tracking.run import Run
from pneumonia.tracking.store import Store

TRAINED_BY = "training_run"
"""Tag of a run that has not trained itself: the id of the one that did, or `unknown`."""

ARTIFACTS = {
    "train": (paths.HISTORY, paths.TRAIN_METRICS, paths.DATA_REPORT),
    # The predictions stay with DVC: they list patients.
    "evaluate": (paths.EVALUATE_METRICS, paths.SUBGROUPS, paths.CURVES),
    "gallery": (paths.GALLERY, paths.REPORT),
}
"""The stages that are recorded, in their order, and the files of each; all metrics are among them."""


def stages_up_to(last: str) -> list[str]:
    """The recorded stages up to one of them."""
    stages = list(ARTIFACTS)
    return stages[: stages.index(last) + 1]


def open_run(store: Store, origin: Origin) -> Run:
    """The run of an origin: the one that it names, or one with the same identity, or a new one.

    A training is never added to an earlier one that was the same. Where DVC had the weights in its cache,
    from a training with other parameters, code or experiment name, the new run names that of that training.

    Raises:
        failures(): the store does not answer.
    """
    if origin.run_id is None or find_run(store, origin.run_id) is None:
        same_weights = [] if origin.trained else _with_weights(store, origin.identity[provenance.WEIGHTS])
        same = [run.info.run_id for run in same_weights if _matches(run, origin)]
        tags = {**origin.identity, **origin.git}
        if not origin.trained:
            trained = [run.info.run_id for run in same_weights if TRAINED_BY not in run.data.tags]
            tags[TRAINED_BY] = trained[0] if trained else "unknown"
        origin.run_id = same[0] if same else Run.create(store, origin.name, tags, origin.started).id
    assert origin.run_id is not None
    return Run(store, origin.run_id)


def find_run(store: Store, run_id: str) -> RunEntity | None:
    """The run of an id; None where the store has none, or one that was deleted.

    Raises:
        failures(): the store does not answer.
    """
    try:
        run = store.client.get_run(run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None
    return run if run.info.lifecycle_stage == "active" else None


def record(run: Run, folder: Path, origin: Origin, last: str) -> None:
    """Add the results of a stage, and of those before it that are missing, and end the run.

    They are missing because DVC took them from its cache, or because MLflow was down.

    Args:
        run: of `open_run`.
        folder: with the files of ARTIFACTS at their paths, and the model.
        origin: of the run, with its weights.
        last: the stage; the one that ended last.

    Raises:
        failures(): the store does not take it, or a file is not there.
    """
    run.log_params(origin.params)
    tags = run.store.client.get_run(run.id).data.tags
    for stage in stages_up_to(last):
        recorded = {f"recorded.{stage}": "true"}
        if stage == last or not recorded.items() <= tags.items():
            # At the same time in each attempt, so that the second adds nothing to what the first has sent.
            _add(stage, run, folder, origin, origin.ended.get(stage, origin.ended[last]))
            run.set_tags(recorded)
    run.finish(origin.ended[last])


def _add(stage: str, run: Run, folder: Path, origin: Origin, time: int) -> None:
    if stage == "train":
        run.log_history(folder / paths.HISTORY, origin.epochs, time)
        run.log_results(folder / paths.TRAIN_METRICS, time, "train.")
        run.log_results(folder / paths.DATA_REPORT, time, "data.")
        run.set_tags({provenance.WEIGHTS: origin.identity[provenance.WEIGHTS]})
    elif stage == "evaluate":
        run.log_results(folder / paths.EVALUATE_METRICS, time)
        run.log_results(folder / paths.SUBGROUPS, time, "subgroups.")
        log_model(run, folder)
    run.log_files(folder, *ARTIFACTS[stage])


def _with_weights(store: Store, md5: str) -> list[RunEntity]:
    """Runs with the same weights, the latest first."""
    return list(
        store.client.search_runs(
            [store.experiment_id],
            f"tags.`{provenance.WEIGHTS}` = '{md5}'",
            order_by=["attributes.start_time DESC"],
        )
    )


def _matches(run: RunEntity, origin: Origin) -> bool:
    return bool(origin.identity.items() <= run.data.tags.items() and origin.params == run.data.params)
