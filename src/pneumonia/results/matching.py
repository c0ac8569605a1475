"""Whether an experiment was run with the parameters of a recipe."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pneumonia.nested import leaves
from pneumonia.params import Params, check_params
from pneumonia.recipes import overlaid, recipe_params

PLAIN = "plain"
"""The recipe that states every key of training, switched off."""

YOURS = ("seed", "precision", "device", "devices", "nodes", "threads", "deterministic")
"""Keys of training that whoever runs a recipe chooses."""

LEFT_OUT: dict[str, tuple[str, ...]] = {
    "source": (
        *("path", "labels", "patients"),  # where the files are
        *("phantom_images", "phantom_seed", "pneumoniamnist_size"),  # of sources that no recipe has
    ),
    "evaluate": ("bootstrap", "calibration_bins", "seed"),  # of intervals and curves, not of the result
}


def completed(values: Mapping[str, Any], root: Path, where: str) -> Params:
    """The parameters of an experiment, with keys that are younger than it as recipes/plain.yaml has them.

    What plain.yaml does not state comes from params.yaml.

    Args:
        values: its params.yaml, or those of a result file.
        root: of the checkout.
        where: the file, for messages.

    Raises:
        UserError: a key or value that today's schema refuses.
    """
    return check_params(overlaid(recipe_params(PLAIN, root).model_dump(), values), where)


def parameters_that_matter(params: Params) -> dict[str, Any]:
    """All but what is left to whoever runs a recipe, where the files are, and the gallery."""
    values = params.model_dump(exclude={*YOURS, "gallery"})
    for section, names in LEFT_OUT.items():
        values[section] = {key: value for key, value in values[section].items() if key not in names}
    return values


def differences(wanted: Params, found: Params) -> list[str]:
    """A phrase for each parameter that matters and is another, e.g. `lr is 0.1 instead of 0.001`."""
    expected = dict(leaves(parameters_that_matter(wanted)))
    return unequal(expected, dict(leaves(parameters_that_matter(found))))


def unequal(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """A phrase for each key of both whose value is another."""
    return [
        f"{key} is {found[key]} instead of {value}"
        for key, value in wanted.items()
        if key in found and found[key] != value
    ]
