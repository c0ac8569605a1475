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
RECIPES = ("ours-scratch", "ours-lite")
AS_THEY_ARE, CHANGED = "as they are", "changed, mean"
HEAD = ("AUROC", "AUROC, changed", "sensitivity, changed", "specificity, changed")

TEXT = """# What helps a network on films that were made elsewhere
"""


def page_of_the_files() -> str:
    """The page of what is in benchmarks/results and docs/results."""
    study, readings = read("study"), read("readings")["recipes"]
    return TEXT.format(
        shortcuts=shortcuts_table(read("shortcuts")["validation"]),
        variants=variants_table(study["variants"]),
        readings=readings_table(readings),
        calibrations=calibrations_table(readings),
        outcome=outcome_table(RECIPES),
        arch=BASE["arch"],
        epochs=BASE["epochs"],
        size=study["size"],
        images=study["images"],
    )


def shortcuts_table(found: dict[str, dict[str, dict[str, float]]]) -> str:
    """AUROC of each way to see a film, on each way to cut validation off."""
    ways = list(next(iter(found.values())))
    rows = [[name, *(f"{of[way]['auroc']:.3f}" for way in ways)] for name, of in found.items()]
    return markdown(["boosted trees see", *ways], rows)


def variants_table(found: dict[str, Any]) -> str:
    """A row a variant."""
    rows = []
    for name, of in found.items():
        worst = min(of["changed"], key=lambda change: of["changed"][change]["balanced_accuracy"])
        rows.append([name, *figures(of), f"{worst}, {of['changed'][worst]['balanced_accuracy']:.2f}"])
    return markdown(["training", *HEAD, "worst change, balanced accuracy"], rows)


def readings_table(recipes: dict[str, Any]) -> str:
    """A row for each way to read and each rule."""
    rows = [
        [f"`{recipe}`", name, rule, *figures(of)]
        for recipe, found in recipes.items()
        for name, rules in found["readings"].items()
        for rule, of in rules.items()
    ]
    return markdown(["recipe", "read by", "threshold by", *HEAD], rows)


def calibrations_table(recipes: dict[str, Any]) -> str:
    """Brier scores, a row a recipe and calibration."""
    rows = [
        [f"`{recipe}`", kind, f"{of[AS_THEY_ARE]:.3f}", f"{of[CHANGED]:.3f}"]
        for recipe, found in recipes.items()
        for kind, of in found["calibrations"].items()
    ]
    return markdown(["recipe", "calibration", "Brier score", "Brier score, changed"], rows)


def figures(of: dict[str, Any]) -> list[str]:
    """The cells below HEAD."""
    changed = (f"{of[CHANGED][figure]:.3f}" for figure in ("auroc", "sensitivity", "specificity"))
    return [f"{of[AS_THEY_ARE]['auroc']:.3f}", *changed]


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
