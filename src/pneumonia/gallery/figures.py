"""The curves of the report as inline SVG that takes its colours and fonts from the page."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import matplotlib.style
import pandas as pd
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pneumonia.errors import UserError

# Colours that stand for variables of the page's style sheet, which has a light and a dark value for each.
INK, QUIET, RULE, FIRST, SECOND = "#010101", "#020202", "#030303", "#040404", "#050505"
VARIABLES = {
    INK: "var(--ink)",
    QUIET: "var(--quiet)",
    RULE: "var(--rule)",
    FIRST: "var(--first)",
    SECOND: "var(--second)",
}
WIDE, SQUARE = (5.0, 4.0), (5.0, 4.9)  # inches of 72 units
STYLE = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 12,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "text.color": INK,
    "text.usetex": False,
    "text.parse_math": False,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": RULE,
    "grid.linewidth": 0.7,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "lines.linewidth": 1.8,
    "lines.markersize": 4.5,
    "legend.frameon": False,
    "legend.handlelength": 1.8,
    "figure.constrained_layout.use": True,
}
in_style = matplotlib.style.context(["default", STYLE])  # the user's matplotlibrc has no say
NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))


@dataclass(frozen=True, slots=True)
class Curves:
    """The tables of the evaluation: of the test set, and `thresholds` of the validation set."""

    roc: pd.DataFrame
    """false_positive_rate, true_positive_rate"""
    precision_recall: pd.DataFrame
    """recall, precision"""
    calibration: pd.DataFrame
    """predicted, observed, n"""
    thresholds: pd.DataFrame
    """threshold, sensitivity, specificity"""


def read_curves(folder: Path) -> Curves:
    """Read roc.csv, precision_recall.csv, calibration.csv and thresholds.csv.

    Raises:
        UserError: one of them is missing.
    """
    try:
        return Curves(**{name: pd.read_csv(folder / f"{name}.csv") for name in Curves.__dataclass_fields__})
    except FileNotFoundError as error:
        raise UserError(f"{error.filename} is missing; run `dvc repro evaluate`.") from None


@in_style
def history_figure(history: pd.DataFrame, lines: Mapping[str, str], title: str, best_epoch: int) -> Markup:
    """Columns of the history over the epochs, counted from 1; a line at the epoch that was kept.

    Args:
        history: column epoch and the columns named in `lines`.
        lines: name in the legend of each column; the first is drawn solid, the second dashed.
        title: of the vertical axis.
        best_epoch: whose weights were kept, as the column epoch counts.
    """
    figure, axes = _axes("Epoch", title)
    shift = 1 - int(history["epoch"].iloc[0])
    for (column, label), color, style in zip(lines.items(), (FIRST, SECOND), ("-", "--"), strict=False):
        axes.plot(history["epoch"] + shift, history[column], style, color=color, label=label, marker="o")
    axes.axvline(best_epoch + shift, color=QUIET, linewidth=1.5, linestyle=":", label="Epoch kept")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    _legend_above(axes)
    return _svg(figure, f"{title} over {len(history)} epochs: {', '.join(lines.values())}.")


@in_style
def roc_figure(curve: pd.DataFrame, sensitivity: float | None, specificity: float | None) -> Markup:
    """Receiver operating characteristic with the chosen threshold's point."""
    figure, axes = _unit_axes("1 \N{MINUS SIGN} specificity", "Sensitivity")
    axes.plot([0, 1], [0, 1], ":", color=QUIET, linewidth=1.5, label="Chance")
    axes.plot(curve["false_positive_rate"], curve["true_positive_rate"], color=FIRST, label="Test set")
    if sensitivity is not None and specificity is not None:
        _mark(axes, 1 - specificity, sensitivity)
    _legend_above(axes)
    return _svg(figure, "Sensitivity over 1 \N{MINUS SIGN} specificity on the test set.")


