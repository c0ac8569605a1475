"""One PNG sheet a kind of failure: each image plain and with its Grad-CAM overlay, and a caption."""

from io import BytesIO
from pathlib import Path, PurePosixPath

import cv2
import matplotlib.style
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pneumonia.atomic import whole_file
from pneumonia.gallery.cases import Case, Gallery, colormap, overlay, with_boxes
from pneumonia.gallery.selection import TITLES
from pneumonia.params import Gallery as GalleryParams

MOST = 12
"""Images on a sheet; the report shows the others."""

# Pixels. Everything is placed on whole pixels, so that the films are not resampled a second time.
WIDTH, MARGIN, HEADER, FOOTER = 1600, 48, 104, 72
COLUMNS, TILE, PAIR_GAP, CAPTION, ROW_GAP = 3, 224, 4, 62, 30
PAIR = 2 * TILE + PAIR_GAP
COLUMN_STEP = (WIDTH - 2 * MARGIN - PAIR) // (COLUMNS - 1)
ROW_STEP = TILE + CAPTION + ROW_GAP
EMPTY_HEIGHT = 140
BAR = (18, 224)  # height and width of the colour bar

INK, QUIET = "#1b1f24", "#5b636d"
FRAMES = "Frames: opacities as the source marks them. "
LEVEL_STEP = 8  # between the colour levels of the PNG, counted down from white


def write_sheet(path: Path, gallery: Gallery, params: GalleryParams) -> None:
    """Write the first images of a gallery as a PNG of 1600 pixels' width, the same bytes each time.

    Args:
        path: the .png file to make.
        gallery: one kind of failure; at most MOST of its images fit.
        params: colormap and opacity, for the colour bar.

    Raises:
        UserError: the disk is full, or there is no permission to write.
    """
    # The user's own matplotlibrc must not change the bytes.
    with matplotlib.style.context("default"):
        _draw(gallery, params).save(path)


