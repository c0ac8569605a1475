"""The space of a search: which keys of params.yaml are tried, and between which values.

A file of recipes/search/ names keys with dots, each with the bounds of a number or with choices:

    lr: {low: 1e-4, high: 1e-2, log: true}
    augment.rotation: {low: 0, high: 20}
    optimizer: {choices: [sgd, adamw]}
"""

from pathlib import Path
from typing import Annotated, Any

import optuna
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from pneumonia.errors import UserError
from pneumonia.params import Params, check_params, read_yaml
from pneumonia.recipes import with_value


class Bounds(BaseModel):
    """Numbers from low to high, both included; whole ones where the key takes whole numbers only."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
    low: float
    high: float
    log: bool = False
    """Whether 0.001 to 0.01 is as likely as 0.01 to 0.1."""

    @model_validator(mode="after")
    def _ascend(self) -> "Bounds":
        if self.low >= self.high:
            raise ValueError("low must be below high")
        if self.log and self.low <= 0:
            raise ValueError("with log, low must be above 0")
        return self


class Choices(BaseModel):
    """Some values, none likelier than another."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    choices: Annotated[list[str | int | float | bool | None], Field(min_length=2)]


Space = dict[str, Bounds | Choices]

_SPACE = TypeAdapter(dict[str, Bounds | Choices])


def read_space(path: Path, params: Params) -> Space:
    """Read a space and try its bounds and choices on the schema of params.yaml.

    Args:
        path: the YAML file.
        params: what the values are laid over.

    Raises:
        UserError: the file is missing or no YAML; a key is none of params.yaml; bounds or choices that
            cannot be, or that the schema refuses.
    """
    values = read_yaml(path)
    try:
        space = _SPACE.validate_python(values)
    except ValidationError as error:
        details = error.errors()[0]
        key = details["loc"][0] if details["loc"] else "it"
        reason = details["ctx"]["error"] if details["type"] == "value_error" else "it is neither of the two"
        raise UserError(
            f"{path}: {key} takes {{low: 1e-4, high: 1e-2, log: true}} or {{choices: [a, b]}}; {reason}."
        ) from None
    if not space:
        raise UserError(f"{path} names no key to search.")
    base = params.model_dump()
    for key, wanted in space.items():
        edges = wanted.choices if isinstance(wanted, Choices) else [wanted.low, wanted.high]
        for value in edges:
            number = _whole(value) if isinstance(wanted, Bounds) and _takes_whole(base, key) else value
            check_params(with_value(base, key, number), str(path))
    return space


def distributions(space: Space, params: Params) -> dict[str, optuna.distributions.BaseDistribution]:
    """The space in Optuna's terms."""
    base = params.model_dump()
    kinds = optuna.distributions
    found = {}
    for key, wanted in space.items():
        if isinstance(wanted, Choices):
            found[key] = kinds.CategoricalDistribution(wanted.choices)
        elif _takes_whole(base, key):
            found[key] = kinds.IntDistribution(int(wanted.low), int(wanted.high), log=wanted.log)
        else:
            found[key] = kinds.FloatDistribution(wanted.low, wanted.high, log=wanted.log)
    return found


def _whole(value: Any) -> Any:
    """A bound of whole numbers; one with a fraction stays, for the schema to refuse."""
    return int(value) if float(value).is_integer() else value


def _takes_whole(base: dict[str, Any], key: str) -> bool:
    value: Any = base
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return isinstance(value, int) and not isinstance(value, bool)
