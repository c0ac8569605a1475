"""docs/leaderboard.png: accuracy and AUROC of each recipe, a point a seed, and what was reported."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pneumonia.results.record import Result
from pneumonia.results.reported import Reported

TEST, VALIDATION, REPORTED = "#1f5fa8", "#8a8a8a", "#c8501e"
STYLE = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "x",
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "ytick.major.size": 0,
    "figure.constrained_layout.use": True,
}
PANELS = {"accuracy": "Accuracy", "auroc": "AUROC"}
OFFSET = 0.16  # of validation above and the reported below the row's line


@matplotlib.style.context(["default", STYLE])
def figure(entries: Mapping[str, Reported], results: Mapping[str, Sequence[Result]]) -> bytes:
    """A PNG; the same bytes for the same results and version of matplotlib."""
    run = [name for name in entries if results.get(name)]
    drawn = Figure(figsize=(8.5, 1.5 + 0.5 * len(run)), dpi=150)
    axes = drawn.subplots(1, len(PANELS), sharey=True)
    for panel, (name, title) in zip(axes, PANELS.items(), strict=True):
        _panel(panel, run, entries, results, name)
        panel.set_title(title, loc="left", fontweight="bold")
    axes[0].set_yticks(range(len(run)), run)
    axes[0].set_ylim(len(run) - 0.5, -0.5)
    handles, labels = axes[0].get_legend_handles_labels()
    drawn.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    stream = BytesIO()
    drawn.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def _panel(
    panel: Axes,
    run: list[str],
    entries: Mapping[str, Reported],
    results: Mapping[str, Sequence[Result]],
    name: str,
) -> None:
    points: dict[str, list[tuple[float, float]]] = {"test": [], "validation": [], "reported": []}
    for row, recipe in enumerate(run):
        for result in results[recipe]:
            for key, measured, at in (("test", result.test, row), ("validation", result.val, row - OFFSET)):
                if (value := getattr(measured, name)) is not None:
                    points[key].append((value, at))
        reported = [value for one in entries[recipe].figures if (value := getattr(one, name)) is not None]
        points["reported"] += [(value, row + OFFSET) for value in reported]
    looks: dict[str, dict[str, Any]] = {
        "test": {"marker": "o", "color": TEST, "label": "test set, a point a seed", "alpha": 0.8},
        "validation": {
            "marker": "o",
            "facecolors": "none",
            "color": VALIDATION,
            "label": "validation, a ring a seed",
        },
        "reported": {"marker": "D", "color": REPORTED, "label": "reported", "s": 26},
    }
    for key, pairs in points.items():
        panel.scatter(*(zip(*pairs, strict=True) if pairs else ([], [])), zorder=3, **looks[key])
