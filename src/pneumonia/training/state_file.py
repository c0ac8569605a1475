"""The state of a training in a file: whole or not there, damage noticed, and nothing runs when it is opened.

The file is a SHA-256 digest and a safetensors archive. The archive holds the tensors, and as one more of them
the JSON of the nested mappings and lists that they belong in.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO
from torch import Tensor

from pneumonia.atomic import PART, renamed_when_whole

DIGEST_BYTES = hashlib.sha256().digest_size
STRUCTURE = "structure"


class DamagedStateError(Exception):
    """The file is truncated, or its bytes are not those that were written."""


def write_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write a state so that after a kill or a loss of power `path` is whole or as it was before.

    Args:
        path: the file; missing folders are made.
        state: nested dicts, lists and tuples of tensors, numbers, text, true, false and None.

    Raises:
        OSError: the disk is full, or takes nothing.
        TypeError: there is something else in the state.
    """
    tensors: dict[str, Tensor] = {}
    structure = json.dumps(_to_json(dict(state), tensors)).encode()
    tensors[STRUCTURE] = torch.frombuffer(bytearray(structure), dtype=torch.uint8)
    content = safetensors.torch.save(tensors)
    # A name of its own: another process may be training the same at the same time.
    part = path.with_name(f"{path.name}.{os.getpid()}{PART}")
    with renamed_when_whole(part, path), part.open("wb") as file:
        file.write(hashlib.sha256(content).digest())
        file.write(content)


def read_state(path: Path) -> dict[str, Any]:
    """Read what `write_state` wrote; the tensors are on the CPU, in the memory format that they had.

    Raises:
        DamagedStateError: the digest is not that of the content.
        FileNotFoundError: there is no such file.
    """
    whole = path.read_bytes()
    digest, content = whole[:DIGEST_BYTES], whole[DIGEST_BYTES:]
    if hashlib.sha256(content).digest() != digest:
        raise DamagedStateError(str(path))
    tensors = safetensors.torch.load(content)
    state: dict[str, Any] = _from_json(json.loads(tensors.pop(STRUCTURE).numpy().tobytes()), tensors)
    return state


class StateFiles(CheckpointIO):
    """How the trainer saves and loads checkpoints, in place of torch.save and torch.load, which pickle."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Call `write_state`."""
        write_state(Path(path), checkpoint)

    def load_checkpoint(
        self, path: str | os.PathLike[str], map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Call `read_state`; the trainer moves the tensors to its device."""
        return read_state(Path(path))

    def remove_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Remove the file."""
        Path(path).unlink(missing_ok=True)


def _to_json(value: Any, tensors: dict[str, Tensor]) -> Any:
    """Turn what JSON does not have (tensors, tuples, keys that are numbers) into objects with one key."""
    match value:
        case Tensor():
            name = str(len(tensors))
            # Another order in memory can give other last digits in what is computed from it.
            channels_last = value.ndim == 4 and not value.is_contiguous()
            tensors[name] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
            return {"channels_last" if channels_last else "tensor": name}
        case dict():
            return {"dict": [[_to_json(part, tensors) for part in item] for item in value.items()]}
        case tuple():
            return {"tuple": [_to_json(item, tensors) for item in value]}
        case list():
            return [_to_json(item, tensors) for item in value]
        case None | bool() | int() | float() | str():
            return value
    raise TypeError(f"{type(value).__name__} has no place in the state of a training")


def _from_json(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    match value:
        case {"tensor": name}:
            return tensors[name]
        case {"channels_last": name}:
            return tensors[name].contiguous(memory_format=torch.channels_last)
        case {"dict": items}:
            return {_from_json(key, tensors): _from_json(item, tensors) for key, item in items}
        case {"tuple": items}:
            return tuple(_from_json(item, tensors) for item in items)
        case list():
            return [_from_json(item, tensors) for item in value]
    return value
