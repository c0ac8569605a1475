"""The small result files that git keeps: rounded, in a fixed order, the same bytes for the same values."""

import json
import math
import numbers
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

DIGITS = 6
"""Of every number written, and of the probabilities from which metrics are computed."""


def short(value: float) -> float:
    """Round to six digits after the point, or six significant ones where the value is below 1.

    Below 1 a fixed number of decimals would wipe out learning rates and small losses.
    """
    rounded = float(f"{value:.{DIGITS}g}") if abs(value) < 1 else round(float(value), DIGITS)
    return rounded + 0.0  # -0.0 becomes 0.0


def write_metrics(path: Path, metrics: Mapping[str, Any]) -> None:
    r"""Write a metrics file for `dvc metrics`: JSON, UTF-8, keys sorted, numbers `short`, "\n" at the end.

    Args:
        path: the file; missing folders are made.
        metrics: nested mappings with text keys; leaves are numbers (numpy's too), text, true and false.

    Raises:
        ValueError: a leaf is NaN, infinite, null or of another kind; `dvc metrics diff` compares none of
            these. A metric that is not defined is left out.
    """
    text = json.dumps(_plain(metrics, ""), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n", encoding="utf-8", newline="\n")


def _plain(value: Any, key: str) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(item, f"{key}.{name}" if key else name) for name, item in value.items()}
    if isinstance(value, str | bool):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real) and math.isfinite(value):
        return short(float(value))
    raise ValueError(f"the metric {key} is {value!r}; leave it out where it is not defined")


def write_table(path: Path, table: pd.DataFrame) -> None:
    r"""Write a table as CSV: UTF-8, no index column, numbers `short`, lines end with "\n" on every platform.

    Raises:
        ValueError: a cell is empty, NaN or infinite; plots cannot show these.
    """
    rounded = table.copy()
    for name in table.columns[table.dtypes.map(pd.api.types.is_float_dtype)]:
        column = table[name]
        if not column.map(math.isfinite).all():
            raise ValueError(f"the column {name} for {path.name} has values that are not finite")
        rounded[name] = column.map(short)
    if rounded.isna().to_numpy().any():
        raise ValueError(f"the table for {path.name} has empty cells")
    path.parent.mkdir(parents=True, exist_ok=True)
    rounded.to_csv(path, index=False, lineterminator="\n", encoding="utf-8")
