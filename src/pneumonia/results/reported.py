"""recipes/reported.yaml: what the sources report, in the order of the leaderboard."""

from pathlib import Path

from pydantic import ConfigDict, TypeAdapter, ValidationError

from pneumonia.errors import UserError
from pneumonia.params import Fraction, Section, read_yaml
from pneumonia.recipes import REPORTED, recipe_names
from pneumonia.results.matching import PLAIN


class Figures(Section):
    """One reported result, on the source's test set unless `chosen` says otherwise."""

    accuracy: Fraction | None = None
    sensitivity: Fraction | None = None
    specificity: Fraction | None = None
    precision: Fraction | None = None
    f1: Fraction | None = None
    auroc: Fraction | None = None
    chosen: str


class Reported(Section):
    """What is said about one recipe."""

    setup: str
    figures: list[Figures]
    differs: str | None = None
    needs: str | None = None


def read_reported(root: Path) -> dict[str, Reported]:
    """All entries in the file's order.

    Raises:
        UserError: the file is wrong, names no recipe, or leaves one out; plain.yaml, from which others start,
            needs no entry.
    """
    adapter = TypeAdapter(dict[str, Reported], config=ConfigDict(strict=True))
    try:
        entries = adapter.validate_python(read_yaml(root / REPORTED))
    except ValidationError as error:
        details = error.errors()[0]
        key = ".".join(str(part) for part in details["loc"])
        raise UserError(f"{REPORTED}: {key}: {details['msg']}.") from None
    recipes = set(recipe_names(root)) - {PLAIN}
    for names, complaint in (
        (recipes - entries.keys(), "has no entry for the recipe"),
        (entries.keys() - recipes, "has an entry for a recipe that is not there,"),
    ):
        if names:
            raise UserError(f"{REPORTED} {complaint} {sorted(names)[0]}; add or remove it.")
    return entries
