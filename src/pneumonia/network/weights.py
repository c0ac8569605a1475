"""Weights in a file that describes itself and runs nothing when it is opened."""

from pathlib import Path

from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import nn

from pneumonia.atomic import whole_file
from pneumonia.errors import UserError
from pneumonia.network.build import build
from pneumonia.network.description import NetworkDescription

# One key only: the format does not keep the order of several, and the bytes would differ from run to run.
METADATA_KEY = "network"


def save_weights(path: Path, module: nn.Module, description: NetworkDescription) -> None:
    """Write the weights as safetensors, with the description as JSON in the file's metadata.

    Raises:
        UserError: the disk is full, or there is no permission to write.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}
    content = save(tensors, metadata={METADATA_KEY: description.model_dump_json()})
    with whole_file(path) as part:
        part.write_bytes(content)


def load_weights(path: Path) -> tuple[nn.Module, NetworkDescription]:
    """Read weights that `save_weights` wrote; the module comes back on the CPU, in evaluation mode.

    Raises:
        UserError: there is no such file, or it is none of ours.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        description = NetworkDescription.model_validate_json(metadata.get(METADATA_KEY, ""))
        module = build(description.arch, description.outputs, description.size)
        module.load_state_dict(load_file(path))
    except FileNotFoundError:
        raise UserError(f"{path} is missing; run `dvc repro train`, or `dvc pull` it.") from None
    except (SafetensorError, ValidationError, RuntimeError) as error:
        raise UserError(f"{path} is damaged or not of this pipeline; run `dvc repro -f train`.") from error
    return module.eval(), description
