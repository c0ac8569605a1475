"""docs/leaderboard.md: a row a recipe, made from docs/results and recipes/reported.yaml alone."""

from collections.abc import Callable, Mapping, Sequence
from statistics import mean, stdev

from pneumonia.results.record import Measured, Result
from pneumonia.results.reported import Figures, Reported
from pneumonia.sources.kermany import SHA256

COLUMNS = {
    "test accuracy": ("test", "accuracy"),
    "test AUROC": ("test", "auroc"),
    "sensitivity": ("test", "sensitivity"),
    "specificity": ("test", "specificity"),
    "validation accuracy": ("val", "accuracy"),
    "validation AUROC": ("val", "auroc"),
}

HEAD = """# Leaderboard

Made by `make leaderboard` from the files in [results](results); not to be edited by hand.

Every recipe runs under one protocol: validation is cut from the training set by patient, the epoch is chosen
on validation or is the last, the threshold is chosen on validation or is 0.5, and each training looks at the
test set once, at the end. Most of the reported figures were chosen on the test set, or it is not said how.
How ours were chosen, and what had been seen of the test set before: [study.md](study.md).
"""

LEGEND = """Mean ± standard deviation over the seeds, which is chance in training, and in brackets the 95 %
interval of a bootstrap over the patients, its ends averaged over the seeds, which is chance in who is in the
test set alone: single seeds may lie outside. An interval without width is no certainty. Sensitivity is the
part of the test images of pneumonia that is found, specificity the part of the normal ones that is called
normal: the accuracy of either class. Validation stands beside to show how much it overstates. The rows are in
the order of the sources, ours last; not by rank, which the test set must not decide.
"""

FIGURE = "![Test accuracy and AUROC of each recipe and seed, and what was reported](leaderboard.png)\n"


def page(entries: Mapping[str, Reported], results: Mapping[str, Sequence[Result]]) -> str:
    """The whole page.

    Args:
        entries: of recipes/reported.yaml, in the order of the rows.
        results: of each recipe, by seed; a recipe may have none.
    """
    run = [name for name in entries if results.get(name)]
    parts = [HEAD]
    if run:
        parts += [_table(run, entries, results), LEGEND, FIGURE]
        parts += ["## The recipes, and how our runs differ\n", _notes(run, entries, results)]
    parts += _not_run([name for name in entries if name not in run], entries)
    if run:
        parts += ["## Hardware, images and commands\n", _hardware(run, results)]
        parts += [_images(run, results), _commands(run, results)]
    return "\n".join(parts)


def cell(measured: Sequence[Measured], name: str) -> str:
    """Mean over the seeds, their deviation where there are several, and the mean of their 95 % intervals.

    A dash where the metric is not defined.

    >>> cell([Measured(n=4, threshold=0.5, auroc=0.5), Measured(n=4, threshold=0.5, auroc=0.75)], "auroc")
    '0.625 ± 0.177'
    """
    values = [value for one in measured if (value := getattr(one, name)) is not None]
    if not values:
        return "-"
    deviation = f" ± {stdev(values):.3f}" if len(values) > 1 else ""
    intervals = [interval for one in measured if (interval := getattr(one, f"{name}_ci95", None))]
    if not intervals:
        return f"{mean(values):.3f}{deviation}"
    low, high = mean(one.low for one in intervals), mean(one.high for one in intervals)
    return f"{mean(values):.3f}{deviation} ({low:.3f} to {high:.3f})"


def cells(results: Sequence[Result]) -> list[str]:
    """Of a recipe's results: how many seeds, and what belongs below COLUMNS."""
    figures = [cell([getattr(result, split) for result in results], key) for split, key in COLUMNS.values()]
    return [str(len(results)), *figures]


def _table(run: list[str], entries: Mapping[str, Reported], results: Mapping[str, Sequence[Result]]) -> str:
    rows = [[f"`{name}`", *cells(results[name]), _reported(entries[name])] for name in run]
    return markdown([["recipe", "seeds", *COLUMNS, "reported"], *rows])


def _reported(entry: Reported) -> str:
    return "; ".join(f"{_figures(figures)} ({figures.chosen})" for figures in entry.figures) or "no figure"


