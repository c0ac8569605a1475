"""Augmentation: the same pictures as torchvision's own transforms, from one matrix and one table an image."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from pneumonia.params import Augment, load_params
from pneumonia.training.augment import (
    Augmenter,
    count_greys,
    draw_crops,
    equalising_tables,
    inverse_affine,
    look_up,
    resample,
)

NOTHING = Augment(
    flip_horizontal=0.0,
    flip_vertical=0.0,
    rotation=0,
    translation=0.0,
    scale=[1.0, 1.0],
    crop_area=[1.0, 1.0],
    crop_ratio=[1.0, 1.0],
    brightness=0.0,
    contrast=0.0,
    equalise=0.0,
    gamma=0.0,
    blur=0.0,
    sharpen=0.0,
    noise=0.0,
    collimate=0.0,
    erase=0.0,
)
SIZE = 48


def change(**values: object) -> Augmenter:
    return Augmenter(NOTHING.model_copy(update=values))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def images() -> torch.Tensor:
    rows, columns = np.mgrid[:SIZE, :SIZE]
    smooth = 120 + 60 * np.sin(rows / 7) + 40 * np.cos(columns / 5)
    noise = np.random.default_rng(0).normal(0, 10, (5, SIZE, SIZE))
    return torch.from_numpy((smooth + noise).clip(0, 255).astype(np.uint8))


def test_nothing_asked_for_changes_nothing(images: torch.Tensor) -> None:
    torch.testing.assert_close(change()(images, generator()), images.float())


@pytest.mark.parametrize(("name", "axis"), [("flip_horizontal", 2), ("flip_vertical", 1)])
def test_a_sure_flip_is_a_flip(images: torch.Tensor, name: str, axis: int) -> None:
    flipped = change(**{name: 1.0})(images, generator())
    torch.testing.assert_close(flipped, images.flip(axis).float(), atol=1e-3, rtol=0)


@pytest.mark.parametrize(("angle", "shift", "zoom"), [(10, (0, 0), 1), (0, (3, -5), 1), (-25, (4, 2), 1.2)])
def test_affine_maps_are_those_of_torchvision(
    images: torch.Tensor, angle: float, shift: tuple[int, int], zoom: float
) -> None:
    greys = images.float()
    expected = tv.affine(
        greys, angle, list(shift), zoom, shear=[0.0], interpolation=InterpolationMode.BILINEAR, fill=0
    )
    matrices = inverse_affine(
        torch.full((5,), math.radians(angle)), torch.tensor([shift] * 5) * 2 / SIZE, torch.full((5,), zoom)
    )
    ours = resample(greys, matrices[:, :2])
    # The rim mixes with the black outside here, and not there.
    inner = resample(torch.ones_like(greys), matrices[:, :2]) > 0.999
    assert inner.float().mean() > 0.6
    torch.testing.assert_close(ours[inner], expected[inner], atol=0.05, rtol=0)


def test_a_crop_box_is_the_resized_crop_of_torchvision(images: torch.Tensor) -> None:
    top, left, height, width = 8, 4, 24, 36
    expected = tv.resized_crop(images.float(), top, left, height, width, [SIZE, SIZE], antialias=False)
    matrix = torch.tensor(
        [
            [width / SIZE, 0, (2 * left + width) / SIZE - 1],
            [0, height / SIZE, (2 * top + height) / SIZE - 1],
        ]
    )
    ours = resample(images.float(), matrix.expand(5, 2, 3))
    torch.testing.assert_close(ours[:, 3:-3, 3:-3], expected[:, 3:-3, 3:-3], atol=0.05, rtol=0)


def test_crops_stay_inside_and_keep_the_area_asked_for() -> None:
    boxes = draw_crops(2000, [0.25, 0.81], [0.8, 1.25], generator())
    width, height = boxes[:, 0, 0], boxes[:, 1, 1]
    assert ((boxes[:, 0, 2].abs() + width) <= 1 + 1e-6).all()
    assert ((boxes[:, 1, 2].abs() + height) <= 1 + 1e-6).all()
    area = width * height
    assert (area.min() - 0.25).abs() < 0.02
    assert (area.max() - 0.81).abs() < 0.03
    assert (area.mean() - 0.53).abs() < 0.01


def test_drawn_angles_shifts_and_zooms_fill_their_ranges() -> None:
    drawn = change(rotation=20, translation=0.1, scale=[0.8, 1.25]).draw_matrices(4000, generator())
    zoom = 1 / torch.linalg.det(drawn[:, :, :2]).sqrt()
    angle = torch.rad2deg(torch.atan2(drawn[:, 0, 1], drawn[:, 0, 0]))
    shift = -(torch.linalg.inv(drawn[:, :, :2]) @ drawn[:, :, 2:])[:, :, 0] / 2
    for values, low, high in ((zoom, 0.8, 1.25), (angle, -20, 20), (shift, -0.1, 0.1)):
        span = high - low
        assert low - 1e-4 <= values.min() < low + 0.02 * span
        assert high - 0.02 * span < values.max() <= high + 1e-4
        assert abs(values.mean() - (low + high) / 2) < 0.03 * span


def test_brightness_and_contrast_are_those_of_torchvision(images: torch.Tensor) -> None:
    draws = generator()
    torch.rand(5, generator=draws)  # equalisation's
    brightness = 0.7 + 0.6 * torch.rand(5, generator=draws)
    contrast = 0.6 + 0.8 * torch.rand(5, generator=draws)
    ours = change(brightness=0.3, contrast=0.4)(images, generator())
    for image, b, c, mine in zip(images, brightness, contrast, ours, strict=True):
        expected = tv.adjust_contrast(tv.adjust_brightness(image[None].float() / 255, b.item()), c.item())
        torch.testing.assert_close(mine, expected[0] * 255, atol=0.01, rtol=0)


def test_gamma_is_that_of_torchvision_and_as_often_brighter_as_darker(images: torch.Tensor) -> None:
    draws = generator()
    torch.rand(15, generator=draws)  # equalisation's, brightness's and contrast's
    powers = torch.exp(0.5 * (2 * torch.rand(5, generator=draws) - 1))
    for image, power, mine in zip(images, powers, change(gamma=0.5)(images, generator()), strict=True):
        expected = tv.adjust_gamma(image[None].float() / 255, power.item())
        torch.testing.assert_close(mine, expected[0] * 255, atol=0.01, rtol=0)
    grey = torch.full((4000, 1, 1), 64, dtype=torch.uint8)
    log_powers = torch.log(torch.log(change(gamma=0.5)(grey, generator()) / 255) / math.log(64 / 255))
    assert -0.5 <= log_powers.min() < -0.49
    assert 0.49 < log_powers.max() <= 0.5
    assert log_powers.mean().abs() < 0.02


def test_gamma_leaves_the_draws_of_the_other_changes_alone(images: torch.Tensor) -> None:
    plain = change(brightness=0.3, contrast=0.4)(images, generator())
    nearly_none = change(brightness=0.3, contrast=0.4, gamma=1e-9)(images, generator())
    torch.testing.assert_close(nearly_none, plain, atol=1e-3, rtol=0)


def test_equalisation_is_that_of_pillow(images: torch.Tensor) -> None:
    ours = look_up(images, equalising_tables(count_greys(images)))
    for image, mine in zip(images, ours, strict=True):
        expected = np.asarray(ImageOps.equalize(Image.fromarray(image.numpy())))
        np.testing.assert_array_equal(mine.numpy(), expected)


def test_equalising_one_grey_level_keeps_it() -> None:
    flat = torch.full((1, 8, 8), 77, dtype=torch.uint8)
    torch.testing.assert_close(look_up(flat, equalising_tables(count_greys(flat))), flat.float())


def test_equalisation_comes_with_its_probability(images: torch.Tensor) -> None:
    many = images[:1].expand(400, -1, -1)
    changed = (change(equalise=0.25)(many, generator()) != many.float()).flatten(1).any(1)
    assert 0.18 < changed.float().mean() < 0.32


def test_the_draws_are_the_seeds_alone_and_greys_stay_in_range(images: torch.Tensor) -> None:
    augment = load_params(Path(__file__).parents[2] / "params.yaml").augment
    first, again, other = (Augmenter(augment)(images, generator(seed)) for seed in (1, 1, 2))
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    assert not torch.equal(first, other)
    assert first.min() >= 0
    assert first.max() <= 255
    assert first.shape == images.shape


EVERYTHING = change(
    flip_horizontal=0.5,
    flip_vertical=0.5,
    rotation=20,
    translation=0.1,
    scale=[0.8, 1.2],
    crop_area=[0.5, 1.0],
    brightness=0.3,
    contrast=0.3,
    equalise=0.5,
    gamma=0.4,
    blur=0.5,
    sharpen=0.5,
    noise=0.1,
    collimate=0.5,
    erase=0.5,
)


def test_the_half_precision_of_a_step_costs_the_images_no_digits(images: torch.Tensor) -> None:
    plain = EVERYTHING(images, generator())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(EVERYTHING(images, generator()), plain)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_and_cpu_make_the_same_pictures(images: torch.Tensor) -> None:
    cpu = EVERYTHING(images, generator())
    with torch.autocast("cuda", dtype=torch.bfloat16):
        gpu = EVERYTHING(images.cuda(), generator()).cpu()
    torch.testing.assert_close(gpu, cpu, atol=0.1, rtol=0)
