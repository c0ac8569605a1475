"""Random changes of training images, an image at a time in what is drawn, a batch at a time in what is done.

All geometric changes of an image compose into one 2 x 3 matrix, hence one resampling; all changes of grey
levels into one table of 256 entries, hence one look-up. What corruptions.py does comes last.
The draws come from a CPU generator whatever the device, so CPU and GPU train on the same images.
"""

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional

from pneumonia.network.device import send, unrounded
from pneumonia.params import Augment
from pneumonia.training.corruptions import add_noise, blur, collimate, erase, sharpen

GREY_LEVELS = 256


@dataclass(frozen=True, slots=True)
class Augmenter:
    """Callable that changes a batch of grey images as params.yaml's `augment` says."""

    params: Augment

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        """Change each image of a batch at random.

        Args:
            images: uint8, shape (B, S, S), on any device.
            generator: on the CPU; the only source of randomness.

        Returns:
            float32, shape (B, S, S), 0 to 255; what comes from outside the image is black.
        """
        # A training step is in half precision, which would place pixels by coordinates of 8 bits.
        with unrounded(images.device):
            tables = self._draw_tables(images, generator)
            greys = look_up(images, tables) if tables is not None else images.float()
            if self._moves():
                greys = resample(greys, send(self.draw_matrices(len(images), generator), images.device))
            return self._corrupt(greys, generator)

    def _corrupt(self, greys: Tensor, generator: Generator) -> Tensor:
        p = self.params
        if p.blur:
            greys = blur(greys, p.blur, generator)
        if p.sharpen:
            greys = sharpen(greys, p.sharpen, generator)
        if p.noise:
            greys = add_noise(greys, p.noise, generator)
        if p.collimate:
            greys = collimate(greys, p.collimate, generator)
        if p.erase:
            greys = erase(greys, p.erase, generator)
        return greys

    def _moves(self) -> bool:
        p = self.params
        still = p.scale == [1, 1] and p.crop_area == [1, 1] and p.crop_ratio == [1, 1]
        return not still or any((p.flip_horizontal, p.flip_vertical, p.rotation, p.translation))

    def draw_matrices(self, count: int, generator: Generator) -> Tensor:
        """Draw an affine map from output to input coordinates for each image: float32, shape (count, 2, 3).

        The order is that of torchvision's RandomResizedCrop, RandomHorizontalFlip, RandomVerticalFlip and
        RandomAffine; coordinates are -1 to 1 from edge to edge.
        """
        p = self.params
        crop = draw_crops(count, p.crop_area, p.crop_ratio, generator)
        flips = torch.diag_embed(
            torch.stack(
                [
                    _draw_signs(count, p.flip_horizontal, generator),
                    _draw_signs(count, p.flip_vertical, generator),
                    torch.ones(count),
                ],
                dim=1,
            )
        )
        angle = torch.deg2rad(_draw_uniform(count, -p.rotation, p.rotation, generator))
        shift = torch.stack(
            # A fraction of the side is twice that in coordinates of -1 to 1.
            [_draw_uniform(count, -2 * p.translation, 2 * p.translation, generator) for _ in "xy"],
            dim=1,
        )
        zoom = _draw_uniform(count, p.scale[0], p.scale[1], generator)
        affine = inverse_affine(angle, shift, zoom)
        return (crop @ flips @ affine)[:, :2]

    def _draw_tables(self, images: Tensor, generator: Generator) -> Tensor | None:
        p = self.params
        if not any((p.brightness, p.contrast, p.equalise, p.gamma)):
            return None
        count = len(images)
        equalised = torch.rand(count, generator=generator) < p.equalise
        brightness = _draw_uniform(count, 1 - p.brightness, 1 + p.brightness, generator)
        contrast = _draw_uniform(count, 1 - p.contrast, 1 + p.contrast, generator)
        histograms = count_greys(images)
        device = images.device
        tables = torch.arange(GREY_LEVELS, dtype=torch.float32, device=device).expand(count, -1)
        if p.equalise:
            tables = torch.where(send(equalised, device)[:, None], equalising_tables(histograms), tables)
        if p.gamma:
            power = send(_draw_uniform(count, -p.gamma, p.gamma, generator).exp(), device)[:, None]
            tables = 255 * (tables / 255) ** power
        tables = (tables * send(brightness, device)[:, None]).clamp(0, 255)
        means = (tables * histograms).sum(1, keepdim=True) / histograms.sum(1, keepdim=True)
        return (means + (tables - means) * send(contrast, device)[:, None]).clamp(0, 255)


