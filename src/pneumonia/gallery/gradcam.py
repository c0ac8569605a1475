"""Grad-CAM (Selvaraju et al. 2017, doi 10.1109/ICCV.2017.74) for the architectures of timm.

timm cuts every model in two, `forward_features` and `forward_head`, so the last spatial features are at
hand without a hook. Only transformers whose head reads a class token alone need one: their last patches
no longer touch the score, so the features are those that enter the last block.
"""

from math import isqrt

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from pneumonia.network.predict import pneumonia_logit


class NoSpatialFeaturesError(Exception):
    """The network's last features are not laid out over the image, so that there is nothing to map."""


def gradcam(module: nn.Module, x: Tensor) -> NDArray[np.float32]:
    """Map where each image holds evidence for pneumonia.

    The map is ReLU(sum over k of w_k A_k): A_k is channel k of the last spatial features, w_k the mean
    over all positions of the score's gradient with respect to A_k. The score is the logit of the
    probability of pneumonia; with two outputs that is the second minus the first, because the softmax
    depends on nothing else: the second alone would leave out the evidence that lowers the first.

    Args:
        module: a timm model with 1 or 2 outputs; it is put in evaluation mode, its parameters and
            their gradients are left as they are.
        x: normalised images, float32 of (N, 1, S, S), on the module's device.

    Returns:
        float32 of (N, S, S), 0 to 1: each image's map, bilinearly enlarged, over its own maximum. A map
        without evidence for pneumonia is zero everywhere.

    Raises:
        NoSpatialFeaturesError: the features are no grid of at least 2 x 2 positions.
    """
    module.eval()
    features, gradients = _features_and_gradients(module, x)
    weights = gradients.mean(dim=(2, 3), keepdim=True)
    maps = functional.relu((weights * features).sum(dim=1, keepdim=True))
    maps = functional.interpolate(maps, size=x.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
    highest = maps.amax(dim=(1, 2), keepdim=True)
    scaled: NDArray[np.float32] = torch.where(highest > 0, maps / highest, 0).cpu().numpy()
    return scaled


def _features_and_gradients(module: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Last spatial features and the score's gradients with respect to them, both (N, C, H, W)."""
    with torch.no_grad():
        features = module.forward_features(x)  # type: ignore[operator]
    if not isinstance(features, Tensor):
        raise NoSpatialFeaturesError("its features are several tensors, not one grid")
    features = features.requires_grad_()
    with torch.enable_grad():
        # A head may work in place, which autograd forbids on the very tensor of the gradient.
        score = pneumonia_logit(module.forward_head(features.clone()))  # type: ignore[operator]
        (gradients,) = torch.autograd.grad(score.sum(), features)
    grids = _grid(features.detach(), module), _grid(gradients, module)
    if features.ndim == 4 or grids[1].any():
        return grids
    if not hasattr(module, "blocks"):
        raise NoSpatialFeaturesError("its score reads none of its grid of features")
    return _before_last_block(module, x)


def _before_last_block(module: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """The same for the features that enter the last block of a transformer."""
    entering: list[Tensor] = []

    def keep(_: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        entering.append(arguments[0].detach().requires_grad_())
        return (entering[-1].clone(), *arguments[1:])

    hook = module.blocks[-1].register_forward_pre_hook(keep)  # type: ignore[union-attr, index]
    try:
        with torch.enable_grad():
            score = pneumonia_logit(module(x))
            (gradients,) = torch.autograd.grad(score.sum(), entering[0])
    finally:
        hook.remove()
    if len(gradients) != len(x):
        raise NoSpatialFeaturesError("its last block works on parts of the image, not on one grid")
    return _grid(entering[0].detach(), module), _grid(gradients, module)


def _grid(features: Tensor, module: nn.Module) -> Tensor:
    """Features in any of timm's layouts, NCHW, NHWC or NLC with prefix tokens, as (N, C, H, W)."""
    if features.ndim == 4:
        channels_last = str(getattr(module, "output_fmt", "NCHW")).endswith("NHWC")
        grid = features.permute(0, 3, 1, 2) if channels_last else features
        if min(grid.shape[2:]) > 1:
            return grid
    if features.ndim == 3:
        length = features.shape[1]
        # The class token may join the patches only after the last block, hence also without a prefix.
        for prefix in (getattr(module, "num_prefix_tokens", 0), 0):
            side = isqrt(length - prefix)
            if side > 1 and side * side == length - prefix:
                return features[:, prefix:].transpose(1, 2).reshape(len(features), -1, side, side)
    shape = " x ".join(map(str, features.shape[1:]))
    raise NoSpatialFeaturesError(f"its features, {shape}, are no grid of at least 2 x 2 positions")
