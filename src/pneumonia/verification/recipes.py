"""Whether every recipe is one that the schema accepts."""

from pathlib import Path

from pneumonia.errors import UserError
from pneumonia.params import load_params
from pneumonia.recipes import recipe_names, recipe_params
from pneumonia.verification.outcome import Outcome


def check_recipes(root: Path) -> Outcome:
    """Lay each file of recipes/ over params.yaml and check what comes out.

    Raises:
        UserError: params.yaml itself is wrong.
    """
    load_params(root / "params.yaml")
    differences = []
    names = recipe_names(root)
    for name in names:
        try:
            recipe_params(name, root)
        except UserError as error:
            differences += str(error).splitlines()
    return Outcome(tuple(differences), f"{len(names)} files")
