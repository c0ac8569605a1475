"""Mixup: each image of a batch is blended with another one, and so is what is wanted of it.

Zhang, Cisse, Dauphin, Lopez-Paz 2018, arXiv 1710.09412.
"""

import torch
from scipy.special import betaincinv
from torch import Generator, Tensor

from pneumonia.network.device import send


def mix(greys: Tensor, labels: Tensor, alpha: float, generator: Generator) -> tuple[Tensor, Tensor]:
    """Blend the images of a batch in pairs, all in one proportion, as the paper's own code does.

    The proportion is drawn from the Beta distribution with both parameters `alpha`. Its larger part goes to
    the image itself, which over all pairs is the same, and leaves the image closest to its own label.

    Args:
        greys: float32, shape (B, S, S), on any device.
        labels: int64, shape (B,), 1 for pneumonia.
        alpha: above 0; small for hardly any blending, 1 for all proportions alike.
        generator: on the CPU; the only source of randomness.

    Returns:
        The blended images; and the part of pneumonia in each, float32 of shape (B,), 0 to 1.
    """
    drawn = float(betaincinv(alpha, alpha, torch.rand((), dtype=torch.float64, generator=generator).item()))
    part = max(drawn, 1 - drawn)
    partner = send(torch.randperm(len(greys), generator=generator), greys.device)
    targets = labels.float()
    return (
        part * greys + (1 - part) * greys[partner],
        part * targets + (1 - part) * targets[partner],
    )
