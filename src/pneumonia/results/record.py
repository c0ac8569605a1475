"""The result of a recipe with one seed: docs/results/<recipe>/seed-<k>.json."""

import json
import re
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pneumonia.errors import UserError
from pneumonia.params import Section
from pneumonia.writing import short, write_text

FOLDER = Path("docs/results")

MEASURED = ("accuracy", "auroc", "sensitivity", "specificity", "f1", "balanced_accuracy", "brier")
HISTORY = ("epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "val_auroc")


class Interval(Section):
    """95 % interval."""

    low: float
    high: float


class Measured(Section):
    """Metrics of one split; what is not defined there is None, and left out of the file."""

    n: int
    threshold: float
    accuracy: float | None = None
    accuracy_ci95: Interval | None = None
    auroc: float | None = None
    auroc_ci95: Interval | None = None
    sensitivity: float | None = None
    sensitivity_ci95: Interval | None = None
    specificity: float | None = None
    specificity_ci95: Interval | None = None
    f1: float | None = None
    balanced_accuracy: float | None = None
    brier: float | None = None


class Trained(Section):
    """How the training went, and on what."""

    best_epoch: int
    epochs: int
    parameters: int
    device: str
    precision: str
    threads: int
    deterministic: bool


class Machine(Section):
    """Where the result was collected, which is where it was made when the recipe queue collected it."""

    processor: str
    cores: int
    gpu: str | None = None
    system: str
    versions: dict[str, str]


class Result(Section):
    """One experiment, without its images and weights."""

    recipe: str
    seed: int
    experiment: str
    baseline: str
    patients_unknown: int = 0
    """Images of which nobody can tell the patient: RSNA's where its mapping is not given."""
    archive_sha256: str | None = None
    """Of the archive that the stage download kept."""
    parameters: dict[str, Any]
    training: Trained
    collected_on: Machine
    test: Measured
    val: Measured
    groups: dict[str, Any]
    history: dict[str, list[int | float]]


def result_path(recipe: str, seed: int) -> Path:
    """Relative to the checkout."""
    return FOLDER / recipe / f"seed-{seed}.json"


def read_result(root: Path, recipe: str, seed: int) -> Result | None:
    """The kept result, or None.

    Raises:
        UserError: the file holds something else.
    """
    path = result_path(recipe, seed)
    try:
        text = (root / path).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    try:
        result = Result.model_validate_json(text)
    except ValidationError as error:
        details = error.errors()[0]
        key = ".".join(str(part) for part in details["loc"])
        raise UserError(
            f"{path} is not a result file ({key}: {details['msg']}); restore it from git or delete it."
        ) from None
    if (result.recipe, result.seed) != (recipe, seed):
        raise UserError(
            f"{path} holds {result.recipe} with seed {result.seed}; move it to where that belongs."
        )
    return result


def read_results(root: Path, recipe: str) -> list[Result]:
    """All kept results of a recipe, by seed.

    Raises:
        UserError: a file holds something else.
    """
    names = [path.name for path in (root / FOLDER / recipe).glob("seed-*.json")]
    seeds = sorted(int(match[1]) for name in names if (match := re.fullmatch(r"seed-(\d+)\.json", name)))
    return [result for seed in seeds if (result := read_result(root, recipe, seed))]


def write_result(root: Path, result: Result) -> None:
    """Write it where it belongs: keys sorted, numbers short, a list in one line.

    Raises:
        UserError: the disk is full, or there is no permission to write.
    """
    values = _short(result.model_dump(exclude_none=True))
    text = json.dumps(values, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    text = re.sub(r"\[\s*([^][{}]*?)\s*\]", lambda match: f"[{' '.join(match[1].split())}]", text)
    write_text(root / result_path(result.recipe, result.seed), text + "\n")


def _short(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _short(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_short(item) for item in value]
    return short(value) if isinstance(value, float) else value
