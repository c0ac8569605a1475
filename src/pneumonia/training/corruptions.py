"""What a device, its operator or a thing in the way does to a film: blur, noise, margins, a rectangle.

All draws come from a CPU generator, an image at a time; the work is done on the images' own device.
"""

import math

import torch
from torch import Generator, Tensor
from torch.nn import functional

from pneumonia.network.device import send

BLUR_SIGMA = (0.1, 2.0)
"""Pixels of an image of BLUR_SIZE; at another size as large a part of the image."""
BLUR_SIZE = 224

WIDEST_MARGIN = 0.15
"""Of the side."""

ERASED_AREA = (0.02, 0.33)
ERASED_RATIO = (0.3, 3.3)
ERASING_TRIALS = 10
"""The values of torchvision's RandomErasing, which are nearly those of the paper."""


def blur(greys: Tensor, probability: float, generator: Generator) -> Tensor:
    """Blur some of the images, each by a Gaussian of its own width; the others stay what they are.

    Args:
        greys: float32, shape (B, S, S); at the edges it goes on as its mirror image.
        probability: of an image to be blurred.
        generator: on the CPU.

    Returns:
        float32, shape (B, S, S).
    """
    chosen, softened = _soften_some(greys, probability, generator)
    return greys if not len(chosen) else greys.index_copy(0, chosen, softened)


def sharpen(greys: Tensor, probability: float, generator: Generator) -> Tensor:
    """Enhance the edges of some of the images: add up to once more what a Gaussian takes away (unsharp mask).

    Args:
        greys: float32, shape (B, S, S), 0 to 255; at the edges it goes on as its mirror image.
        probability: of an image to be sharpened, by a width and a strength of its own.
        generator: on the CPU.

    Returns:
        float32, shape (B, S, S), those sharpened cut off at 0 and 255.
    """
    chosen, softened = _soften_some(greys, probability, generator)
    strength = torch.rand(len(greys), generator=generator)
    if not len(chosen):
        return greys
    picked = greys[chosen]
    edges = (picked - softened) * send(strength, greys.device)[chosen, None, None]
    return greys.index_copy(0, chosen, (picked + edges).clamp(0, 255))


def _soften_some(greys: Tensor, probability: float, generator: Generator) -> tuple[Tensor, Tensor]:
    """Draw which images and how wide a Gaussian: positions (C,), and these images blurred, (C, S, S)."""
    count, size = len(greys), greys.shape[-1]
    chosen = (torch.rand(count, generator=generator) < probability).nonzero()[:, 0]
    low, high = (sigma * size / BLUR_SIZE for sigma in BLUR_SIGMA)
    sigma = (low + (high - low) * torch.rand(count, generator=generator))[chosen]
    chosen = send(chosen, greys.device)
    kernels = send(gaussian_kernels(sigma, radius=math.ceil(3 * high)), greys.device)
    return chosen, _along_rows(_along_rows(greys[chosen], kernels).mT, kernels).mT


def gaussian_kernels(sigma: Tensor, radius: int) -> Tensor:
    """Gaussians of these widths in pixels, cut off at the radius: shape (B, 2 radius + 1), sums of 1."""
    distance = torch.arange(-radius, radius + 1, dtype=torch.float32)
    weights = torch.exp(-0.5 * (distance / sigma[:, None]) ** 2)
    return weights / weights.sum(dim=1, keepdim=True)


def _along_rows(greys: Tensor, kernels: Tensor) -> Tensor:
    """Convolve the rows of each image, (B, S, S), with the image's own kernel.

    As a sum of shifted images: a convolution would be taken to half precision, where the network is.
    """
    radius, width = kernels.shape[1] // 2, greys.shape[2]
    padded = functional.pad(greys, (radius, radius), mode="reflect")
    total = torch.zeros_like(greys)
    for shift, weight in enumerate(kernels.T):
        total.addcmul_(padded[:, :, shift : shift + width], weight[:, None, None])
    return total


