"""Whether MLflow has a run with the weights, parameters, data and metrics of the checkout."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pneumonia import paths
from pneumonia.params import load_params
from pneumonia.tracking import provenance
from pneumonia.tracking.run import flatten, flatten_params
from pneumonia.tracking.store import (
    Store,
    failures,
    find_store,
    reason,
    repository_root,
    shown,
    tracking_uri,
)
from pneumonia.verification.outcome import Outcome, differing, read_results, skipped

RESULTS = {
    "train.": paths.TRAIN_METRICS,
    "data.": paths.DATA_REPORT,
    "": paths.EVALUATE_METRICS,
    "subgroups.": paths.SUBGROUPS,
}
REMEDY = "`dvc repro -f -s gallery` records the checkout"


def check_mlflow(root: Path) -> Outcome:
    """Compare the newest run of these weights and parameters with the checkout.

    Where no run of the weights has these parameters, the newest run of the weights is compared. A store that
    is not there or does not answer, and weights that it does not know, are a note and no failure: MLflow is a
    record that each clone keeps for itself.
    """
    weights = provenance.file_md5(root / paths.WEIGHTS)
    if weights == "absent":
        return skipped(f"{paths.WEIGHTS} is not here")
    where = shown(tracking_uri(repository_root(root)))
    try:
        store = find_store(repository_root(root))
        if store is None:
            return skipped(f"there is no store at {where} yet; a fresh clone has none")
        run = _run_of(store, weights, flatten_params(load_params(root / "params.yaml").model_dump()))
    except failures() as error:
        return skipped(f"{where} does not answer ({reason(error)})")
    if run is None:
        return skipped(
            f"{where} has no run of these weights (tag {provenance.WEIGHTS} = {weights}); {REMEDY}"
        )
    return _compare(root, run)


def _run_of(store: Store, weights: str, params: Mapping[str, str]) -> Any:
    runs = store.client.search_runs(
        [store.experiment_id],
        f"tags.`{provenance.WEIGHTS}` = '{weights}'",
        order_by=["attributes.start_time DESC"],
    )
    return next((run for run in runs if run.data.params == params), runs[0] if runs else None)


def _compare(root: Path, run: Any) -> Outcome:
    params = flatten_params(load_params(root / "params.yaml").model_dump())
    differences = list(differing(run.data.params, params, ("MLflow", "params.yaml")))
    for prefix, path in RESULTS.items():
        differences += _results(run, flatten(read_results(root / path), prefix), str(path))
    for tag, path in provenance.DATA.items():
        md5 = provenance.file_md5(root / path)
        if run.data.tags.get(tag) != md5:
            differences.append(f"the MD5 of {path} is {run.data.tags.get(tag)} in MLflow, {md5} here")
    name = f"run {run.info.run_name} ({run.info.run_id})"
    return Outcome(tuple(f"{name}: {difference}" for difference in differences), name)


def _results(run: Any, results: Mapping[str, Any], path: str) -> Iterator[str]:
    """Numbers of a results file are metrics of the run, its texts are tags."""
    recorded = {**run.data.tags, **run.data.metrics}
    stated = {key: recorded[key] for key in results if key in recorded}
    missing = sorted(set(results) - set(stated))
    if missing:
        yield f"{len(missing)} values of {path} are not in MLflow, the first is {missing[0]}; {REMEDY}"
    yield from differing(stated, {key: results[key] for key in stated}, ("MLflow", path))
