import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import torch
from gallery_examples import PARAMS
from torch import Tensor, nn

from pneumonia.errors import UserError
from pneumonia.gallery.cases import BOX_COLOR, colormap, make_galleries, overlay, with_boxes
from pneumonia.gallery.selection import Selection
from pneumonia.network.description import NetworkDescription

DESCRIPTION = NetworkDescription(arch="bright", outputs=1, size=16, mean=0.25, std=0.5)


class Bright(nn.Module):
    """Sees pneumonia wherever the normalised image is positive."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward_features(self, x: Tensor) -> Tensor:
        return x * self.weight

    def forward_head(self, features: Tensor) -> Tensor:
        return features.flatten(1).mean(dim=1, keepdim=True)


class Flat(Bright):
    def forward_features(self, x: Tensor) -> Tensor:
        return super().forward_features(x).flatten(1)


def selection(*files: str) -> Selection:
    rows = pd.DataFrame(
        {
            "file": list(files),
            "label": "pneumonia",
            "group": "viral",
            "predicted": "normal",
            "probability": [0.1 * number for number, _ in enumerate(files)],
        },
        index=range(100, 100 + len(files)),
    )
    return Selection("false_negatives", rows, total=9, threshold=0.4)


def store(count: int = 20) -> tuple[np.ndarray, pd.DataFrame]:
    images = np.random.default_rng(0).integers(0, 256, (count, 16, 16), np.uint8)
    return images, pd.DataFrame({"file": [f"file{number}" for number in range(count)], "boxes": ""})


def test_every_case_has_the_image_of_its_file_and_the_map_of_that_image() -> None:
    images, index = store()
    files = [f"file{number}" for number in (17, 3, 11, 0, 5, 6, 7, 8, 9, 10)]  # more than a batch
    (gallery,) = make_galleries([selection(*files)], images, index, Bright(), DESCRIPTION, PARAMS.gallery)
    assert [case.file for case in gallery.cases] == files
    assert (gallery.kind, gallery.total, gallery.threshold) == ("false_negatives", 9, 0.4)
    for case in gallery.cases:
        image = images[int(case.file.removeprefix("file"))]
        np.testing.assert_array_equal(case.image, image)
        evidence = np.maximum(image / 255 - 0.25, 0).astype(np.float32)
        expected = overlay(image, evidence / evidence.max(), mpl.colormaps["inferno"], PARAMS.gallery.opacity)
        assert case.overlay is not None
        assert np.abs(case.overlay.astype(int) - expected).max() <= 1
        assert case.has_evidence


def test_the_maps_are_of_images_normalised_as_the_description_says() -> None:
    images, index = store()
    own = DESCRIPTION.model_copy(update={"mean": None, "std": None})
    (gallery,) = make_galleries([selection("file3")], images, index, Bright(), own, PARAMS.gallery)
    evidence = np.maximum(images[3] - images[3].mean(), 0).astype(np.float32)
    expected = overlay(images[3], evidence / evidence.max(), mpl.colormaps["inferno"], PARAMS.gallery.opacity)
    assert gallery.cases[0].overlay is not None
    assert np.abs(gallery.cases[0].overlay.astype(int) - expected).max() <= 1


def test_a_dark_image_has_no_evidence_and_its_overlay_is_the_plain_image() -> None:
    images, index = store()
    images[2] = 10
    (gallery,) = make_galleries([selection("file2")], images, index, Bright(), DESCRIPTION, PARAMS.gallery)
    (case,) = gallery.cases
    assert not case.has_evidence
    np.testing.assert_array_equal(case.overlay, np.full((16, 16, 3), 10))


def test_a_network_without_a_grid_still_gives_its_images() -> None:
    images, index = store()
    (gallery,) = make_galleries([selection("file2")], images, index, Flat(), DESCRIPTION, PARAMS.gallery)
    assert gallery.cases[0].overlay is None
    assert "bright gives no Grad-CAM: its features, 256" in gallery.unmapped


def test_an_empty_selection_gives_an_empty_gallery() -> None:
    images, index = store()
    (gallery,) = make_galleries([selection()], images, index, Bright(), DESCRIPTION, PARAMS.gallery)
    assert (gallery.cases, gallery.unmapped) == ([], "")


def test_the_colour_is_as_opaque_as_the_map_is_high() -> None:
    image = np.full((1, 3), 100, np.uint8)
    map_ = np.array([[0, 0.5, 1]], np.float32)
    red = mpl.colors.ListedColormap(["red"])
    np.testing.assert_array_equal(
        overlay(image, map_, red, 0.4)[0], [[100, 100, 100], [131, 80, 80], [162, 60, 60]]
    )
    np.testing.assert_array_equal(overlay(image, map_, red, 0)[0], np.full((3, 3), 100))


def test_an_unknown_colormap_is_named_with_its_neighbours() -> None:
    assert colormap("viridis") is not None
    with pytest.raises(UserError, match=r"gallery\.colormap is 'infernal'.*inferno"):
        colormap("infernal")
    with pytest.raises(UserError, match="viridis"):
        colormap("#§%")


def test_findings_are_framed_on_their_own_film() -> None:
    images, index = store()
    index.loc[3, "boxes"] = "2 5 8 4;0 0 16 16"
    (gallery,) = make_galleries(
        [selection("file3", "file4")], images, index, Bright(), DESCRIPTION, PARAMS.gallery
    )
    framed, other = gallery.cases
    assert (framed.boxes, other.boxes) == (((2, 5, 8, 4), (0, 0, 16, 16)), ())
    assert gallery.has_boxes
    frame = np.zeros((16, 16), bool)
    frame[[0, -1]] = frame[:, [0, -1]] = True
    frame[[5, 8], 2:10] = frame[5:9, [2, 9]] = True
    film = with_boxes(framed)
    assert (film[frame] == BOX_COLOR).all()
    np.testing.assert_array_equal(film[~frame], np.repeat(images[3][~frame][:, np.newaxis], 3, axis=1))
    np.testing.assert_array_equal(with_boxes(other)[..., 0], images[4])
