"""Any architecture of timm, with one input channel; from scratch or from ImageNet weights."""

import difflib
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory

import requests
import timm
import torch
from huggingface_hub import hf_hub_download, try_to_load_from_cache
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from timm.models import PretrainedCfg
from torch import nn

from pneumonia.errors import UserError
from pneumonia.network.device import WITHOUT_DETERMINISM
from pneumonia.network.packaged import packaged_weights

HUB_FILE = "model.safetensors"

STATISTICS = (".running_mean", ".running_var")
"""Ends of the names of what batch normalisation has learned beside its parameters."""


def build(arch: str, outputs: int, size: int) -> nn.Module:
    """Make an architecture of timm, initialised at random, for grey images of `size` x `size` pixels.

    Raises:
        UserError: timm knows no architecture of that name.
    """
    return _create(arch, outputs, size, weights=None)


def build_pretrained(arch: str, outputs: int, size: int, pretrained: str, root: Path) -> nn.Module:
    """Make an architecture of timm with ImageNet weights and a new, random last layer.

    timm sums the colour channels of the first convolution, so that one grey channel acts as three equal ones.

    Args:
        arch: timm's name.
        outputs: of the last layer.
        size: side of the images in pixels.
        pretrained: `hub`, `package`, or the path of a .safetensors file in timm's format.
        root: what a relative path counts from.

    Raises:
        UserError: no such architecture; no such file; a file of another architecture; no network; no package.
    """
    if pretrained == "package":
        with TemporaryDirectory() as folder:
            file = Path(folder) / HUB_FILE
            weights = packaged_weights(arch)
            save_file({name: tensor.contiguous() for name, tensor in weights.items()}, file)
            return _create(arch, outputs, size, file)
    path = _from_hub(arch) if pretrained == "hub" else _from_file(arch, pretrained, root)
    return _create(arch, outputs, size, path)


def head_of(module: nn.Module) -> nn.Module:
    """Last layer of a timm module; the two last layers, side by side, of one made for distillation."""
    head: nn.Module | tuple[nn.Module, ...] = module.get_classifier()  # type: ignore[operator]
    return nn.ModuleList(head) if isinstance(head, tuple) else head


def imagenet_statistics(arch: str) -> tuple[float, float]:
    """Mean and standard deviation with which timm feeds ImageNet's images to an architecture, grey as 0..1.

    One grey channel stands for three equal ones: these are the means over the colours. Most architectures
    have ImageNet's own (0.449, 0.226); those of TensorFlow (0.5, 0.5).
    """
    config = _config(arch) or PretrainedCfg()
    return fmean(config.mean), fmean(config.std)


def require_size(module: nn.Module, arch: str, size: int) -> None:
    """Try whether a network takes square images of this size.

    Raises:
        UserError: it does not.
    """
    training = module.training
    try:
        with torch.no_grad():
            module.eval()(torch.zeros(1, 1, size, size))
    except (AssertionError, IndexError, RuntimeError, ValueError) as error:
        if WITHOUT_DETERMINISM in str(error):
            raise
        raise _size_refused(arch, size, error) from error
    finally:
        module.train(training)


def _size_refused(arch: str, size: int, error: Exception) -> UserError:
    reason = " ".join(str(error).split())[:200]
    return UserError(f"params.yaml: arch {arch} cannot take images of preprocess.size {size}: {reason}")


def _config(arch: str) -> PretrainedCfg | None:
    """What timm knows of an architecture's weights; None where it has none.

    Raises:
        UserError: timm knows no such architecture, or none of its weights under such a tag.
    """
    if not timm.is_model(arch):
        near = ", ".join(difflib.get_close_matches(arch, timm.list_models(), n=3)) or "resnet18, densenet121"
        raise UserError(f"params.yaml: arch is {arch!r}, which timm does not know; near to it: {near}.")
    try:
        config: PretrainedCfg | None = timm.get_pretrained_cfg(arch, allow_unregistered=True)
    except RuntimeError:  # the part after the dot
        family = arch.partition(".")[0]
        tagged = ", ".join(timm.list_models(f"{family}.*", pretrained=True))
        raise UserError(
            f"params.yaml: arch is {arch!r}; timm has no such weights, but {tagged or family}."
        ) from None
    return config


def _create(arch: str, outputs: int, size: int, weights: Path | None) -> nn.Module:
    config = _config(arch)
    fixed = config is not None and config.fixed_input_size
    size_option = {"img_size": size} if fixed else {}
    source_option = {"pretrained": True, "pretrained_cfg_overlay": {"file": str(weights)}} if weights else {}
    try:
        module: nn.Module = timm.create_model(
            arch, in_chans=1, num_classes=outputs, **size_option, **source_option
        )
    except AssertionError as error:  # with which timm checks img_size
        raise _size_refused(arch, size, error) from error
    except (SafetensorError, RuntimeError, KeyError) as error:
        if weights is None:
            raise
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{weights} does not hold timm's weights of {arch}: {reason}") from error
    if weights is not None:
        _require_all_but_the_head(module, weights, arch)
    return module.to(memory_format=torch.channels_last)


def _require_all_but_the_head(module: nn.Module, weights: Path, arch: str) -> None:
    """Refuse a file without a parameter or a statistic of batch normalisation.

    timm would leave it as it was initialised and only log it. Other buffers are computed, not learned.
    """
    head = {id(tensor) for tensor in head_of(module).state_dict(keep_vars=True).values()}
    learned = [*module.named_parameters(), *(b for b in module.named_buffers() if b[0].endswith(STATISTICS))]
    wanted = {name for name, tensor in learned if id(tensor) not in head}
    with safe_open(weights, framework="pt") as file:
        missing = sorted(wanted - set(file.keys()))
    if missing:
        raise UserError(
            f"{weights} does not hold timm's weights of {arch}: {len(missing)} of {len(wanted)} tensors "
            f"are missing, the first is {missing[0]}."
        )


def _from_file(arch: str, pretrained: str, root: Path) -> Path:
    path = root / pretrained
    if path.suffix != ".safetensors":
        raise UserError(
            f"params.yaml: pretrained is {pretrained!r}; it must be none, hub, package or the path of a "
            ".safetensors file (other formats run code when they are opened)."
        )
    if not path.is_file():
        raise UserError(f"params.yaml: pretrained names {path}, which does not exist. {_by_hand(arch)}")
    return path


def _from_hub(arch: str) -> Path:
    config = _config(arch)
    if config is None or not config.hf_hub_id:
        raise UserError(
            f"params.yaml: pretrained is hub, which has no weights of arch {arch!r}; set pretrained: none."
        )
    repository = config.hf_hub_id
    cached = try_to_load_from_cache(repository, HUB_FILE)
    if isinstance(cached, str):
        return Path(cached)
    try:
        # The hub's own client retries for most of a minute before it says that there is no network.
        requests.head(_address(repository), timeout=10, allow_redirects=True).raise_for_status()
        return Path(hf_hub_download(repository, HUB_FILE))
    except (requests.RequestException, OSError) as error:
        raise UserError(
            f"The hub cannot be reached for the ImageNet weights of {arch}. {_by_hand(arch)}"
        ) from error


def _by_hand(arch: str) -> str:
    config = timm.get_pretrained_cfg(arch, allow_unregistered=True)
    if config is None or not config.hf_hub_id:
        return "Or train from scratch with pretrained: none."
    return (
        f"Fetch {_address(config.hf_hub_id)} where there is internet, and set pretrained to the path of "
        "that file; or train from scratch with pretrained: none."
    )


def _address(repository: str) -> str:
    return f"https://huggingface.co/{repository}/resolve/main/{HUB_FILE}"
