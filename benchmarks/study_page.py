"""docs/study.md: what makes a network hold on films made otherwise, from benchmarks/results and docs/results.

`PYTHONPATH=src python -m benchmarks.study_page` writes it; it trains and measures nothing.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.study import BASE
from benchmarks.summary import read
from pneumonia.results.page import COLUMNS, cell
from pneumonia.results.record import read_results

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "study.md"
TEXT = Path(__file__).with_name("study_page.md")
AS_THEY_ARE, CHANGED = "as they are", "changed, mean"
RECIPES = ("ours-scratch",)


def page_of_the_files() -> str:
    """The page of what is in benchmarks/results and docs/results."""
    study, readings = read("study"), read("readings")
    return TEXT.read_text("utf-8").format(
        shortcuts=shortcuts_table(read("shortcuts")["validation"]),
        variants=variants_table(study["variants"]),
        readings=readings_table(readings["readings"]),
        outcome=outcome_table(RECIPES),
        arch=BASE["arch"],
        epochs=BASE["epochs"],
        size=study["size"],
        images=study["images"],
        seeds=", ".join(map(str, readings["seeds"])),
    )


def shortcuts_table(found: dict[str, dict[str, dict[str, float]]]) -> str:
    """AUROC of each way to see a film, on each way to cut validation off."""
    ways = list(next(iter(found.values())))
    rows = [[name, *(f"{of[way]['auroc']:.3f}" for way in ways)] for name, of in found.items()]
    return markdown(["AUROC on validation", *ways], rows)


def variants_table(found: dict[str, Any]) -> str:
    """A row a variant."""
    head = [
        "training",
        "AUROC",
        "AUROC, changed",
        "sensitivity, changed",
        "specificity, changed",
        "worst change",
    ]
    rows = []
    for name, of in found.items():
        worst = min(of["changed"], key=lambda change: of["changed"][change]["balanced_accuracy"])
        mean = of[CHANGED]
        rows.append(
            [
                name,
                f"{of[AS_THEY_ARE]['auroc']:.3f}",
                *(f"{mean[figure]:.3f}" for figure in ("auroc", "sensitivity", "specificity")),
                f"{worst}, {of['changed'][worst]['balanced_accuracy']:.2f}",
            ]
        )
    return markdown(head, rows)


def readings_table(found: dict[str, Any]) -> str:
    """A row for each way to read and each rule."""
    head = [
        "read by",
        "threshold by",
        "AUROC",
        "AUROC, changed",
        "sensitivity, changed",
        "specificity, changed",
    ]
    rows = [
        [
            name,
            rule,
            f"{of[AS_THEY_ARE]['auroc']:.3f}",
            *(f"{of[CHANGED][figure]:.3f}" for figure in ("auroc", "sensitivity", "specificity")),
        ]
        for name, rules in found.items()
        for rule, of in rules.items()
    ]
    return markdown(head, rows)


def outcome_table(recipes: Iterable[str]) -> str:
    """What the final choice reached, mean and standard deviation over its seeds."""
    rows = []
    for name in recipes:
        results = read_results(ROOT, name)
        cells = [cell([getattr(one, split) for one in results], key) for split, key in COLUMNS.values()]
        rows.append([f"`{name}`", str(len(results)), *cells])
    return markdown(["recipe", "seeds", *COLUMNS], rows)


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """A table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    """Write the page."""
    PAGE.write_text(page_of_the_files(), "utf-8")


if __name__ == "__main__":
    main()
