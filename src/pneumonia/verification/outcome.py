"""What a check of the checkout found, and how stated values are set against recomputed ones."""

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pneumonia.errors import UserError
from pneumonia.nested import leaves

TOLERANCE = 1e-6
"""Between a number in a results file and the recomputed one: the last digit that is written."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one check. It failed when something differs."""

    differences: tuple[str, ...] = ()
    """A sentence for each thing that is not as it should be."""
    note: str = ""
    """What was compared, or why nothing could be."""
    compared: bool = True
    """False where there was nothing to compare."""


def skipped(why: str) -> Outcome:
    """Outcome of a check for which something is not there."""
    return Outcome(note=why, compared=False)


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn the errors of parsers into a sentence about the file.

    Raises:
        UserError: the block could not make sense of the file.
    """
    try:
        yield
    except (ValueError, KeyError, EOFError) as error:  # of JSON, pandas, numpy and decoding alike
        reason = " ".join(str(error).split())
        raise UserError(f"{path} cannot be read ({reason}); run `dvc repro`.") from None


def read_results(path: Path) -> dict[str, Any]:
    """Read a metrics file.

    Raises:
        UserError: it is no JSON object.
        FileNotFoundError: it is not there.
    """
    with readable(path):
        values = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(values, dict):
        raise UserError(f"{path} does not hold keys and values; run `dvc repro`.")
    return values


def differing(stated: Mapping[str, Any], expected: Mapping[str, Any], says: tuple[str, str]) -> Iterator[str]:
    """Name every key whose value is not the expected one.

    Args:
        stated: nested mappings with numbers and texts as leaves.
        expected: the same, recomputed or from elsewhere.
        says: where each of the two comes from, e.g. ("metrics/train.json", "plots/history.csv").
    """
    left, right = dict(leaves(stated)), dict(leaves(expected))
    for key in sorted({*left, *right}):
        if key not in right:
            yield f"{key} is in {says[0]} but not in {says[1]}"
        elif key not in left:
            yield f"{key} is in {says[1]} but not in {says[0]}"
        elif not equal(left[key], right[key]):
            yield f"{key} is {shown(left[key])} in {says[0]}, {shown(right[key])} in {says[1]}"


def equal(stated: object, expected: object) -> bool:
    """Whether two leaves agree: numbers within TOLERANCE, everything else exactly."""
    if _is_number(stated) and _is_number(expected):
        return math.isclose(stated, expected, rel_tol=1e-9, abs_tol=TOLERANCE)  # type: ignore[arg-type]
    return stated == expected


def shown(value: object) -> str:
    """A value as messages name it: numbers with six digits, null for None."""
    if isinstance(value, float):
        return f"{value:.6g}"
    return "null" if value is None else str(value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