def look_up(images: Tensor, tables: Tensor) -> Tensor:
    """Replace each grey level by its entry in the image's own table.

    Args:
        images: uint8, shape (B, S, S).
        tables: float32, shape (B, 256).

    Returns:
        float32, shape (B, S, S).
    """
    return tables.gather(1, images.flatten(1).long()).view(images.shape)


def resample(greys: Tensor, matrices: Tensor) -> Tensor:
    """Resample images bilinearly through one affine map each; black outside.

    Args:
        greys: float32, shape (B, S, S).
        matrices: float32, shape (B, 2, 3), from output to input coordinates of -1 to 1.

    Returns:
        float32, shape (B, S, S).
    """
    grid = functional.affine_grid(matrices, [len(greys), 1, *greys.shape[1:]], align_corners=False)
    sampled = functional.grid_sample(greys[:, None], grid, mode="bilinear", align_corners=False)
    return sampled[:, 0]


def inverse_affine(angle: Tensor, shift: Tensor, zoom: Tensor) -> Tensor:
    """Map output to input coordinates of a turn (radians), then a zoom, then a shift, about the centre.

    Args:
        angle: shape (B,); positive turns the picture clockwise, as in torchvision.
        shift: shape (B, 2), x and y.
        zoom: shape (B,).

    Returns:
        float32, shape (B, 3, 3).
    """
    cos, sin = torch.cos(angle) / zoom, torch.sin(angle) / zoom
    matrices = torch.zeros(len(angle), 3, 3)
    matrices[:, 0, 0], matrices[:, 0, 1] = cos, sin
    matrices[:, 1, 0], matrices[:, 1, 1] = -sin, cos
    matrices[:, :2, 2] = -(matrices[:, :2, :2] @ shift[:, :, None])[:, :, 0]
    matrices[:, 2, 2] = 1
    return matrices


def draw_crops(count: int, area: list[float], ratio: list[float], generator: Generator) -> Tensor:
    """Draw boxes inside the image as torchvision's RandomResizedCrop does: float32, shape (count, 3, 3).

    The kept fraction of the area is uniform, the logarithm of width over height too. A box that would be
    wider or higher than the image is cut down to it.
    """
    kept = _draw_uniform(count, area[0], area[1], generator)
    shape = _draw_uniform(count, math.log(ratio[0]), math.log(ratio[1]), generator).exp()
    width, height = (kept * shape).sqrt().clamp(max=1), (kept / shape).sqrt().clamp(max=1)
    matrices = torch.zeros(count, 3, 3)
    matrices[:, 0, 0], matrices[:, 1, 1], matrices[:, 2, 2] = width, height, 1
    matrices[:, 0, 2] = (1 - width) * _draw_uniform(count, -1, 1, generator)
    matrices[:, 1, 2] = (1 - height) * _draw_uniform(count, -1, 1, generator)
    return matrices


def count_greys(images: Tensor) -> Tensor:
    """Histogram of each image: shape (B, 256), float32 (whole numbers)."""
    count = len(images)
    offsets = torch.arange(count, device=images.device)[:, None] * GREY_LEVELS
    flat = (images.flatten(1).long() + offsets).flatten()
    # torch.bincount would wait for a GPU, to ask it for the largest entry.
    histograms = torch.zeros(count * GREY_LEVELS, device=images.device)
    ones = torch.ones(1, device=images.device).expand(len(flat))
    return histograms.scatter_add_(0, flat, ones).view(count, GREY_LEVELS)


def equalising_tables(histograms: Tensor) -> Tensor:
    """Tables that flatten the histogram of each image, by the rule of Pillow's `ImageOps.equalize`.

    Args:
        histograms: shape (B, 256).

    Returns:
        float32, shape (B, 256), 0 to 255; an image of one grey level keeps it.
    """
    cumulative = histograms.cumsum(1)
    highest = GREY_LEVELS - 1 - (histograms > 0).flip(1).int().argmax(1, keepdim=True)
    last = histograms.gather(1, highest)
    step = ((cumulative[:, -1:] - last) / 255).floor()
    before = cumulative - histograms
    tables = ((before + (step / 2).floor()) / step.clamp(min=1)).floor().clamp(0, 255)
    identity = torch.arange(GREY_LEVELS, dtype=torch.float32, device=histograms.device)
    return torch.where(step > 0, tables, identity)


def _draw_uniform(count: int, low: float, high: float, generator: Generator) -> Tensor:
    return low + (high - low) * torch.rand(count, generator=generator)


def _draw_signs(count: int, probability: float, generator: Generator) -> Tensor:
    return 1.0 - 2.0 * (torch.rand(count, generator=generator) < probability).float()
