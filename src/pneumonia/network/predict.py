"""From packed images to the logit and the probability of pneumonia."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from pneumonia.network.description import NetworkDescription
from pneumonia.network.device import Compute
from pneumonia.network.reading import AS_IT_IS, Reading

SMALLEST_STD = 1 / 255
"""Of an image that is normalised by itself: one grey level, so that a blank one stays near zero."""

BATCH_SIZE = 32


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


def predict(
    module: nn.Module,
    description: NetworkDescription,
    images: NDArray[np.uint8],
    rows: NDArray[np.int64],
    compute: Compute,
    reading: Reading = AS_IT_IS,
) -> NDArray[np.float64]:
    """Probability of pneumonia of the images in `rows`.

    Args:
        module: in evaluation mode.
        description: of the module; the images are normalised as it says.
        images: packed images, shape (N, S, S).
        rows: which of them, shape (M,).
        compute: device and precision.
        reading: from the logit to the probability.

    Returns:
        Shape (M,), each 0 to 1.
    """
    logits = predict_logits(module, description, images, rows, compute, flips=reading.flips)
    return reading.probability(logits)


@torch.inference_mode()
def predict_logits(
    module: nn.Module,
    description: NetworkDescription,
    images: NDArray[np.uint8],
    rows: NDArray[np.int64],
    compute: Compute,
    *,
    flips: bool = False,
    progress: str | None = None,
) -> NDArray[np.float64]:
    """Logit of pneumonia of the images in `rows`.

    Args:
        module: as of `predict`, like what follows.
        description: of the module.
        images: shape (N, S, S).
        rows: shape (M,).
        compute: device and precision.
        flips: whether it is the mean over the image and its mirror image, left for right.
        progress: title of the progress bar; None for no bar.

    Returns:
        Shape (M,).
    """
    module = module.to(compute.device).to(memory_format=torch.channels_last)
    logits = []
    starts = range(0, len(rows), BATCH_SIZE)
    for start in tqdm(starts, desc=progress, unit="batch", disable=progress is None):
        batch = torch.from_numpy(images[rows[start : start + BATCH_SIZE]]).to(compute.device)
        views = [batch, batch.flip(-1)] if flips else [batch]
        with compute.autocast():
            outputs = [module(normalise(view, description)) for view in views]
        logits.append(torch.stack([pneumonia_logit(one).double().cpu() for one in outputs]).mean(dim=0))
    if not logits:
        return np.zeros(0)
    return torch.cat(logits).numpy()
