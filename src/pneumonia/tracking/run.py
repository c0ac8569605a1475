"""One run in an open store."""

import csv
import json
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mlflow.entities import Metric, Param, RunTag

from pneumonia.tracking.store import Store

BATCH = 100
"""The most parameters or tags that MLflow takes at once."""


class Run:
    """Writes to one run. Each method raises store.failures() when the store does not take it."""

    def __init__(self, store: Store, run_id: str) -> None:
        self.store = store
        self.id = run_id

    @classmethod
    def create(cls, store: Store, name: str, params: Mapping[str, str], tags: Mapping[str, str]) -> "Run":
        """Start a run. The client, unlike MLflow's fluent functions, adds neither user nor script name."""
        entity = store.client.create_run(store.experiment_id, tags=dict(tags), run_name=name)
        run = cls(store, entity.info.run_id)
        run.log_params(params)
        return run

    def log_params(self, params: Mapping[str, str]) -> None:
        """Add parameters; one that the run has cannot change."""
        for batch in _batches([Param(key, value) for key, value in params.items()]):
            self.store.client.log_batch(self.id, params=batch)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Add or replace tags."""
        for batch in _batches([RunTag(key, value) for key, value in tags.items()]):
            self.store.client.log_batch(self.id, tags=batch)

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Add values of metrics at a step."""
        now = int(time.time() * 1000)
        values = [Metric(key, float(value), now, step) for key, value in metrics.items()]
        for batch in _batches(values):
            self.store.client.log_batch(self.id, metrics=batch)

    def log_results(self, file: Path, prefix: str = "") -> None:
        """Add what a metrics file holds: its numbers as metrics, its texts as tags, `a.b` for nested keys."""
        results = flatten(json.loads(file.read_text(encoding="utf-8")), prefix)
        numbers = {key: float(value) for key, value in results.items() if isinstance(value, int | float)}
        texts = {key: _text(value) for key, value in results.items() if key not in numbers}
        self.log_metrics(numbers)
        self.set_tags(texts)

    def log_history(self, file: Path, skip: Iterable[int] = ()) -> None:
        """Add the epochs of a history table (column `epoch`, a column a metric), except those in `skip`."""
        done = set(skip)
        with file.open(encoding="utf-8", newline="") as table:
            for row in csv.DictReader(table):
                epoch = int(row.pop("epoch"))
                if epoch not in done:
                    self.log_metrics({key: float(value) for key, value in row.items() if value}, epoch)

    def log_files(self, checkout: Path, *files: Path) -> None:
        """Add files and folders as artifacts, under the paths that they have in the repository."""
        for file in files:
            local = checkout / file
            if local.is_dir():
                self.store.client.log_artifacts(self.id, str(local), file.as_posix())
            else:
                self.store.client.log_artifact(self.id, str(local), file.parent.as_posix())

    def finish(self, status: str = "FINISHED") -> None:
        """Set the status: FINISHED, FAILED or KILLED."""
        self.store.client.set_terminated(self.id, status)


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"test": {"auroc": 0.9}} -> {"test.auroc": 0.9}; None is left out; keys made fit for MLflow.

    >>> flatten({"a": {"b c": 1, "d(e)": None}, "f": "x"}, "p.")
    {'p.a.b c': 1, 'p.f': 'x'}
    """
    return dict(_leaves(values, prefix))


def flatten_params(values: Mapping[str, Any]) -> dict[str, str]:
    """Parameters as text, in the notation of params.yaml: null, true, 0.001, [0.9, 1.1]."""
    return {
        key: "null" if value is None else _text(value) for key, value in _leaves(values, "", keep_none=True)
    }


def _leaves(values: Mapping[str, Any], prefix: str, *, keep_none: bool = False) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        name = prefix + re.sub(r"[^\w .:/-]", "_", str(key))
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{name}.", keep_none=keep_none)
        elif value is not None or keep_none:
            yield name, value


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _batches(items: list[Any]) -> Iterator[list[Any]]:
    for start in range(0, len(items), BATCH):
        yield items[start : start + BATCH]
