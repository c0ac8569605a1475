"""Search for hyperparameters: `python -m pneumonia.search [RECIPE] --space FILE [-S key=value ...]`.

`make search SPACE=recipes/search/NAME.yaml TRIALS=20 RECIPE=... SET=...` does the same. Optuna's
tree-structured Parzen estimator (Bergstra et al., NeurIPS 2011) proposes values from the space, see
search_space.py. Each trial is a DVC experiment of its own, made in a temporary directory, and so a run in
MLflow; it is judged by a metric of validation in metrics/train.json, never by the test set.

The search is kept in .cache/search: the same command goes on after an interruption, with the trial that was
interrupted, and makes --trials of them in all. A trial that fails, as by a training that diverges, is kept as
failed. What was interrupted or not, the proposals are the same.
"""

import argparse
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import optuna
from optuna.trial import FrozenTrial, TrialState

from pneumonia import paths
from pneumonia.command_line import ended_in_words
from pneumonia.errors import UserError
from pneumonia.params import Params, Training, check_params
from pneumonia.recipes import as_setting, params_with, recipe_settings, with_value
from pneumonia.results.experiments import head, list_experiments, read_at
from pneumonia.search_space import Space, distributions, read_space

KEPT = Path(".cache/search")
METRICS: tuple[str, ...] = get_args(Training.model_fields["monitor"].annotation)
LOWER_IS_BETTER = ("val_loss",)


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

    def kept_as(self) -> str:
        """What must not change while the search goes on."""
        space = {key: wanted.model_dump() for key, wanted in self.space.items()}
        return json.dumps(
            {"space": space, "settings": dict(self.settings), "metric": self.metric, "seed": self.seed}
        )


Run = Callable[[str, Mapping[str, Any]], float | None]
"""Make the experiment of a name with some values; its metric, or None where it failed."""


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
    if study.user_attrs.setdefault("search", search.kept_as()) != search.kept_as():
        raise UserError(
            f"{KEPT / file.name} holds a search of this name with another space, metric, seed or settings; "
            "give this one another --name, or remove that file."
        )
    study.set_user_attr("search", search.kept_as())
    return study


def run_search(search: Search, study: optuna.Study, trials: int, run: Run) -> None:
    """Make trials until there are so many, failed ones among them; first those that were interrupted."""
    space = distributions(search.space, search.params)
    while True:
        known = study.get_trials()
        waiting = [trial for trial in known if not trial.state.is_finished()]
        if waiting:
            number, values = waiting[0].number, waiting[0].params
        elif len(known) < trials:
            # Seeded for each trial: a search that goes on would else repeat its first proposals.
            study.sampler = optuna.samplers.TPESampler(seed=search.seed + len(known))
            proposed = study.ask(space)
            number, values = proposed.number, proposed.params
        else:
            return
        value = _result(search, study, number, values, run) if values.keys() == space.keys() else None
        if value is None:
            study.tell(number, state=TrialState.FAIL)
        else:
            study.tell(number, value)


def _result(
    search: Search, study: optuna.Study, number: int, values: Mapping[str, Any], run: Run
) -> float | None:
    """The metric of a trial, of an earlier one with the same values if there is one; None where it failed."""
    name = f"{search.name}-{number}"
    for trial in study.get_trials():
        if trial.state.is_finished() and trial.params == values:
            print(f"{name}: as {search.name}-{trial.number}, which had the same values", file=sys.stderr)
            return None if trial.value is None else float(trial.value)
    proposed = search.params.model_dump()
    for key, value in values.items():
        proposed = with_value(proposed, key, value)
    try:
        check_params(proposed, name)
    except UserError as error:  # values that do not go together
        print(error, file=sys.stderr)
        return None
    return run(name, values)


def run_experiment(search: Search, root: Path, name: str, values: Mapping[str, Any]) -> float | None:
    """Make a DVC experiment in a temporary directory, unless it is there; its metric, or None if it failed.

    Raises:
        UserError: the repository has no commit yet.
    """
    value = metric_of(name, search.metric, root)
    if value is None:
        tried = {key: as_setting(value) for key, value in values.items()}
        settings = {**search.settings, **tried}
        options = [part for key, text in settings.items() for part in ("-S", f"{key}={text}")]
        command = ["dvc", "exp", "run", "--temp", "--name", name, *options]
        sys.stdout.write(shlex.join(command) + "\n")
        sys.stdout.flush()
        done = subprocess.run([sys.executable, "-m", *command], cwd=root, check=False)  # noqa: S603
        if done.returncode:
            sys.stderr.write(f"{name} failed; the search goes on.\n")
            return None
        value = metric_of(name, search.metric, root)
    return value


def metric_of(name: str, metric: str, root: Path) -> float | None:
    """A metric of an experiment of the present commit, from git; None where there is no such experiment.

    Raises:
        UserError: the repository has no commit yet.
    """
    here = head(root)
    for experiment in list_experiments(root):
        if (experiment.name, experiment.baseline) == (name, here):
            file = read_at(root, experiment, paths.TRAIN_METRICS)
            return None if file is None else float(json.loads(file)[metric])
    return None


def table(search: Search, study: optuna.Study) -> str:
    """The trials, best first and failed ones last, and how to take over the best."""
    sign = 1 if search.metric in LOWER_IS_BETTER else -1
    trials = [trial for trial in study.get_trials() if trial.state.is_finished()]
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
    parser.add_argument("recipe", nargs="?", help="of recipes/; without it params.yaml as it is")
    parser.add_argument("--space", type=Path, required=True, help="YAML file, as those of recipes/search/")
    parser.add_argument("--trials", type=int, default=20, help="how many in all (20)")
    parser.add_argument("--metric", help="of validation; without it what params.yaml monitors")
    parser.add_argument("--seed", type=int, default=0, help="of the proposals (0)")
    parser.add_argument("--name", help="of the search, instead of recipe and space")
    parser.add_argument("-S", "--set-param", action="append", default=[], metavar="KEY=VALUE", help="on top")
    options = parser.parse_args(arguments)
    if options.trials < 1 or options.seed < 0:
        raise UserError(
            f"--trials {options.trials} --seed {options.seed}: at least one trial, and a seed of 0 or more."
        )
    params = params_with(options.recipe, options.set_param, root)
    metric = options.metric or params.monitor
    if metric not in METRICS:
        test = "test" in metric.lower()
        reason = "the test set is looked at once, at the end, and no search may" if test else "unknown"
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
    return Search(name, space, fixed, params, metric, options.seed), options.trials


def main(arguments: list[str], root: Path) -> None:
    """Search, or go on, and print what was found.

    Raises:
        UserError: as `prepare` and `open_study`.
    """
    search, trials = prepare(arguments, root)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = open_study(search, root)
    run_search(search, study, trials, lambda name, values: run_experiment(search, root, name, values))
    sys.stdout.write(table(search, study) + "\n")


if __name__ == "__main__":
    with ended_in_words("Interrupted; the same command goes on."):
        main(sys.argv[1:], Path())
