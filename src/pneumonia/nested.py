"""Nested tables of keys, as params.yaml and the metrics files are, seen as one flat table."""

from collections.abc import Iterator, Mapping
from typing import Any


def leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every value that is no table itself, in order, with its key `section.key`.

    >>> dict(leaves({"seed": 0, "split": {"seed": 1, "official": None}}))
    {'seed': 0, 'split.seed': 1, 'split.official': None}
    """
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
