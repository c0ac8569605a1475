"""Write docs/leaderboard.md and its figure: `python -m pneumonia.leaderboard`, or `make leaderboard`.

Finished experiments of the recipes that have no result file yet are collected first.
"""

import sys
from pathlib import Path

from pneumonia.atomic import whole_file
from pneumonia.command_line import ended_in_words
from pneumonia.errors import UserError
from pneumonia.recipes import recipe_params
from pneumonia.results.collect import collect, differing_from
from pneumonia.results.figure import figure
from pneumonia.results.page import page
from pneumonia.results.record import Result, read_results, result_path
from pneumonia.results.reported import Reported, read_reported
from pneumonia.writing import write_text

PAGE = Path("docs/leaderboard.md")
FIGURE = Path("docs/leaderboard.png")


def kept_results(root: Path) -> tuple[dict[str, Reported], dict[str, list[Result]]]:
    """The entries of recipes/reported.yaml, and the kept results of each of their recipes.

    Raises:
        UserError: a file is wrong, or a result was made with other parameters than the recipe's.
    """
    entries = read_reported(root)
    results = {name: read_results(root, name) for name in entries}
    for name, found in results.items():
        wanted = recipe_params(name, root)
        for result in found:
            differing = differing_from(result, wanted, root)
            if differing:
                path = result_path(name, result.seed)
                raise UserError(
                    f"{path} was made with other parameters than those of the recipe {name}: "
                    f"{'; '.join(differing)}. If the recipe is meant to have changed, delete the file, or "
                    "run `make recipes` again."
                )
    return entries, results


def main(root: Path) -> int:
    """Collect, and write both files.

    Raises:
        UserError: as `kept_results`, or the disk is full.
    """
    collected = collect(root)
    for path in collected.written:
        sys.stdout.write(f"wrote {path}\n")
    for sentence in (*collected.refused, *collected.remarks):
        sys.stdout.write(sentence + "\n")
    entries, results = kept_results(root)
    write_text(root / PAGE, page(entries, results))
    if any(results.values()):
        with whole_file(root / FIGURE) as part:
            part.write_bytes(figure(entries, results))
    count = sum(map(len, results.values()))
    sys.stdout.write(f"wrote {PAGE} from {count} result files\n")
    return 0


if __name__ == "__main__":
    with ended_in_words():
        sys.exit(main(Path()))
