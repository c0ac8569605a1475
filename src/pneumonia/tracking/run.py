"""One run in an open store."""

import csv
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mlflow.entities import Metric, Param, RunTag

from pneumonia.nested import leaves
from pneumonia.tracking.store import Store

BATCH = 100
"""The most parameters or tags that MLflow takes at once."""


class Run:
    """Writes to one run. Each method raises store.failures() when the store does not take it.

    What a method writes twice is there once: MLflow drops a metric of the same step, value and time, so all
    times are given by the caller. Times are milliseconds since 1970.
    """

    def __init__(self, store: Store, run_id: str) -> None:
        self.store = store
        self.id = run_id

    @classmethod
    def create(cls, store: Store, name: str, tags: Mapping[str, str], started: int) -> "Run":
        """Start a run. The client, unlike MLflow's fluent functions, adds neither user nor script name."""
        entity = store.client.create_run(store.experiment_id, started, dict(tags), name)
        return cls(store, entity.info.run_id)

    def log_params(self, params: Mapping[str, str]) -> None:
        """Add parameters; one that the run has cannot change."""
        for batch in _batches([Param(key, value) for key, value in params.items()]):
            self.store.client.log_batch(self.id, params=batch)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Add or replace tags."""
        for batch in _batches([RunTag(key, value) for key, value in tags.items()]):
            self.store.client.log_batch(self.id, tags=batch)

    def log_metrics(self, metrics: Mapping[str, float], time: int, step: int = 0) -> None:
        """Add values of metrics at a step."""
        self._log([Metric(key, float(value), time, step) for key, value in metrics.items()])

    def log_results(self, file: Path, time: int, prefix: str = "") -> None:
        """Add what a metrics file holds: its numbers as metrics, its texts as tags, `a.b` for nested keys."""
        results = flatten(json.loads(file.read_text(encoding="utf-8")), prefix)
        numbers = {key: float(value) for key, value in results.items() if isinstance(value, int | float)}
        texts = {key: _text(value) for key, value in results.items() if key not in numbers}
        self.log_metrics(numbers, time)
        self.set_tags(texts)

    def log_history(self, file: Path, times: Mapping[int, int], time: int) -> None:
        """Add a history table (column `epoch`, a column a metric); `time` is for epochs not in `times`."""
        with file.open(encoding="utf-8", newline="") as table:
            rows = [(int(row.pop("epoch")), row) for row in csv.DictReader(table)]
        self._log(
            [
                Metric(key, float(value), times.get(epoch, time), epoch)
                for epoch, row in rows
                for key, value in row.items()
                if value
            ]
        )

    def log_files(self, checkout: Path, *files: Path) -> None:
        """Add files and folders as artifacts, under the paths that they have in the repository."""
        for file in files:
            # One by one: MLflow renames each when it is whole, which it does not do for those of a folder.
            for local in files_of(checkout / file):
                folder = local.relative_to(checkout).parent.as_posix()
                self.store.client.log_artifact(self.id, str(local), folder)

    def finish(self, time: int, status: str = "FINISHED") -> None:
        """Set the status: FINISHED, FAILED or KILLED."""
        self.store.client.set_terminated(self.id, status, time)

    def _log(self, metrics: list[Metric]) -> None:
        for batch in _batches(metrics):
            self.store.client.log_batch(self.id, metrics=batch)


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"test": {"auroc": 0.9}} -> {"test.auroc": 0.9}; None is left out; keys made fit for MLflow.

    >>> flatten({"a": {"b c": 1, "d(e)": None}, "f": "x"}, "p.")
    {'p.a.b c': 1, 'p.f': 'x'}
    """
    return {_fit(key): value for key, value in leaves(values, prefix) if value is not None}


def flatten_params(values: Mapping[str, Any]) -> dict[str, str]:
    """Parameters as text, in the notation of params.yaml: null, true, 0.001, [0.9, 1.1]."""
    return {_fit(key): _text(value) for key, value in leaves(values)}


def _fit(key: str) -> str:
    """The key without what MLflow takes in none."""
    return re.sub(r"[^\w .:/-]", "_", key)


def files_of(path: Path) -> list[Path]:
    """The files below a folder, sorted; of a file itself."""
    return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _batches(items: list[Any]) -> Iterator[list[Any]]:
    for start in range(0, len(items), BATCH):
        yield items[start : start + BATCH]
