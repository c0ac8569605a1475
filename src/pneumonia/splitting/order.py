"""The patients that come first in the source's own order, which often is that of time.

Where a source cuts its test set off one end of its numbers, as ChestXRay2017 does, validation patients drawn
from between the training patients are their neighbours in time, and the test patients are not; those next to
the test set say more about it.
"""

import re

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pneumonia.errors import UserError


def natural_key(name: str) -> tuple[tuple[str, int], ...]:
    """What to sort names by, so that person2 comes before person12.

    >>> sorted(["person12_virus", "person2_virus"], key=natural_key)
    ['person2_virus', 'person12_virus']
    """
    return tuple((text, int(number or -1)) for text, number in re.findall(r"(\D*)(\d*)", name))


def series_of(name: str) -> str:
    """The name without its last number: in NORMAL2-IM-0383 and IM-0383 two series count on their own.

    >>> series_of("person12_virus"), series_of("NORMAL2-IM-0383")
    ('person#_virus', 'NORMAL2-IM-#')
    """
    return re.sub(r"\d+(\D*)$", r"#\1", name)


def first_units(units: pd.DataFrame, wanted: int) -> NDArray[np.int64]:
    """The `wanted` units that come first; of each group and series the same part, to the nearest unit.

    Args:
        units: one row a unit, its number as row label; columns group and patient, see `first_patients`.
        wanted: how many.

    Returns:
        Numbers of units, int64 (wanted,).
    """
    names = sorted(units["patient"], key=natural_key)
    ordered = units.assign(
        order=units["patient"].map({name: place for place, name in enumerate(names)}),
        series=units["patient"].map(series_of),
    ).sort_values("order")
    series = ordered.groupby(["group", "series"])["order"]
    # Where in its series a unit stands, 0 to 1: sorted by this, the series take turns by their sizes.
    ordered["position"] = (series.cumcount() + 0.5) / series.transform("size")
    numbers: NDArray[np.int64] = ordered.sort_values(["position", "order"]).index.to_numpy(np.int64)
    return numbers[:wanted]


def first_patients(patient: pd.Series, unit: NDArray[np.int64]) -> pd.Series:
    """Of each unit the patient whose name comes first; the row labels are the units' numbers."""
    return patient.groupby(unit).agg(lambda names: min(names, key=natural_key))


def require_an_order(images: pd.DataFrame) -> None:
    """Refuse images of which one cannot tell who came first.

    Raises:
        UserError: the patients of some are unknown.
    """
    unknown = int((images["patient"] == images["file"]).sum())
    if unknown:
        raise UserError(
            f"split.validation is first, but nobody can tell the patients of {unknown:,} of {len(images):,} "
            "images, hence not who comes first; set it to drawn."
        )
