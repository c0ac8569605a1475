"""Search for hyperparameters: `python -m pneumonia.search [RECIPE] --space FILE [-S key=value ...]`.

`make search SPACE=recipes/search/NAME.yaml TRIALS=20 RECIPE=... SET=...` does the same. Optuna's
tree-structured Parzen estimator (Bergstra et al., NeurIPS 2011) proposes values from the space, see
search_space.py. Each trial is a DVC experiment of its own, made in a temporary directory, and so a run in
MLflow; it is judged by a metric of validation in metrics/train.json, never by the test set.

The search is kept in .cache/search: the same command goes on after an interruption, with the trial that was
interrupted, and makes --trials of them in all. What was interrupted or not, the proposals are the same. A
trial that fails, as by a training that diverges, is one of them; the same command tries it once more. Where
no trial has a result the command ends with status 1.

What is ranked together was run with the same parameters, but for those of the space, on the same data and
with the same code: with others a search does not go on, and takes no experiment for a trial of its own.
"""

import argparse
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import optuna
from filelock import FileLock, Timeout
from optuna.trial import FrozenTrial

from pneumonia import paths
from pneumonia.command_line import ended_in_words, take_settings
from pneumonia.errors import UserError
from pneumonia.nested import leaves
from pneumonia.params import Params, Training, check_params
from pneumonia.recipes import as_setting, params_with, recipe_settings, with_value
from pneumonia.results.collect import experiment_params
from pneumonia.results.experiments import (
    Experiment,
    changed_code,
    code_of_stages,
    head,
    list_experiments,
    read_at,
)
from pneumonia.results.matching import unequal
from pneumonia.results.traceable import untraceable
from pneumonia.search_space import Space, distributions, read_space

KEPT = Path(".cache/search")
METRICS: tuple[str, ...] = get_args(Training.model_fields["monitor"].annotation)
LOWER_IS_BETTER = ("val_loss",)
SAID = 3
"""How many differences a sentence names."""


@dataclass(frozen=True, slots=True)
class Search:
    """What is searched; a search that goes on must be the same."""

    name: str
    space: Space
    settings: Mapping[str, str]
    """What all trials have on top of params.yaml, as -S takes it."""
    params: Params
    """With these settings."""
    metric: str
    """One of METRICS."""
    seed: int
    code: str
    """See `code_of_stages`."""

    def kept_as(self) -> str:
        """What must not change while the search goes on: all that its results depend on."""
        space = {key: wanted.model_dump() for key, wanted in self.space.items()}
        params = {key: value for key, value in _compared(self.params).items() if key not in space}
        return json.dumps(
            {
                "space": space,
                "metric": self.metric,
                "seed": self.seed,
                "parameters": params,
                "code": self.code,
            }
        )


Run = Callable[[str, Mapping[str, Any]], float | None]
"""Make the experiment of a name with some values; its metric, or None where it failed."""


@contextmanager
def alone(search: Search, root: Path) -> Iterator[None]:
    """Keep other commands from the search while the block runs.

    Raises:
        UserError: another one is at work on it.
    """
    try:
        held = FileLock(root / KEPT / f"{search.name}.lock").acquire(timeout=0)
    except Timeout:
        raise UserError(
            f"The search {search.name} is already at work in this checkout; let it end first, or give this "
            "one another --name."
        ) from None
    with held:
        yield


def open_study(search: Search, root: Path) -> optuna.Study:
    """The study of a search, as it was left.

    Raises:
        UserError: there is another search of this name.
    """
    folder = root / KEPT
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{search.name}.db"
    study = optuna.create_study(
        storage=f"sqlite:///{file}",
        study_name=search.name,
        direction="minimize" if search.metric in LOWER_IS_BETTER else "maximize",
        load_if_exists=True,
    )
    wanted = search.kept_as()
    another = _another(json.loads(study.user_attrs.get("search", wanted)), json.loads(wanted))
    if another:
        raise UserError(
            f"{KEPT / file.name} holds a search of this name with {another}; give this one another --name, "
            "or remove that file."
        )
    study.set_user_attr("search", wanted)
    return study


