"""From packed images to the probability of pneumonia."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from pneumonia.network.description import NetworkDescription
from pneumonia.network.device import Compute

SMALLEST_STD = 1 / 255
"""Of an image that is normalised by itself: one grey level, so that a blank one stays near zero."""


def normalise(images: Tensor, description: NetworkDescription) -> Tensor:
    """Turn grey images (B, S, S), 0 to 255, into (grey / 255 - mean) / std: float32, shape (B, 1, S, S).

    Mean and std are those of the description, or where it has none each image's own, the std being that of
    all its pixels and at least SMALLEST_STD.
    """
    grey = images.unsqueeze(1).to(torch.float32, memory_format=torch.channels_last)
    if description.mean is None or description.std is None:
        mean = grey.mean(dim=(2, 3), keepdim=True)
        std = grey.var(dim=(2, 3), keepdim=True, correction=0).sqrt()
        return (grey - mean).div_(std.clamp(min=255 * SMALLEST_STD))
    return grey.sub_(255 * description.mean).div_(255 * description.std)


def pneumonia_logit(outputs: Tensor) -> Tensor:
    """Log odds of pneumonia, shape (B,), from a network's outputs (B, 1) or (B, 2).

    With two outputs softmax(o)[1] = sigmoid(o[1] - o[0]).
    """
    outputs = outputs.float()
    return outputs[:, 0] if outputs.shape[1] == 1 else outputs[:, 1] - outputs[:, 0]


@torch.inference_mode()
def predict(
    module: nn.Module,
    description: NetworkDescription,
    images: NDArray[np.uint8],
    rows: NDArray[np.int64],
    compute: Compute,
    batch_size: int = 32,
    progress: str | None = None,
) -> NDArray[np.float64]:
    """Probability of pneumonia of the images in `rows`.

    Args:
        module: in evaluation mode.
        description: of the module; the images are normalised as it says.
        images: packed images, shape (N, S, S).
        rows: which of them, shape (M,).
        compute: device and precision.
        batch_size: images in a forward pass.
        progress: title of the progress bar; None for no bar.

    Returns:
        Shape (M,), each 0 to 1.
    """
    module = module.to(compute.device).to(memory_format=torch.channels_last)
    logits = []
    starts = range(0, len(rows), batch_size)
    for start in tqdm(starts, desc=progress, unit="batch", disable=progress is None):
        batch = torch.from_numpy(images[rows[start : start + batch_size]]).to(compute.device)
        with compute.autocast():
            outputs = module(normalise(batch, description))
        logits.append(pneumonia_logit(outputs).double().cpu())
    if not logits:
        return np.zeros(0)
    return torch.cat(logits).sigmoid().numpy()
