import cv2
import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

from pneumonia.gallery.gradcam import NoSpatialFeaturesError, gradcam


class Linear(nn.Module):
    """Features: the image and its mirror image, pooled; outputs: weighted means of the two."""

    def __init__(self, weights: list[list[float]], pool: int = 1) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.tensor(weights))
        self.pool = pool

    def forward_features(self, x: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(torch.cat([x, x.flip(3)], dim=1), self.pool)

    def forward_head(self, features: Tensor) -> Tensor:
        return features.mean(dim=(2, 3)) @ self.weights.T


def picture(side: int = 8, seed: int = 0) -> Tensor:
    return torch.randn(1, 1, side, side, generator=torch.Generator().manual_seed(seed))


def scaled(map_: np.ndarray) -> np.ndarray:
    positive = np.maximum(map_, 0)
    return positive / positive.max()


def test_the_map_of_a_linear_head_is_the_weighted_sum_of_its_features() -> None:
    x = picture()
    image, mirrored = x[0, 0].numpy(), x[0, 0].numpy()[:, ::-1]
    # The score is output 1 minus output 0: weights (2 - 0.5, -1 - 1).
    expected = scaled(1.5 * image - 2 * mirrored)
    np.testing.assert_allclose(gradcam(Linear([[0.5, 1.0], [2.0, -1.0]]), x)[0], expected, atol=1e-6)
    np.testing.assert_allclose(gradcam(Linear([[1.5, -2.0]]), x)[0], expected, atol=1e-6)


def test_weights_are_the_gradients_of_the_score_not_the_weights_of_the_last_layer() -> None:
    class Squared(Linear):
        def forward_head(self, features: Tensor) -> Tensor:
            return super().forward_head(features) ** 2

    x = picture()
    image = x[0, 0].numpy()
    # d (3 m)^2 / d m = 18 m: the sign of the mean m decides whether bright or dark raises the score.
    expected = scaled(np.sign(image.mean()) * image)
    np.testing.assert_allclose(gradcam(Squared([[3.0, 0.0]]), x)[0], expected, atol=1e-6)


def test_a_head_may_work_in_place() -> None:
    class InPlace(Linear):
        def forward_head(self, features: Tensor) -> Tensor:
            return super().forward_head(features.mul_(2))

    x = picture()
    np.testing.assert_allclose(gradcam(InPlace([[1.0, 0.0]]), x)[0], scaled(x[0, 0].numpy()), atol=1e-6)


def test_a_coarse_map_is_enlarged_bilinearly_and_reaches_one() -> None:
    x = picture(32)
    coarse = nn.functional.avg_pool2d(x, 8)[0, 0].numpy()
    # OpenCV's linear interpolation has the same pixel centres as align_corners=False.
    expected = cv2.resize(np.maximum(coarse, 0), (32, 32), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(
        gradcam(Linear([[1.0, 0.0]], pool=8), x)[0], expected / expected.max(), atol=1e-5
    )


def test_without_evidence_the_map_is_zero_everywhere() -> None:
    maps = gradcam(Linear([[-1.0, 0.0]]), torch.cat([picture().abs(), -picture().abs()]))
    assert not maps[0].any()
    assert maps[1].max() == 1
    assert maps.dtype == np.float32


def reference(module: nn.Module, x: Tensor, layer: nn.Module, layout: str) -> np.ndarray:
    """Grad-CAM with hooks on the output of a layer, one image at a time."""
    kept: list[Tensor] = []
    hook = layer.register_forward_hook(lambda _module, _inputs, output: kept.append(output))
    maps = []
    for image in x:
        outputs = module(image[None])
        logit = outputs[0, 0] if outputs.shape[1] == 1 else outputs[0, 1] - outputs[0, 0]
        features = kept.pop()
        (gradients,) = torch.autograd.grad(logit, features)
        if layout == "tokens":
            side = int((features.shape[1] - 1) ** 0.5)
            features, gradients = (t[:, 1:].unflatten(1, (side, side)) for t in (features, gradients))
        if layout != "NCHW":
            features, gradients = (t.permute(0, 3, 1, 2) for t in (features, gradients))
        weights = gradients[0].mean(dim=(1, 2))
        map_ = torch.einsum("c,chw->hw", weights, features[0]).clamp(min=0).detach().numpy()
        large = cv2.resize(map_, tuple(image.shape[1:]), interpolation=cv2.INTER_LINEAR)
        maps.append(large / large.max() if large.max() > 0 else large)
    hook.remove()
    return np.stack(maps)


def network(arch: str, outputs: int = 2, **options: object) -> nn.Module:
    torch.manual_seed(0)
    module = timm.create_model(arch, in_chans=1, num_classes=outputs, **options).eval()
    with torch.no_grad():  # an untrained head of a transformer may give 0 for everything
        nn.init.normal_(module.get_classifier().weight, std=0.5)
    return module


@pytest.mark.parametrize(
    ("arch", "layer", "layout", "options"),
    [
        ("test_resnet", "layer4", "NCHW", {}),
        ("test_mambaout", "stages.3", "NHWC", {}),
        ("test_vit", "norm", "tokens", {"global_pool": "avg", "fc_norm": False}),
        ("test_vit", "blocks.0", "tokens", {}),  # class token: what enters the last of two blocks
    ],
)
def test_every_layout_agrees_with_grad_cam_by_hooks(
    arch: str, layer: str, layout: str, options: dict[str, object]
) -> None:
    module = network(arch, **options)
    if layer.startswith("blocks"):
        layer = f"blocks.{len(module.blocks) - 2}"
    x = torch.randn(3, 1, 160, 160)
    maps = gradcam(module, x)
    np.testing.assert_allclose(maps, reference(module, x, module.get_submodule(layer), layout), atol=1e-4)
    assert maps.any(axis=(1, 2)).any()


def test_swin_features_are_channels_last() -> None:
    module = network(
        "swin_tiny_patch4_window7_224",
        img_size=64,
        window_size=2,
        embed_dim=8,
        depths=(1, 1, 1, 1),
        num_heads=(1, 1, 1, 1),
    )
    x = torch.randn(2, 1, 64, 64)
    np.testing.assert_allclose(gradcam(module, x), reference(module, x, module.norm, "NHWC"), atol=1e-4)


@pytest.mark.parametrize("arch", ["test_resnet", "test_vit"])
@pytest.mark.parametrize("trains", [True, False])
def test_the_module_is_left_as_it_was(arch: str, trains: bool) -> None:
    module = network(arch, outputs=1).train().requires_grad_(trains)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    gradcam(module, torch.randn(2, 1, 160, 160))
    assert not module.training
    assert all(parameter.requires_grad == trains for parameter in module.parameters())
    assert all(parameter.grad is None for parameter in module.parameters())
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())
    assert not any(part._forward_pre_hooks for part in module.modules())


def test_a_class_token_without_blocks_is_no_map() -> None:
    class ClassToken(Linear):
        num_prefix_tokens = 1

        def forward_features(self, x: Tensor) -> Tensor:
            patches = super().forward_features(x).flatten(2).transpose(1, 2)
            return torch.cat([patches.mean(dim=1, keepdim=True), patches], dim=1)

        def forward_head(self, features: Tensor) -> Tensor:
            return features[:, 0] @ self.weights.T

    with pytest.raises(NoSpatialFeaturesError, match="reads none"):
        gradcam(ClassToken([[1.0, 0.0]]), picture())


def test_a_network_without_a_grid_says_so() -> None:
    module = network("test_resnet")
    with pytest.raises(NoSpatialFeaturesError, match="96 x 1 x 1"):
        gradcam(module, torch.randn(1, 1, 32, 32))
    module.forward_features = lambda x: [x, x]  # type: ignore[assignment]
    with pytest.raises(NoSpatialFeaturesError, match="several tensors"):
        gradcam(module, torch.randn(1, 1, 32, 32))
