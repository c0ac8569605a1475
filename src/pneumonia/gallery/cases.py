"""The chosen images with their Grad-CAM overlays."""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import matplotlib as mpl
import numpy as np
import pandas as pd
import torch
from matplotlib.colors import Colormap
from numpy.typing import NDArray
from torch import nn

from pneumonia.classes import Label
from pneumonia.errors import UserError
from pneumonia.gallery.gradcam import NoSpatialFeaturesError, gradcam
from pneumonia.gallery.selection import Kind, Selection
from pneumonia.network.description import NetworkDescription
from pneumonia.network.predict import normalise
from pneumonia.params import Gallery as GalleryParams

BATCH_SIZE = 8

Box = tuple[int, int, int, int]
"""Left, top, width and height in pixels of the square image."""
BOX_COLOR = (64, 224, 208)
"""Turquoise: in none of the usual colormaps beside grey, and bright on dark film."""


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One image of the gallery."""

    file: str
    label: Label
    group: str
    predicted: Label
    probability: float
    """Of pneumonia."""
    image: NDArray[np.uint8]
    """Grey, (S, S)."""
    overlay: NDArray[np.uint8] | None
    """RGB, (S, S, 3); None when the network has no features to map."""
    has_evidence: bool
    """False when the map is zero everywhere: no region raised the score."""
    boxes: tuple[Box, ...] = ()
    """Around the findings, where the source says so."""


@dataclass(frozen=True, slots=True, eq=False)
class Gallery:
    """The images of one kind, in the order in which they are shown."""

    kind: Kind
    cases: list[Case]
    total: int
    """How many images these are chosen from."""
    threshold: float
    unmapped: str = ""
    """Why there are no overlays; empty when there are."""

    @property
    def has_boxes(self) -> bool:
        """Whether a finding is framed on any of the films."""
        return any(case.boxes for case in self.cases)


def make_galleries(
    selections: list[Selection],
    images: NDArray[np.uint8],
    index: pd.DataFrame,
    module: nn.Module,
    description: NetworkDescription,
    params: GalleryParams,
) -> list[Gallery]:
    """Take the selected images out of the store and lay their Grad-CAM maps over them.

    Args:
        selections: rows of the predictions.
        images: the packed images, (N, S, S).
        index: row i describes image i; its column `file` ties the predictions to the images.
        module: of the description; runs on its own device in float32.
        description: how the network's input is normalised.
        params: colormap and opacity.

    Raises:
        UserError: params.yaml names a colormap that matplotlib does not know.
    """
    colors = colormap(params.colormap)
    row_of = pd.Series(np.arange(len(index)), index=index["file"])
    boxes_of = dict(zip(index["file"], index["boxes"], strict=True))
    galleries = []
    for selection in selections:
        chosen = np.asarray(images[row_of[selection.rows["file"]].to_numpy()])
        unmapped = ""
        maps: list[NDArray[np.float32]] | list[None]
        try:
            maps = list(_maps(chosen, module, description))
        except NoSpatialFeaturesError as error:
            maps, unmapped = [None] * len(chosen), f"{description.arch} gives no Grad-CAM: {error}."
        cases = [
            Case(
                file=row.file,
                label=row.label,
                group=row.group,
                predicted=row.predicted,
                probability=row.probability,
                image=image,
                overlay=None if map_ is None else overlay(image, map_, colors, params.opacity),
                has_evidence=map_ is not None and bool(map_.any()),
                boxes=_boxes(boxes_of[row.file]),
            )
            for row, image, map_ in zip(selection.rows.itertuples(), chosen, maps, strict=True)
        ]
        galleries.append(Gallery(selection.kind, cases, selection.total, selection.threshold, unmapped))
    return galleries


def colormap(name: str) -> Colormap:
    """Matplotlib's colormap of that name.

    Raises:
        UserError: there is none.
    """
    if name in mpl.colormaps:
        return mpl.colormaps[name]
    near = ", ".join(difflib.get_close_matches(name, mpl.colormaps, n=3)) or "inferno, viridis, turbo"
    raise UserError(
        f"params.yaml: gallery.colormap is {name!r}, which matplotlib does not know; near to it: {near}."
    )


def overlay(
    image: NDArray[np.uint8], map_: NDArray[np.float32], colors: Colormap, opacity: float
) -> NDArray[np.uint8]:
    """Lay a map over a grey image; RGB uint8 of (S, S, 3).

    The colour's opacity is `opacity` times the map, so that the film stays as it is where the map is zero.
    """
    alpha = opacity * map_[..., np.newaxis]
    mixed = (1 - alpha) * image[..., np.newaxis] + alpha * 255 * colors(map_)[..., :3]
    return np.asarray(np.rint(mixed), np.uint8)


def with_boxes(case: Case) -> NDArray[np.uint8]:
    """The film as it is, RGB uint8 of (S, S, 3), with a frame around each finding."""
    rgb = np.repeat(case.image[..., np.newaxis], 3, axis=2)
    thickness = max(1, round(len(rgb) / 112))
    for left, top, width, height in case.boxes:
        cv2.rectangle(rgb, (left, top), (left + width - 1, top + height - 1), BOX_COLOR, thickness)
    return rgb


def _boxes(text: str) -> tuple[Box, ...]:
    """Of the index's column, see `pneumonia.store.INDEX_COLUMNS`."""
    boxes = (tuple(map(int, box.split())) for box in text.split(";") if box)
    return tuple((left, top, width, height) for left, top, width, height in boxes)


def _maps(
    images: NDArray[np.uint8], module: nn.Module, description: NetworkDescription
) -> Iterator[NDArray[np.float32]]:
    device = next(module.parameters()).device
    for start in range(0, len(images), BATCH_SIZE):
        batch = torch.from_numpy(images[start : start + BATCH_SIZE]).to(device)
        yield from gradcam(module, normalise(batch, description))