def _another(kept: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """What a kept search has that is not what is wanted now; nothing where they are the same."""
    for part in ("space", "metric", "seed"):
        if kept[part] != wanted[part]:
            return f"another {part}"
    # Earlier versions kept neither parameters nor code.
    differing = unequal(wanted["parameters"], kept.get("parameters", {}))
    if differing:
        return f"other parameters ({_first_of(differing)})"
    return "" if kept.get("code") == wanted["code"] else "other code"


def run_search(search: Search, study: optuna.Study, trials: int, run: Run) -> None:
    """Make trials until there are so many, failed ones among them.

    Those that were interrupted or had failed come first. A trial that fails is left open, for the next
    command.
    """
    space = distributions(search.space, search.params)
    tried: set[int] = set()
    while True:
        known = study.get_trials()
        waiting = [trial for trial in known if not (trial.state.is_finished() or trial.number in tried)]
        if waiting:
            number, values = waiting[0].number, waiting[0].params
        elif len(known) < trials:
            # Seeded for each trial: a search that goes on would else repeat its first proposals.
            study.sampler = optuna.samplers.TPESampler(seed=search.seed + len(known))
            proposed = study.ask(space)
            number, values = proposed.number, proposed.params
        else:
            return
        over = [trial for trial in known if trial.state.is_finished() or trial.number in tried]
        value = _result(search, over, number, values, run) if values.keys() == space.keys() else None
        tried.add(number)
        if value is not None:
            study.tell(number, value)


def _result(
    search: Search, over: Sequence[FrozenTrial], number: int, values: Mapping[str, Any], run: Run
) -> float | None:
    """The metric of a trial, or of one that is over and had the same values; None where it failed."""
    name = f"{search.name}-{number}"
    for trial in over:
        if trial.params == values:
            print(f"{name}: as {search.name}-{trial.number}, which had the same values", file=sys.stderr)
            return None if trial.value is None else float(trial.value)
    try:
        _trial_params(search, name, values)
    except UserError as error:  # values that do not go together
        print(error, file=sys.stderr)
        return None
    return run(name, values)


def _trial_params(search: Search, name: str, values: Mapping[str, Any]) -> Params:
    """All parameters of a trial.

    Raises:
        UserError: its values do not go together.
    """
    proposed = search.params.model_dump()
    for key, value in values.items():
        proposed = with_value(proposed, key, value)
    return check_params(proposed, name)


def run_experiment(search: Search, root: Path, name: str, values: Mapping[str, Any]) -> float | None:
    """Make a DVC experiment in a temporary directory, unless it is there; its metric, or None if it failed.

    Raises:
        UserError: as `metric_of`.
    """
    value = metric_of(search, root, name, values)
    if value is None:
        tried = {key: as_setting(value) for key, value in values.items()}
        settings = {**search.settings, **tried}
        options = [part for key, text in settings.items() for part in ("-S", f"{key}={text}")]
        command = ["dvc", "exp", "run", "--temp", "--name", name, *options]
        sys.stdout.write(shlex.join(command) + "\n")
        sys.stdout.flush()
        subprocess.run([sys.executable, "-m", *command], cwd=root, check=False)  # noqa: S603
        # Whatever its status: after a search was killed the dvc that it had started may have gone on and
        # been first, and DVC refuses to make the same experiment twice.
        value = metric_of(search, root, name, values)
        if value is None:
            sys.stderr.write(f"{name} failed; the search goes on.\n")
    return value


def metric_of(search: Search, root: Path, name: str, values: Mapping[str, Any]) -> float | None:
    """The metric of a trial's experiment, from git; None where the present commit has none of its name.

    Raises:
        UserError: the repository has no commit yet; the code was changed since the search began; the
            experiment of this name is not this trial's.
    """
    here = head(root)
    if code_of_stages(root) != search.code:
        raise UserError(
            f"The code was changed while {search.name} was at work. Put it back, and the same command goes "
            "on; for the new code give the search another --name."
        )
    for experiment in list_experiments(root):
        if (experiment.name, experiment.baseline) == (name, here):
            differing = _differing(_trial_params(search, name, values), experiment, root)
            if differing:
                raise UserError(
                    f"The experiment {name} is not this trial ({_first_of(differing)}); `dvc exp remove "
                    f"{name}` frees the name, or give the search another --name."
                )
            return float(json.loads(read_at(root, experiment, paths.TRAIN_METRICS) or "{}")[search.metric])
    return None


def _differing(wanted: Params, experiment: Experiment, root: Path) -> list[str]:
    """A phrase for each thing in which an experiment is not what a run with these parameters makes now."""
    try:
        found = experiment_params(experiment, root)
    except UserError as error:
        return [str(error)]
    differing = unequal(_compared(wanted), _compared(found))
    changed = [f"{file} has changed since" for file in changed_code(root, experiment)]
    return differing or untraceable(experiment, root) or changed


def _compared(params: Params) -> dict[str, Any]:
    """All parameters but the gallery, and but where the files of a published set are."""
    values = dict(leaves(params.model_dump(exclude={"gallery"})))
    values["source.patients"] = "given" if params.source.patients else "not given"
    if params.source.name != "folder":
        del values["source.path"], values["source.labels"]
    return values


def _first_of(phrases: Sequence[str]) -> str:
    more = len(phrases) - SAID
    return "; ".join(phrases[:SAID]) + (f"; and {more} more" if more > 0 else "")


def table(search: Search, study: optuna.Study) -> str:
    """The trials, best first and failed ones last, and how to take over the best."""
    sign = 1 if search.metric in LOWER_IS_BETTER else -1
    trials = study.get_trials()
    trials.sort(key=lambda trial: (trial.value is None, sign * (trial.value or 0), trial.number))
    rows = [("trial", search.metric, *search.space)]
    rows += [
        (
            f"{search.name}-{trial.number}",
            "failed" if trial.value is None else f"{trial.value:.6g}",
            *(_shown(trial, key) for key in search.space),
        )
        for trial in trials
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    if trials and trials[0].value is not None:
        lines += ["", f"dvc exp apply {search.name}-{trials[0].number}"]
    return "\n".join(lines)


def _shown(trial: FrozenTrial, key: str) -> str:
    value = trial.params.get(key, "")
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def prepare(arguments: list[str], root: Path) -> tuple[Search, int]:
    """Read options, space, recipe and params.yaml; return the search and the number of trials.

    Raises:
        UserError: wrong options; a space or settings that the schema refuses.
    """
    parser = argparse.ArgumentParser(
        prog="python -m pneumonia.search",
        description="Search for hyperparameters; each trial is a DVC experiment.",
        allow_abbrev=False,
    )
    parser.add_argument("recipe", nargs="?", help="a name of recipes/; default: params.yaml as it is")
    parser.add_argument("--space", type=Path, required=True, help="YAML file like those in recipes/search/")
    parser.add_argument("--trials", type=int, default=20, help="how many, failed ones included; default: 20")
    parser.add_argument("--metric", help="a metric of validation; default: what params.yaml monitors")
    parser.add_argument("--seed", type=int, default=0, help="seed of the proposals; default: 0")
    parser.add_argument("--name", help="name of the search; default: recipe and space")
    take_settings(parser)
    options = parser.parse_args(arguments)
    if options.trials < 1 or options.seed < 0:
        raise UserError(
            f"--trials {options.trials} --seed {options.seed}: at least one trial, and a seed of 0 or more."
        )
    params = params_with(options.recipe, options.set_param, root)
    metric = options.metric or params.monitor
    if metric not in METRICS:
        test = "test" in metric.lower()
        reason = "no search may look at the test set" if test else "unknown"
        raise UserError(f"--metric {metric}: {reason}; take one of validation: {', '.join(METRICS)}.")
    settings = recipe_settings(options.recipe, root) if options.recipe else {}
    given = {key: text for key, _, text in (setting.partition("=") for setting in options.set_param)}
    settings |= given
    space = read_space(root / options.space, params)
    both = [key for key in space if key in given]
    if both:
        raise UserError(f"-S {both[0]}: {options.space} searches this key; leave out one of them.")
    parts = [part for part in (options.recipe, options.space.stem) if part]
    name = options.name or "-".join(parts)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        raise UserError(f"--name {name}: letters, digits, - and _ only, since experiments are named by it.")
    fixed = {key: text for key, text in settings.items() if key not in space}
    return Search(name, space, fixed, params, metric, options.seed, code_of_stages(root)), options.trials


def main(arguments: list[str], root: Path) -> None:
    """Search, or go on, and print what was found.

    Raises:
        UserError: as `prepare`, `alone`, `open_study` and `run_experiment`; no trial has a result.
    """
    search, trials = prepare(arguments, root)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with alone(search, root):
        study = open_study(search, root)
        run_search(search, study, trials, lambda name, values: run_experiment(search, root, name, values))
        sys.stdout.write(table(search, study) + "\n")
        if all(trial.value is None for trial in study.get_trials()):
            raise UserError(
                f"No trial of {search.name} has a result; the lines above say why. The same command tries "
                "them again."
            )


if __name__ == "__main__":
    with ended_in_words("Interrupted; the same command goes on."):
        main(sys.argv[1:], Path())
