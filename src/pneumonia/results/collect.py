"""From the finished experiments to docs/results: read from git, never from the workspace."""

import csv
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from pneumonia import paths
from pneumonia.errors import UserError
from pneumonia.params import Params, parse_yaml
from pneumonia.recipes import PARAMS, recipe_names, recipe_params
from pneumonia.results.experiments import Experiment, changed_code, list_experiments, read_at
from pneumonia.results.machine import this_machine
from pneumonia.results.matching import completed, differences, parameters_that_matter
from pneumonia.results.record import (
    HISTORY,
    MEASURED,
    Machine,
    Measured,
    Result,
    Trained,
    read_result,
    result_path,
    write_result,
)
from pneumonia.results.traceable import untraceable


class Collected(NamedTuple):
    """What was done."""

    written: list[Path]
    """Relative to the checkout."""
    refused: list[str]
    """A sentence an experiment that bears a recipe's name and is not its result."""
    remarks: list[str]
    """A sentence a result that was written and that other code made than is checked out."""


def recipe_of(name: str, recipes: Iterable[str]) -> tuple[str, int | None] | None:
    """Recipe and seed that an experiment's name promises; None for another name.

    >>> recipe_of("singh-augmented-s1", ["singh-augmented"])
    ('singh-augmented', 1)
    >>> recipe_of("singh-augmented-s1-lr0.1", ["singh-augmented"]) is None
    True
    """
    match = re.fullmatch(r"(.+)-s(\d+)", name)
    named = set(recipes)
    if name in named:
        return name, None
    return (match[1], int(match[2])) if match and match[1] in named else None


def collect(root: Path) -> Collected:
    """Write a result file for each finished experiment of a recipe that has none yet.

    A file that was made with the recipe's parameters stays as it is; to replace it delete it first. One of
    which fewer patients were known does not stay. Of several experiments with the same recipe and seed the
    newest is taken.

    Raises:
        UserError: a recipe or a kept result file is wrong, or the disk is full.
    """
    names = recipe_names(root)
    recipes = {name: recipe_params(name, root) for name in names}
    machine = this_machine()
    collected = Collected([], [], [])
    taken = set()
    for experiment in list_experiments(root):
        promised = recipe_of(experiment.name, names)
        if promised is None:
            continue
        recipe = promised[0]
        try:
            params = experiment_params(experiment, root)
            result = result_of(experiment, recipe, recipes[recipe], params, machine, root)
        except UserError as error:
            collected.refused.append(f"{experiment.name} is not collected: {error}")
            continue
        path = result_path(recipe, result.seed)
        if path in taken:
            continue
        taken.add(path)
        kept = read_result(root, recipe, result.seed)
        blind = kept is not None and kept.patients_unknown > result.patients_unknown
        if kept is None or blind or not is_of(kept, recipes[recipe], root):
            write_result(root, result)
            collected.written.append(path)
            if changed := changed_code(root, experiment):
                collected.remarks.append(
                    f"{experiment.name} was run with other code than is checked out ({changed[0]} ...): "
                    f"`git diff {experiment.commit[:10]} -- src stages`."
                )
    return collected


def is_of(result: Result, wanted: Params, root: Path) -> bool:
    """Whether a kept result was made with these parameters."""
    return not differing_from(result, wanted, root)


def differing_from(result: Result, wanted: Params, root: Path) -> list[str]:
    """A phrase for each parameter with which a kept result was made otherwise, or that is refused today."""
    where = str(result_path(result.recipe, result.seed))
    try:
        return differences(wanted, completed(result.parameters, root, where))
    except UserError as error:
        return [str(error)]


def experiment_params(experiment: Experiment, root: Path) -> Params:
    """The parameters with which it ran.

    Raises:
        UserError: it has no params.yaml, or one that today's schema refuses.
    """
    text = read_at(root, experiment, PARAMS)
    if text is None:
        raise UserError(f"it has no {PARAMS}")
    return completed(parse_yaml(text, str(PARAMS)), root, str(PARAMS))


def result_of(
    experiment: Experiment, recipe: str, wanted: Params, params: Params, machine: Machine, root: Path
) -> Result:
    """Read an experiment's result.

    Raises:
        UserError: its parameters are not the recipe's, its results do not come from them, or a file of the
            result is missing or damaged.
    """
    differing = differences(wanted, params)
    promised = recipe_of(experiment.name, [recipe])
    if promised and promised[1] not in (None, params.seed):
        differing.append(f"seed is {params.seed} instead of {promised[1]}")
    differing = differing or untraceable(experiment, root)
    if differing:
        raise UserError("; ".join(differing))
    evaluation = _json_at(root, experiment, paths.EVALUATE_METRICS)
    training = _json_at(root, experiment, paths.TRAIN_METRICS)
    history = _text_at(root, experiment, paths.HISTORY)
    data = _json_at(root, experiment, paths.DATA_REPORT)
    try:
        return Result(
            recipe=recipe,
            seed=params.seed,
            experiment=experiment.name,
            baseline=experiment.baseline,
            patients_unknown=data["patients"]["unknown"],
            archive_sha256=data["archive_sha256"],
            parameters=parameters_that_matter(params),
            training=Trained(
                **{
                    key: training[key]
                    for key in ("best_epoch", "epochs", "parameters", "device", "precision")
                },
                threads=params.threads,
                deterministic=params.deterministic,
            ),
            collected_on=machine,
            test=_measured(evaluation["test"]),
            val=_measured(evaluation["val"]),
            groups=evaluation.get("groups", {}),
            history=_columns(history),
        )
    except (KeyError, ValueError, ValidationError) as error:
        raise UserError(f"its metrics are damaged ({' '.join(str(error).split())})") from None


def _measured(metrics: dict[str, Any]) -> Measured:
    wanted = {"n", "threshold", *MEASURED, *(f"{name}_ci95" for name in MEASURED)}
    return Measured(**{key: metrics[key] for key in wanted & metrics.keys() & Measured.model_fields.keys()})


def _columns(history: str) -> dict[str, list[int | float]]:
    rows = list(csv.DictReader(history.splitlines()))
    present = [name for name in HISTORY if rows and name in rows[0]]
    return {
        name: [int(row[name]) if name == "epoch" else float(row[name]) for row in rows] for name in present
    }


def _text_at(root: Path, experiment: Experiment, path: Path) -> str:
    text = read_at(root, experiment, path)
    if text is None:
        raise UserError(f"it has no {path.as_posix()}")
    return text


def _json_at(root: Path, experiment: Experiment, path: Path) -> dict[str, Any]:
    try:
        loaded: dict[str, Any] = json.loads(_text_at(root, experiment, path))
    except json.JSONDecodeError:
        raise UserError(f"its {path.as_posix()} is damaged") from None
    return loaded