@in_style
def precision_recall_figure(
    curve: pd.DataFrame, sensitivity: float | None, precision: float, prevalence: float
) -> Markup:
    """Precision over recall with the chosen threshold's point."""
    figure, axes = _unit_axes("Recall (sensitivity)", "Precision")
    axes.axhline(prevalence, linestyle=":", color=QUIET, linewidth=1.5, label="Chance")
    axes.plot(curve["recall"], curve["precision"], color=FIRST, label="Test set")
    if sensitivity is not None:
        _mark(axes, sensitivity, precision)
    _legend_above(axes)
    return _svg(figure, "Precision over recall on the test set.")


@in_style
def calibration_figure(bins: pd.DataFrame) -> Markup:
    """Observed over predicted share of pneumonia; the points' areas grow with the number of images."""
    figure, axes = _unit_axes("Predicted probability", "Observed share of pneumonia")
    bins = bins[bins["n"] > 0]
    axes.plot([0, 1], [0, 1], ":", color=QUIET, linewidth=1.5, label="Perfect")
    axes.plot(bins["predicted"], bins["observed"], color=FIRST, label="Test set")
    if len(bins):
        areas = 12 + 150 * bins["n"] / bins["n"].max()
        axes.scatter(bins["predicted"], bins["observed"], s=areas, color=FIRST, zorder=3, clip_on=False)
    _legend_above(axes)
    return _svg(figure, "Observed share of pneumonia over predicted probability on the test set.")


@in_style
def thresholds_figure(table: pd.DataFrame, threshold: float) -> Markup:
    """Sensitivity and specificity on validation over the threshold, and the one that was chosen."""
    figure, axes = _unit_axes("Threshold", "On validation")
    axes.plot(table["threshold"], table["sensitivity"], "-", color=FIRST, label="Sensitivity")
    axes.plot(table["threshold"], table["specificity"], "--", color=SECOND, label="Specificity")
    axes.axvline(threshold, color=QUIET, linewidth=1.5, linestyle=":", label="Chosen")
    _legend_above(axes)
    return _svg(figure, f"Sensitivity and specificity on validation; {threshold:.3f} was chosen.")


def _axes(x: str, y: str, size: tuple[float, float] = WIDE) -> tuple[Figure, Axes]:
    figure = Figure(figsize=size)
    axes = figure.add_subplot()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    return figure, axes


def _unit_axes(x: str, y: str) -> tuple[Figure, Axes]:
    figure, axes = _axes(x, y, SQUARE)
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.01)
    return figure, axes


def _mark(axes: Axes, x: float, y: float) -> None:
    axes.plot([x], [y], "o", color=SECOND, markersize=9, label="Threshold used", clip_on=False, zorder=3)


def _legend_above(axes: Axes) -> None:
    columns = len(axes.get_legend_handles_labels()[0])
    axes.legend(
        loc="lower left", bbox_to_anchor=(-0.02, 1), ncols=columns, columnspacing=1.2, handletextpad=0.5
    )


def _svg(figure: Figure, description: str) -> Markup:
    """Draw a figure as an <svg> element without a size, dates or fonts of its own."""
    buffer = StringIO()
    # Ids of an inline SVG live in the whole page; the salt keeps those of two figures apart.
    with matplotlib.rc_context({"svg.hashsalt": description}):
        figure.savefig(buffer, format="svg", metadata=NO_METADATA)
    width, height = (72 * inches for inches in figure.get_size_inches())
    drawn = buffer.getvalue()
    body = re.sub(r'<g id="[^"]*"', "<g", drawn[drawn.index("<g id=") :])
    body = re.sub(r"font-family: [^;]*; ", "", body)
    body = re.sub(r"\s+", " ", body).replace("> <", "><")
    for color, variable in VARIABLES.items():
        body = body.replace(color, variable)
    label = f'viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(description)}"'
    return Markup(f"<svg {label}>{body}")  # noqa: S704  our own words and matplotlib's drawing
