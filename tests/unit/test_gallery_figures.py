import re
from pathlib import Path
from xml.etree import ElementTree

import matplotlib as mpl
import pandas as pd
import pytest
from gallery_examples import curves, report_inputs

from pneumonia.errors import UserError
from pneumonia.gallery.figures import (
    VARIABLES,
    calibration_figure,
    history_figure,
    precision_recall_figure,
    read_curves,
    roc_figure,
    thresholds_figure,
)

HISTORY: pd.DataFrame = report_inputs()["history"]
LOSS = {"train_loss": "Training", "val_loss": "Validation"}


def figures() -> list[str]:
    tables = curves()
    return [
        history_figure(HISTORY, LOSS, "Loss", 1),
        history_figure(HISTORY, {"val_auroc": "Validation"}, "AUROC", 1),
        roc_figure(tables.roc, 0.9, 0.7),
        precision_recall_figure(tables.precision_recall, 0.9, 0.8, 0.5),
        calibration_figure(tables.calibration),
        thresholds_figure(tables.thresholds, 0.4),
    ]


def parse(svg: str) -> ElementTree.Element:
    # A Markup would escape what it is mixed with.
    return ElementTree.fromstring(
        str(svg).replace("<svg", '<svg xmlns:xlink="http://www.w3.org/1999/xlink"', 1)
    )


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in parse(svg).iter("text")]


def line(svg: str, color: str) -> list[tuple[float, float]]:
    """Corners of the longest line of a colour, in the units of the picture."""
    paths = [
        element.get("d", "")
        for element in parse(svg).iter("path")
        if f"stroke: var(--{color})" in element.get("style", "") and element.get("clip-path")
    ]
    numbers = [float(number) for number in re.findall(r"-?[\d.]+", max(paths, key=len))]
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def test_figures_take_colours_and_fonts_from_the_page() -> None:
    for svg in figures():
        root = parse(svg)
        assert root.get("role") == "img"
        assert root.get("aria-label")
        assert "var(--ink)" in svg
        assert not any(color in svg for color in VARIABLES)
        assert not re.search(r"#[0-9a-f]{6}\b", svg)
        assert "font-family" not in svg
        assert "metadata" not in svg
        assert root.get("width") is None


def test_ids_of_all_figures_differ() -> None:
    ids = [name for svg in figures() for name in re.findall(r'\bid="([^"]*)"', svg)]
    assert len(ids) == len(set(ids))
    for svg in figures():
        used = set(re.findall(r'(?:url\(|href=")#([^")]*)', svg))
        assert used == set(re.findall(r'\bid="([^"]*)"', svg))


def test_the_same_bytes_whatever_the_users_settings() -> None:
    first = figures()
    with mpl.rc_context({"font.size": 40, "lines.linewidth": 9, "axes.grid": False, "svg.fonttype": "path"}):
        assert figures() == first


def test_the_roc_curve_has_its_corners_where_they_belong() -> None:
    (x0, y0), (x1, y1), (x2, y2), (x3, y3) = line(roc_figure(curves().roc, 0.9, 0.7), "first")
    assert x0 == x1
    assert y2 == y3
    assert (x2 - x0) / (x3 - x0) == pytest.approx(0.5, abs=1e-4)
    assert (y0 - y1) / (y0 - y3) == pytest.approx(0.5, abs=1e-4)
    assert y3 < y0  # downwards is positive


def test_the_chosen_threshold_is_marked_where_it_is_known() -> None:
    assert "Threshold used" in texts(roc_figure(curves().roc, 0.9, 0.7))
    assert "Threshold used" not in texts(roc_figure(curves().roc, 0.9, None))
    assert "Threshold used" not in texts(precision_recall_figure(curves().precision_recall, None, 0.0, 0.0))


@pytest.mark.parametrize("first", [0, 1])
def test_epochs_count_from_one(first: int) -> None:
    history = HISTORY.assign(epoch=[first, first + 1, first + 2])
    svg = history_figure(history, LOSS, "Loss", first + 1)
    assert svg == history_figure(HISTORY, LOSS, "Loss", 1)
    assert {"1", "2", "3"} <= set(texts(svg))


def test_a_single_epoch_and_empty_curves_are_drawn() -> None:
    assert "1" in texts(history_figure(HISTORY.head(1), LOSS, "Loss", 0))
    empty = curves()
    assert parse(roc_figure(empty.roc.head(0), None, None)) is not None
    assert parse(precision_recall_figure(empty.precision_recall.head(0), None, 0.0, 1.0)) is not None
    assert parse(calibration_figure(empty.calibration.head(0))) is not None
    assert parse(thresholds_figure(empty.thresholds.head(0), 0.5)) is not None


def test_curves_are_read_from_their_folder(tmp_path: Path) -> None:
    for name in ("roc", "precision_recall", "calibration", "thresholds"):
        getattr(curves(), name).to_csv(tmp_path / f"{name}.csv", index=False)
    pd.testing.assert_frame_equal(read_curves(tmp_path).calibration, curves().calibration)
    (tmp_path / "thresholds.csv").unlink()
    with pytest.raises(UserError, match=r"thresholds\.csv is missing"):
        read_curves(tmp_path)
