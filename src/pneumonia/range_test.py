"""Look for a learning rate: `python -m pneumonia.range_test [RECIPE] [-S key=value ...]`.

`make range-test RECIPE=NAME SET="-S key=value"` does the same. It trains params.yaml, with a recipe of
recipes/ and settings on top, for some steps on the training images of the last `dvc repro` while the rate
grows, draws the loss over the rate into reports/range_test.png, with its numbers in range_test.csv beside it,
and suggests a rate: where the smoothed loss falls most steeply.
"""

import argparse
import json
import shlex
import sys
from pathlib import Path

import matplotlib.style
import pandas as pd
from matplotlib.figure import Figure

from pneumonia import paths
from pneumonia.atomic import whole_file
from pneumonia.command_line import ended_in_words, take_settings
from pneumonia.errors import UserError
from pneumonia.network.device import limits_in_words
from pneumonia.params import Params, read_yaml
from pneumonia.recipes import params_with
from pneumonia.training.data import read_training_data
from pneumonia.training.loop import TrainingData
from pneumonia.training.rate_range import measure, span_of, suggest
from pneumonia.writing import short, write_table

TABLE, FIGURE = (paths.REPORT.with_name(f"range_test.{kind}") for kind in ("csv", "png"))
LARGEST_RATE = 10  # of the schema of params.yaml
FEWEST_STEPS = 20
RULE = "where the smoothed loss (a running median) falls most steeply, before its lowest"


def range_test(params: Params, root: Path, rates: tuple[float, float], steps: int) -> float | None:
    """Run the test on the images of the last `dvc repro`; write table and figure; return the rate.

    Raises:
        UserError: there are no images yet, or the machine cannot serve a parameter.
    """
    with limits_in_words(params.arch):
        curve = measure(params.training, read_data(root), root, rates, steps)
    rate = suggest(curve, span_of(steps))
    write_table(root / TABLE, curve)
    draw(root / FIGURE, curve, rate, f"{params.arch}, {params.optimizer}, batches of {params.batch_size}")
    return rate


def read_data(root: Path) -> TrainingData:
    """Images and labels as the train stage reads them.

    Raises:
        UserError: the stages before it have not run.
    """
    needed = [root / path for path in (paths.INDEX, paths.SPLIT, paths.STATISTICS, paths.IMAGES)]
    missing = [path.relative_to(root).as_posix() for path in needed if not path.is_file()]
    if missing:
        raise UserError(f"{', '.join(missing)}: not here yet; run `dvc repro split`, which makes them.")
    return read_training_data(*needed)


def other_data(params: Params, root: Path) -> list[str]:
    """Keys of the data's sections in which the last `dvc repro split` was run with other values."""
    if not (root / "dvc.lock").is_file():
        return []
    stages = read_yaml(root / "dvc.lock").get("stages", {})
    differing = []
    for stage, section in (("download", "source"), ("preprocess", "preprocess"), ("split", "split")):
        used = stages.get(stage, {}).get("params", {}).get("params.yaml", {}).get(section, {})
        wanted = params.model_dump()[section]
        differing += [
            f"{section}.{key} {json.dumps(value)}" for key, value in used.items() if wanted.get(key) != value
        ]
    return differing


def draw(path: Path, curve: pd.DataFrame, rate: float | None, subtitle: str) -> None:
    """Draw loss over rate, the rate on a logarithmic axis; the suggested one is marked.

    Raises:
        UserError: the disk is full, or there is no permission to write.
    """
    with matplotlib.style.context("default"):  # the user's matplotlibrc has no say
        figure = Figure(figsize=(8, 5), layout="constrained")
        axes = figure.add_subplot()
        axes.plot(curve["lr"], curve["loss"], color="0.75", linewidth=0.8, label="Loss of a batch")
        axes.plot(curve["lr"], curve["smoothed"], color="C0", linewidth=2, label="Smoothed")
        if rate is not None:
            axes.axvline(rate, color="C3", linestyle="--", label=f"Suggested rate, {rate:.2g}")
        axes.set_xscale("log")
        # The explosion at the end would flatten all that matters.
        top = 1.3 * max(curve["smoothed"].iloc[: len(curve) // 4].max(), curve["smoothed"].min())
        axes.set_ylim(0, top)
        axes.set_xlabel("Learning rate (logarithmic)")
        axes.set_ylabel("Training loss (nats)")
        axes.set_title(f"Learning-rate range test\n{subtitle}", fontsize=11)
        axes.grid(visible=True, color="0.9")
        axes.legend(loc="lower left")
        with whole_file(path) as part:
            figure.savefig(part, format="png", dpi=120, metadata={"Software": None})


def main(arguments: list[str], root: Path) -> None:
    """Run the test and print the suggestion.

    Raises:
        UserError: wrong options; as `range_test`; the loss falls nowhere.
    """
    parser = argparse.ArgumentParser(
        prog="python -m pneumonia.range_test", description="Suggest a learning rate.", allow_abbrev=False
    )
    parser.add_argument("recipe", nargs="?", help="a name of recipes/; default: params.yaml as it is")
    take_settings(parser)
    parser.add_argument("--low", type=float, default=1e-6, help="first rate; default: 1e-6")
    parser.add_argument("--high", type=float, default=1.0, help="last rate; default: 1")
    parser.add_argument("--steps", type=int, default=150, help="how many batches; default: 150")
    options = parser.parse_args(arguments)
    if not 0 < options.low < options.high <= LARGEST_RATE:
        raise UserError(
            f"--low {options.low:g} --high {options.high:g}: rates must grow, from above 0 to at most "
            f"{LARGEST_RATE}."
        )
    if options.steps < FEWEST_STEPS:
        raise UserError(f"--steps {options.steps}: fewer than {FEWEST_STEPS} give no curve; 150 are usual.")
    params = params_with(options.recipe, options.set_param, root)
    differing = other_data(params, root)
    if differing:
        sys.stderr.write(
            f"warning: the images are those of the last `dvc repro`, with {', '.join(differing)}; a rate for "
            "other images needs a run with them first.\n"
        )
    rate = range_test(params, root, (options.low, options.high), options.steps)
    if rate is None:
        raise UserError(
            f"The loss falls nowhere between {options.low:g} and {options.high:g}, so no rate is suggested; "
            f"see {FIGURE}, and try other rates, more --steps or another setting."
        )
    settings = [f"lr={short(float(f'{rate:.2g}'))}", *_without_rate(options.set_param)]
    line = ["dvc", "exp", "run", *(part for setting in settings for part in ("-S", setting))]
    if options.recipe:
        line = ["make", "exp", f"RECIPE={options.recipe}", f"SET={shlex.join(line[3:])}"]
    sys.stdout.write(
        f"Suggested learning rate: {rate:.2g}, {RULE}.\nThe curve is in {FIGURE} and {TABLE}.\n"
        f"{shlex.join(line)}\n"
    )


def _without_rate(settings: list[str]) -> list[str]:
    return [setting for setting in settings if not setting.startswith("lr=")]


if __name__ == "__main__":
    with ended_in_words():
        main(sys.argv[1:], Path())
