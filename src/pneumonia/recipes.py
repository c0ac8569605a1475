"""Run a set-up of recipes/ as a DVC experiment: `python -m pneumonia.recipes NAME [-S key=value ...]`.

`make exp RECIPE=NAME SET="-S key=value"` does the same. Without a name the recipes are listed.

A recipe is an overlay of params.yaml, checked by the same schema. Its key `base` names another recipe on
which it lies. What is run is a plain `dvc exp run` with an -S for each key in which params.yaml differs; the
line is printed first. The experiment has the name of the recipe, and what was set on top: seed=1 makes
singh-augmented-s1. A grid goes into DVC's queue: `-S lr=1e-3,3e-3 -S optimizer=sgd,adam --queue` makes four,
NAME-lr-optimizer-1 to -4, which `dvc queue start` runs. DVC refuses a name that the commit already has;
`dvc exp remove NAME` frees it.
"""

import argparse
import difflib
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pneumonia.command_line import ended_in_words, take_settings
from pneumonia.errors import UserError
from pneumonia.nested import leaves
from pneumonia.params import Params, check_params, load_params, parse_value, read_yaml

FOLDER = Path("recipes")
BASE = "base"
PARAMS = Path("params.yaml")
REPORTED = FOLDER / "reported.yaml"
"""What the sources of the recipes report: no recipe."""

NO_VARIATION = ("source.", "device=", "precision=", "threads=")
"""Settings that leave the experiment's name alone: where images are and what it runs on."""


def recipe_names(root: Path) -> list[str]:
    """All recipes, sorted."""
    return sorted(path.stem for path in (root / FOLDER).glob("*.yaml") if path.name != REPORTED.name)


def read_recipe(name: str, root: Path) -> dict[str, Any]:
    """The overlay of a recipe with its bases below it, not yet checked by the schema.

    Raises:
        UserError: there is no such recipe, its file is no table of keys, or its bases go in a circle.
    """
    overlays: list[dict[str, Any]] = []
    seen: list[str] = []
    following: object = name
    while following is not None:
        if following in seen:
            raise UserError(f"{_path(name)}: its bases go in a circle: {', '.join([*seen, str(following)])}.")
        seen.append(str(following))
        if following not in recipe_names(root):
            raise UserError(_unknown(str(following), seen[-2] if len(seen) > 1 else None, root))
        overlay = read_yaml(root / _path(str(following)))
        following = overlay.pop(BASE, None)
        overlays.append(overlay)
    merged: dict[str, Any] = {}
    for overlay in reversed(overlays):
        merged = overlaid(merged, overlay)
    return merged


def recipe_params(name: str, root: Path) -> Params:
    """params.yaml with the recipe laid over it.

    Raises:
        UserError: params.yaml or the recipe has a wrong key, type or value.
    """
    load_params(root / PARAMS)  # so that its mistakes are not taken for the recipe's
    return check_params(overlaid(read_yaml(root / PARAMS), read_recipe(name, root)), str(_path(name)))


def params_with(name: str | None, given: Iterable[str], root: Path) -> Params:
    """params.yaml with a recipe laid over it, if there is one, and settings key=value on top.

    Raises:
        UserError: as `recipe_params`; a setting without a value, or one that the schema refuses.
    """
    params = recipe_params(name, root) if name else load_params(root / PARAMS)
    values = params.model_dump()
    for setting in given:
        _require_value(setting)
        key, _, text = setting.partition("=")
        values = with_value(values, key, parse_value(text))
    return check_params(values, "-S")


def with_value(values: Mapping[str, Any], key: str, value: object) -> dict[str, Any]:
    """The values with one of them replaced; its key is written with dots.

    >>> with_value({"lr": 1, "split": {"seed": 0}}, "split.seed", 2)
    {'lr': 1, 'split': {'seed': 2}}
    """
    for part in reversed(key.split(".")):
        value = {part: value}
    assert isinstance(value, dict)
    return overlaid(values, value)


def recipe_settings(name: str, root: Path) -> dict[str, str]:
    """The keys in which the recipe differs from params.yaml, with dots, and their values as -S takes them.

    Raises:
        UserError: as `recipe_params`.
    """
    present = dict(leaves(load_params(root / PARAMS).model_dump()))
    wanted = leaves(recipe_params(name, root).model_dump())
    return {key: as_setting(value) for key, value in wanted if value != present[key]}


