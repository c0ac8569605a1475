"""The small result files: rounded, in a fixed order, the same bytes for the same values.

Each appears whole or not at all, as `pneumonia.atomic` sees to.
"""

import json
import math
import numbers
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from pneumonia.atomic import whole_file

DIGITS = 6
"""Of every number written, and of the probabilities from which metrics are computed."""


CLOSE_TO_ONE = 1e-3


def short(value: float) -> float:
    """Round to six digits after the point, or six significant ones where the value is below 1.

    Below 1 a fixed number of decimals would wipe out learning rates and small losses. Less than a thousandth
    below 1 the six digits are those of what is missing: the probabilities of a network that is very sure
    must not all become 1, because their order is what AUROC is made of.
    """
    missing = 1 - abs(value)
    if missing <= 0:
        rounded = round(float(value), DIGITS)
    elif missing < CLOSE_TO_ONE:
        rounded = round(float(value), DIGITS - 1 - math.floor(math.log10(missing)))
    else:
        rounded = float(f"{value:.{DIGITS}g}")
    return rounded + 0.0  # -0.0 becomes 0.0


def write_text(path: Path, text: str) -> None:
    r"""Write a text file: UTF-8, lines end with "\n" on every platform; missing folders are made.

    Raises:
        UserError: the disk is full, or there is no permission to write.
    """
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8", newline="\n")


def write_metrics(path: Path, metrics: Mapping[str, Any]) -> None:
    r"""Write a metrics file for `dvc metrics`: JSON, UTF-8, keys sorted, numbers `short`, "\n" at the end.

    Args:
        path: the file; missing folders are made.
        metrics: nested mappings with text keys; leaves are numbers (numpy's too), text, true and false.

    Raises:
        ValueError: a leaf is NaN, infinite, null or of another kind; `dvc metrics diff` compares none of
            these. A metric that is not defined is left out.
        UserError: the disk is full, or there is no permission to write.
    """
    text = json.dumps(_plain(metrics, ""), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


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
        UserError: the disk is full, or there is no permission to write.
    """
    rounded = table.copy()
    for name in table.columns[table.dtypes.map(pd.api.types.is_float_dtype)]:
        column = table[name]
        if not column.map(math.isfinite).all():
            raise ValueError(f"the column {name} for {path.name} has values that are not finite")
        rounded[name] = column.map(short)
    if rounded.isna().to_numpy().any():
        raise ValueError(f"the table for {path.name} has empty cells")
    with whole_file(path) as part:
        rounded.to_csv(part, index=False, lineterminator="\n", encoding="utf-8")