def _draw(gallery: Gallery, params: GalleryParams) -> "_Sheet":
    cases = gallery.cases[:MOST]
    rows = -(-len(cases) // COLUMNS)
    height = HEADER + rows * ROW_STEP + FOOTER if cases else EMPTY_HEIGHT
    sheet = _Sheet(height)
    sheet.text(MARGIN, 34, TITLES[gallery.kind], 22, weight="bold")
    if cases:
        sheet.text(MARGIN, 66, count_sentence(gallery, len(cases)), 14, color=QUIET)
    for place, case in enumerate(cases):
        row, column = divmod(place, COLUMNS)
        _draw_case(sheet, case, MARGIN + column * COLUMN_STEP, HEADER + row * ROW_STEP)
    if not cases:
        sheet.text(MARGIN, 78, empty_sentence(gallery), 16)
    elif gallery.unmapped:
        sheet.text(MARGIN, height - 50, gallery.unmapped, 13, color=QUIET)
    else:
        _draw_scale(sheet, params, height - 58, FRAMES if gallery.has_boxes else "")
    return sheet


def count_sentence(gallery: Gallery, shown: int) -> str:
    """How many of how many are shown, and in which order."""
    order = {
        "false_negatives": "lowest probability of pneumonia first",
        "false_positives": "highest probability of pneumonia first",
        "borderline": "nearest in log odds first",
    }[gallery.kind]
    images = " test images" if gallery.kind == "borderline" else ""
    return f"{shown} of {gallery.total}{images} shown, {order}. Threshold {gallery.threshold:.3f}."


def empty_sentence(gallery: Gallery) -> str:
    """What stands in place of the images when there are none."""
    if gallery.total:
        return "None shown: params.yaml asks for none."
    return {
        "false_negatives": "None: every image of pneumonia in the test set was called pneumonia.",
        "false_positives": "None: every normal image in the test set was called normal.",
        "borderline": "None: the test set is empty.",
    }[gallery.kind]


def _draw_case(sheet: "_Sheet", case: Case, left: int, top: int) -> None:
    sheet.image(left, top, with_boxes(case))
    if case.overlay is not None:
        sheet.image(left + TILE + PAIR_GAP, top, case.overlay)
    caption = top + TILE + 8
    group = f" ({shorten(case.group, 13)})" if case.group not in ("", case.label) else ""
    sheet.text(left, caption, f"{case.label}{group}, called {case.predicted}", 13, weight="bold")
    sheet.text(left + PAIR, caption, f"p = {case.probability:.3f}", 13, weight="bold", align="right")
    sheet.text(left, caption + 23, shorten(PurePosixPath(case.file).name, 40), 12, color=QUIET)
    if case.overlay is not None and not case.has_evidence:
        sheet.text(left + PAIR, caption + 23, "map zero everywhere", 12, color=QUIET, align="right")


def _draw_scale(sheet: "_Sheet", params: GalleryParams, top: int, note_on_frames: str) -> None:
    height, width = BAR
    ramp = np.tile(np.linspace(0, 1, width, dtype=np.float32), (height, 1))
    grey = np.full((height, width), 160, np.uint8)
    sheet.image(MARGIN, top, overlay(grey, ramp, colormap(params.colormap), params.opacity))
    sheet.text(MARGIN, top + height + 6, "none", 12, color=QUIET)
    sheet.text(MARGIN + width, top + height + 6, "most", 12, color=QUIET, align="right")
    note = (
        "Grad-CAM: evidence for pneumonia, scaled to each image's own maximum; "
        "colours cannot be compared between images."
    )
    sheet.text(MARGIN + width + 24, top, note, 13, color=QUIET)
    second = f"p: probability of pneumonia as the network says it. {note_on_frames}Not a medical device."
    sheet.text(MARGIN + width + 24, top + 21, second, 13, color=QUIET)


def shorten(text: str, longest: int) -> str:
    """Leave out the middle of a long text, since both ends tell names apart, and what cannot be printed."""
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    if len(text) <= longest:
        return text
    tail = longest // 2
    return f"{text[: longest - tail - 1]}…{text[-tail:]}"


class _Sheet:
    """A white page in pixels, from the top left."""

    def __init__(self, height: int) -> None:
        self.height = height
        self.figure = Figure(figsize=(WIDTH / 100, height / 100), dpi=100, facecolor="white")

    def image(self, left: int, top: int, rgb: NDArray[np.uint8]) -> None:
        if rgb.shape[0] == rgb.shape[1] != TILE:
            shrinks = rgb.shape[0] > TILE
            rgb = np.asarray(
                cv2.resize(rgb, (TILE, TILE), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR),
                np.uint8,
            )
        self.figure.figimage(rgb, xo=left, yo=self.height - top - rgb.shape[0], origin="upper")

    def text(
        self,
        left: int,
        top: int,
        text: str,
        size: int,
        color: str = INK,
        weight: str = "normal",
        align: str = "left",
    ) -> None:
        """`size` in pixels; `text` may come from the data: `$` and `_` are plain characters."""
        self.figure.text(
            left / WIDTH,
            1 - top / self.height,
            text,
            size=size * 72 / 100,
            color=color,
            weight=weight,
            ha=align,
            va="top",
            parse_math=False,
        )

    def save(self, path: Path) -> None:
        pixels = BytesIO()
        self.figure.savefig(pixels, format="rgba")
        rgb = np.frombuffer(pixels.getvalue(), np.uint8).reshape(self.height, WIDTH, 4)[..., :3]
        # Grey levels that differ by noise alone fill two thirds of the file, which is kept in git; the
        # report has the films in full.
        coarse = np.clip(255 - LEVEL_STEP * np.rint((255 - rgb) / LEVEL_STEP), 0, 255).astype(np.uint8)
        options = [cv2.IMWRITE_PNG_COMPRESSION, 7, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP]
        content = cv2.imencode(".png", cv2.cvtColor(coarse, cv2.COLOR_RGB2BGR), options)[1].tobytes()
        with whole_file(path) as part:
            part.write_bytes(content)
