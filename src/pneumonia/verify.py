"""Check a checkout against its own records: `python -m pneumonia.verify`, or `make verify`.

A line a check; below it a line for each thing that differs. Ends with status 1 when something does.
"""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from pneumonia.errors import UserError
from pneumonia.verification.lock import check_lock
from pneumonia.verification.mlflow_run import check_mlflow
from pneumonia.verification.outcome import Outcome, skipped
from pneumonia.verification.recipes import check_recipes
from pneumonia.verification.results import (
    check_curves,
    check_data_report,
    check_evaluation,
    check_predictions,
    check_training,
)
from pneumonia.verification.separation import check_separation

CHECKS: dict[str, Callable[[Path], Outcome]] = {
    "dvc.lock": check_lock,
    "split": check_separation,
    "metrics/data.json": check_data_report,
    "metrics/train.json": check_training,
    "predictions": check_predictions,
    "metrics/evaluate.json": check_evaluation,
    "plots/curves": check_curves,
    "recipes": check_recipes,
    "MLflow": check_mlflow,
}


def verify(root: Path) -> Iterator[tuple[str, Outcome]]:
    """Run all checks, each whatever the others found.

    Args:
        root: of the checkout.
    """
    for title, check in CHECKS.items():
        try:
            outcome = check(root)
        except UserError as error:
            outcome = Outcome((str(error),))
        except FileNotFoundError as error:
            # That an output is missing is a difference to dvc.lock, and said there.
            outcome = skipped(f"{Path(error.filename).name} is not here")
        yield title, outcome


def describe(title: str, outcome: Outcome) -> str:
    """One line, and one for each difference below it."""
    if outcome.differences:
        lines = [line for difference in outcome.differences for line in difference.splitlines()]
        return "\n".join([f"DIFFERS  {title}", *(f"           {line}" for line in lines)])
    word = "same" if outcome.compared else "skipped"
    return f"{word:<7}  {title}: {outcome.note}"


def main(root: Path) -> int:
    """Print the outcome of every check; return the exit status."""
    failed = 0
    for title, outcome in verify(root):
        sys.stdout.write(describe(title, outcome) + "\n")
        sys.stdout.flush()
        failed += bool(outcome.differences)
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main(Path()))
    except OSError as error:
        sys.exit(f"error: {error.strerror}: {error.filename}")
    except KeyboardInterrupt:
        sys.exit(130)
