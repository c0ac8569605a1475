"""Blur, noise and erasing: the pictures of torchvision, and draws that fill their ranges."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import RandomErasing
from torchvision.transforms.v2 import functional as tv
from training_examples import small_data, training

from pneumonia.training.corruptions import (
    add_noise,
    blur,
    collimate,
    draw_rectangles,
    erase,
    gaussian_kernels,
    sharpen,
)
from pneumonia.training.loop import train

SIZE = 112


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def greys() -> torch.Tensor:
    return 255 * torch.rand(6, SIZE, SIZE, generator=generator(1))


def test_a_blur_is_that_of_torchvision(greys: torch.Tensor) -> None:
    draws = generator()
    torch.rand(6, generator=draws)  # who is blurred
    sigma = 0.05 + 0.95 * torch.rand(6, generator=draws)  # half of what it is at 224
    for image, width, mine in zip(greys, sigma, blur(greys, 1.0, generator()), strict=True):
        expected = tv.gaussian_blur(image[None], [7, 7], [width.item()] * 2)[0]
        torch.testing.assert_close(mine, expected, atol=1e-3, rtol=0)


def test_images_that_are_not_blurred_keep_every_bit(greys: torch.Tensor) -> None:
    before, many = greys.clone(), greys[:1].expand(400, -1, -1)
    changed = (blur(many, 0.25, generator()) != many).flatten(1).any(1)
    assert 0.18 < changed.float().mean() < 0.32
    assert torch.equal(greys, before)
    assert blur(greys, 1e-9, generator()) is greys


def test_sharpening_adds_part_of_what_the_blur_of_the_same_draws_takes(greys: torch.Tensor) -> None:
    greys = 100 + greys / 8  # so that nothing is cut off
    draws = generator()
    softened = blur(greys, 1.0, draws)
    strength = torch.rand(6, generator=draws)[:, None, None]
    torch.testing.assert_close(sharpen(greys, 1.0, generator()), greys + strength * (greys - softened))


def test_sharpening_stays_within_the_grey_levels_and_leaves_the_others_alone(greys: torch.Tensor) -> None:
    many = greys[:1].expand(400, -1, -1)
    sharpened = sharpen(many, 0.25, generator())
    assert 0.18 < (sharpened != many).flatten(1).any(1).float().mean() < 0.32
    assert sharpened.min() == 0
    assert sharpened.max() == 255
    assert sharpen(greys, 1e-9, generator()) is greys


@pytest.mark.parametrize("size", [16, 64, 512])
def test_a_blur_at_any_size_keeps_flat_images(size: int) -> None:
    flat = torch.full((3, size, size), 77.0)
    torch.testing.assert_close(blur(flat, 1.0, generator()), flat)


def test_kernels_have_the_width_asked_for() -> None:
    kernels = gaussian_kernels(torch.tensor([0.001, 1.0, 2.0]), radius=12).double()
    distance = torch.arange(-12, 13).double()
    torch.testing.assert_close(kernels.sum(1), torch.ones(3).double())
    deviation = (kernels * distance**2).sum(1).sqrt()
    torch.testing.assert_close(deviation, torch.tensor([0.0, 1.0, 2.0]).double(), atol=1e-3, rtol=0)


def test_autocast_costs_a_blur_no_digits(greys: torch.Tensor) -> None:
    plain = blur(greys, 1.0, generator())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(blur(greys, 1.0, generator()), plain)


def test_noise_is_of_every_strength_up_to_the_largest() -> None:
    flat = torch.full((600, 32, 32), 127.5)
    noise = add_noise(flat, 0.05, generator()) - flat
    strength = noise.flatten(1).std(1) / 255
    assert strength.min() < 0.001
    assert 0.048 < strength.max() < 0.053
    assert strength.mean() == pytest.approx(0.025, abs=0.002)
    assert noise.mean().abs() < 0.05


def test_noise_stays_in_the_grey_range(greys: torch.Tensor) -> None:
    noisy = add_noise(greys, 1.0, generator())
    assert noisy.min() == 0
    assert noisy.max() == 255


def test_margins_are_black_and_nothing_else_changes(greys: torch.Tensor) -> None:
    bright = greys.repeat(100, 1, 1) + 1
    films = collimate(bright, 0.5, generator())
    kept = films == bright
    assert (films[~kept] == 0).all()
    collimated = ~kept.flatten(1).all(1)
    assert 0.4 < collimated.float().mean() < 0.6
    widest = 0
    for inside in kept[collimated]:
        (rows,), (columns,) = (inside.any(side).nonzero(as_tuple=True) for side in (1, 0))
        assert inside[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        widest = max(
            widest, int(rows[0]), int(columns[0]), SIZE - 1 - int(rows[-1]), SIZE - 1 - int(columns[-1])
        )
    assert widest == round(0.15 * SIZE)


def test_one_rectangle_gets_the_mean_and_nothing_else_changes(greys: torch.Tensor) -> None:
    many = greys.repeat(40, 1, 1)
    erased = erase(many, 0.5, generator())
    changed = erased != many
    counts = changed.flatten(1).sum(1)
    assert 0.38 < (counts > 0).float().mean() < 0.62
    for image, now, where in zip(many, erased, changed, strict=True):
        if where.any():
            rows, columns = where.any(1), where.any(0)
            assert where[rows][:, columns].all()
            assert rows.diff().sum() <= 2 and columns.diff().sum() <= 2  # noqa: PT018  one stretch each
            torch.testing.assert_close(now[where], image.mean().expand(int(where.sum())))


def test_rectangles_are_drawn_as_by_torchvision() -> None:
    top, bottom, left, right = draw_rectangles(4000, SIZE, generator())
    height, width = (bottom - top).double(), (right - left).double()
    assert min(top.min(), left.min()) == 0
    assert max(bottom.max(), right.max()) == SIZE
    torch.manual_seed(0)
    theirs = RandomErasing(p=1)
    drawn = [theirs.make_params([torch.zeros(1, SIZE, SIZE)]) for _ in range(4000)]
    for mine, name in ((top, "i"), (left, "j"), (height, "h"), (width, "w")):
        expected = np.array([params[name] for params in drawn])
        for share in (5, 25, 50, 75, 95):
            assert np.percentile(mine, share) == pytest.approx(np.percentile(expected, share), abs=2.5)


def test_training_with_all_of_them_repeats(tmp_path: Path) -> None:
    params = training(epochs=1)
    changes = {"gamma": 0.4, "blur": 0.5, "noise": 0.1, "collimate": 0.5, "erase": 0.5}
    rich = params.model_copy(update={"augment": params.augment.model_copy(update=changes)})
    first, again, plain = (
        train(p, small_data(), tmp_path / name) for p, name in ((rich, "a"), (rich, "b"), (params, "c"))
    )
    assert np.isfinite(first.history[0]["train_loss"])
    assert first.history == again.history
    assert first.history != plain.history