def add_noise(greys: Tensor, largest: float, generator: Generator) -> Tensor:
    """Add Gaussian noise to each pixel, in each image of another strength.

    Args:
        greys: float32, shape (B, S, S), 0 to 255.
        largest: standard deviation as a fraction of 255; an image's own is uniform from 0 to this.
        generator: on the CPU.

    Returns:
        float32, shape (B, S, S), cut off at 0 and 255.
    """
    strength = 255 * largest * torch.rand(len(greys), generator=generator)
    noise = torch.randn(greys.shape, generator=generator) * strength[:, None, None]
    return (greys + send(noise, greys.device)).clamp(0, 255)


def collimate(greys: Tensor, probability: float, generator: Generator) -> Tensor:
    """Blacken the margins of some of the images, as the collimator or the display shutter does.

    Each of the four margins is of its own width, uniform from 0 to WIDEST_MARGIN of the side.

    Args:
        greys: float32, shape (B, S, S), 0 is black.
        probability: of an image to be collimated.
        generator: on the CPU.

    Returns:
        float32, shape (B, S, S).
    """
    count, size = len(greys), greys.shape[-1]
    chosen = torch.rand(count, generator=generator) < probability
    widths = (torch.rand(count, 4, generator=generator) * WIDEST_MARGIN * size).round()
    top, bottom, left, right = (widths * chosen[:, None]).T[:, :, None]
    place = torch.arange(size)
    rows = (place >= top) & (place < size - bottom)
    columns = (place >= left) & (place < size - right)
    inside = send(rows[:, :, None] & columns[:, None, :], greys.device)
    return greys.where(inside, 0)


def erase(greys: Tensor, probability: float, generator: Generator) -> Tensor:
    """Put the image's mean into one rectangle of some of the images (Zhong et al. 2017, arXiv 1708.04896).

    Area and logarithm of the ratio of the sides are uniform. Where none of a few rectangles that are drawn
    is smaller than the image, nothing is erased.

    Args:
        greys: float32, shape (B, S, S).
        probability: of an image to lose a rectangle.
        generator: on the CPU.

    Returns:
        float32, shape (B, S, S).
    """
    count, size = len(greys), greys.shape[-1]
    chosen = torch.rand(count, generator=generator) < probability
    top, bottom, left, right = draw_rectangles(count, size, generator)
    place = torch.arange(size)
    rows = (place >= top[:, None]) & (place < bottom[:, None]) & chosen[:, None]
    columns = (place >= left[:, None]) & (place < right[:, None])
    inside = send(rows[:, :, None] & columns[:, None, :], greys.device)
    return torch.where(inside, greys.mean(dim=(1, 2), keepdim=True), greys)


def draw_rectangles(count: int, size: int, generator: Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Draw a rectangle in each of `count` images: top, bottom, left, right in pixels, int64 (count,).

    The lower and right edges are those of the first pixels outside; an empty one stands for none.
    """
    trials = (count, ERASING_TRIALS)
    area = size * size * _uniform(trials, *ERASED_AREA, generator)
    lowest, highest = map(math.log, ERASED_RATIO)
    ratio = _uniform(trials, lowest, highest, generator).exp()
    heights, widths = (area * ratio).sqrt().round(), (area / ratio).sqrt().round()
    fits = (heights < size) & (widths < size)
    first = fits.int().argmax(dim=1, keepdim=True)
    height, width = (
        torch.where(fits.any(dim=1), sides.gather(1, first)[:, 0], 0).long() for sides in (heights, widths)
    )
    # From 0 to size - side, both included.
    top, left = (
        (torch.rand(count, generator=generator) * (size - side + 1)).long() for side in (height, width)
    )
    return top, top + height, left, left + width


def _uniform(shape: tuple[int, ...], low: float, high: float, generator: Generator) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=generator)