def _figures(figures: Figures) -> str:
    stated = {**figures.model_dump(exclude={"chosen"}, exclude_none=True)}
    return ", ".join(f"{'F1' if key == 'f1' else key} {value:.3f}" for key, value in stated.items())


def _notes(run: list[str], entries: Mapping[str, Reported], results: Mapping[str, Sequence[Result]]) -> str:
    lines = []
    for name in run:
        differs = f" Differs: {entries[name].differs}." if entries[name].differs else ""
        lines.append(f"- `{name}`: {entries[name].setup}.{differs}{_patients(results[name])}\n")
    return "".join(lines)


def _patients(results: Sequence[Result]) -> str:
    """What is said where a split by patient was not possible."""
    blind = [result for result in results if result.patients_unknown]
    if not blind:
        return ""
    seeds = ", ".join(str(result.seed) for result in blind)
    return (
        f" Seed{'s' if len(blind) > 1 else ''} {seeds}: the patients of {blind[0].patients_unknown:,} images "
        "are unknown, so images of one patient may be on both sides, and intervals count images as patients."
    )


def _not_run(names: list[str], entries: Mapping[str, Reported]) -> list[str]:
    if not names:
        return []
    rows = [["recipe", "set-up", "reported", "why"]]
    for name in names:
        needs = entries[name].needs
        why = f"needs {needs}" if needs else "not run yet"
        rows.append([f"`{name}`", entries[name].setup, _reported(entries[name]), why])
    return ["## Not run\n", markdown(rows)]


def _hardware(run: list[str], results: Mapping[str, Sequence[Result]]) -> str:
    return _grouped(run, results, _machine)


def _images(run: list[str], results: Mapping[str, Sequence[Result]]) -> str:
    return _grouped(run, results, _archive)


def _grouped(
    run: list[str], results: Mapping[str, Sequence[Result]], described: Callable[[Result], str]
) -> str:
    """A line for each description, with the recipes of which it is true."""
    groups: dict[str, list[str]] = {}
    for name in run:
        for description in dict.fromkeys(described(result) for result in results[name]):
            groups.setdefault(description, []).append(f"`{name}`")
    return "".join(f"- {', '.join(names)}: {description}\n" for description, names in groups.items())


def _archive(result: Result) -> str:
    if result.archive_sha256 is None:
        return "from which archive is not known."
    published = ""
    if result.parameters["source"]["name"] == "kermany":
        published = ", as published" if result.archive_sha256 == SHA256 else ", not the file as published"
    return f"the archive with the SHA-256 {result.archive_sha256}{published}."


def _machine(result: Result) -> str:
    training, machine = result.training, result.collected_on
    versions = ", ".join(f"{name} {number}" for name, number in sorted(machine.versions.items()))
    threads = f"{training.threads} thread{'s' if training.threads > 1 else ''}"
    gpu = f"{machine.gpu}, " if machine.gpu and training.device != "cpu" else ""
    return (
        f"{training.device}, {training.precision}, {threads}; {gpu}{machine.processor} "
        f"({machine.cores} cores), {machine.system}; {versions}."
    )


def _commands(run: list[str], results: Mapping[str, Sequence[Result]]) -> str:
    groups: dict[tuple[str, str], list[str]] = {}
    for name in run:
        by_setting: dict[str, list[int]] = {}
        for result in results[name]:
            setting = f"-S threads={result.training.threads} -S precision={result.training.precision}"
            by_setting.setdefault(setting, []).append(result.seed)
        for setting, seeds in by_setting.items():
            groups.setdefault((" ".join(map(str, seeds)), setting), []).append(name)
    lines = [
        f'make recipes RECIPES="{" ".join(names)}" SEEDS="{seeds}" SET="{setting}"'
        for (seeds, setting), names in groups.items()
    ]
    text = "\n".join([*lines, "make leaderboard"])
    return (
        "The machine is the one on which the results were collected. Where an archive is not "
        "the one that is published, add to `SET` where it is, say, `-S source.path=../chest_xray.zip`.\n\n"
        f"```\n{text}\n```\n"
    )


def markdown(rows: list[list[str]]) -> str:
    """A table, the first row its head."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines.insert(1, "|" + " --- |" * len(rows[0]))
    return "\n".join(lines) + "\n"