def experiment_name(name: str, given: Iterable[str]) -> str:
    """The recipe's name, with a suffix for each setting on top.

    >>> experiment_name("singh-augmented", ["seed=1", "augment.rotation=5", "source.path=../images.zip"])
    'singh-augmented-s1-rotation5'

    Of a grid there is the key alone, and DVC numbers its experiments:

    >>> experiment_name("plain", ["lr=1e-3,3e-3", "augment.scale=[0.9,1.1]"])
    'plain-lr-scale-0.9-1.1'
    """
    suffixes = []
    for setting in given:
        key, _, value = setting.partition("=")
        if not setting.startswith(NO_VARIATION):
            short = "s" if key == "seed" else key.rpartition(".")[2]
            if is_grid(value):
                suffixes.append(short)
                continue
            # Git, which keeps the name, takes no two dots in a row.
            suffixes.append(re.sub(r"[^A-Za-z0-9.]+|[^A-Za-z0-9]{2,}", "-", f"{short}{value}").strip("-."))
    return "-".join([name, *suffixes])


def experiment_command(name: str, given: list[str], root: Path, experiment: str | None = None) -> list[str]:
    """The `dvc exp run` that runs a recipe.

    Args:
        name: of the recipe.
        given: settings on top, key=value; they win over the recipe's.
        root: of the checkout.
        experiment: name of the experiment; None to make it from recipe and settings.

    Raises:
        UserError: no such recipe, or one that the schema refuses; a setting without a value.
    """
    for setting in given:
        _require_value(setting)
    taken = {setting.partition("=")[0] for setting in given}
    settings = [f"{key}={value}" for key, value in recipe_settings(name, root).items() if key not in taken]
    options = [part for setting in [*settings, *given] for part in ("-S", setting)]
    return ["dvc", "exp", "run", "--name", experiment or experiment_name(name, given), *options]


def catalogue(root: Path) -> str:
    """A line a recipe: its name, and the first line of its comment."""
    names = recipe_names(root)
    width = max(map(len, names), default=0)
    first_lines = [(root / _path(name)).read_text(encoding="utf-8").partition("\n")[0] for name in names]
    return "\n".join(
        f"{name:<{width}}  {line.lstrip('# ')}" for name, line in zip(names, first_lines, strict=True)
    )


def is_grid(value: str) -> bool:
    """Whether -S takes it for several values: a comma, but for those in a list or in quotes."""
    return "," in re.sub(r"\[[^]]*\]|\"[^\"]*\"|'[^']*'", "", value)


def _require_value(setting: str) -> None:
    if not re.match(r"[\w.]+=", setting):
        raise UserError(f"-S {setting}: a setting is key=value, e.g. -S seed=1.")


def _path(name: str) -> Path:
    return FOLDER / f"{name}.yaml"


def _unknown(name: str, base_of: str | None, root: Path) -> str:
    names = recipe_names(root)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
    remedy = f"did you mean {near[0]}?" if near else f"there are: {', '.join(names) or 'none'}."
    where = f"{_path(base_of)}: its base" if base_of else "the recipe"
    return f"{where} {name} is not in {FOLDER}; {remedy}"


def overlaid(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """The values of `above` laid over those of `below`, section by section."""
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = overlaid(merged[key], value) if both else value
    return merged


def as_setting(value: object) -> str:
    """A value in the notation of -S: bare where a word, in quotes where -S would read it otherwise."""
    if isinstance(value, str):
        return value if re.fullmatch(r"[A-Za-z_][\w.-]*", value, re.ASCII) else _in_quotes(value)
    return json.dumps(value, separators=(",", ":"))


def _in_quotes(text: str) -> str:
    """As -S reads it, where a backslash is one but before a quotation mark."""
    return '"' + re.sub(r'(\\*)("|\Z)', lambda match: match[1] * 2 + match[2].replace('"', r"\""), text) + '"'


def main(arguments: list[str], root: Path) -> int:
    """Print the line and run it; return its exit status.

    Raises:
        UserError: as `experiment_command`.
    """
    parser = argparse.ArgumentParser(
        prog="python -m pneumonia.recipes",
        description="Run a recipe as a DVC experiment. Further options, as --queue, go to dvc exp run.",
        allow_abbrev=False,
    )
    parser.add_argument("recipe", nargs="?", help="a name of recipes/; without one they are listed")
    take_settings(parser)
    parser.add_argument("-n", "--name", help="name of the experiment; default: recipe and settings")
    options, further = parser.parse_known_args(arguments)
    if not options.recipe:
        sys.stdout.write(catalogue(root) + "\n")
        return 0
    command = [*experiment_command(options.recipe, options.set_param, root, options.name), *further]
    sys.stdout.write(shlex.join(command) + "\n")
    sys.stdout.flush()
    return subprocess.run([sys.executable, "-m", *command], cwd=root, check=False).returncode  # noqa: S603


if __name__ == "__main__":
    with ended_in_words():
        sys.exit(main(sys.argv[1:], Path()))
