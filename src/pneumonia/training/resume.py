"""A training that was interrupted goes on after its last finished epoch, and ends with the same bytes.

Its state is kept outside the stage's outputs, which DVC removes before each run, and below the root of the
repository that the person works in, because the copy in which a queued experiment runs is deleted. The name
of the folder is a digest of everything that the result depends on, so that no other training takes the state
for its own. Of two processes that train the same, each may take the other's states: they are the same.
"""

import hashlib
import json
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from pneumonia.network.device import Compute
from pneumonia.params import Training
from pneumonia.training.state_file import DamagedStateError, read_state

FOLDER = ".resume"
"""Below the repository's root; git and DVC ignore it."""

KEPT_TRAININGS = 8
"""Folders of trainings that were not finished: of more, those that changed last stay."""

KEPT_STATES = 2
"""Of one training; the one before the last serves when the last is damaged."""

PACKAGE = Path(__file__).parents[1]
LIBRARIES = ("lightning", "numpy", "safetensors", "timm", "torch", "torchmetrics")


class Found(NamedTuple):
    """A state that is whole."""

    file: Path
    epochs: int
    """How many were finished."""


class States:
    """The states of one training, one file an epoch."""

    def __init__(self, root: Path, key: str, *, keeper: bool = True) -> None:
        """Look after the states.

        Args:
            root: of the repository.
            key: of `training_key`.
            keeper: whether this process removes what is old or damaged; of several that train together one.
        """
        self.folder = root / FOLDER / key
        self.keeper = keeper
        if keeper:
            self._remove_old_trainings()

    def file(self, epochs: int) -> Path:
        """Where the state after so many finished epochs belongs."""
        return self.folder / f"epoch-{epochs:06}.state"

    def newest(self) -> Found | None:
        """The newest state that is whole; None without any.

        A damaged one is removed by the keeper, with a line on stderr.
        """
        for file in self._files():
            try:
                read_state(file)
                return Found(file, int(file.stem.removeprefix("epoch-")))
            except DamagedStateError:
                if self.keeper:
                    print(f"warning: {file} is damaged; the state before it is taken.", file=sys.stderr)
                    file.unlink(missing_ok=True)
            except FileNotFoundError:
                pass  # the keeper was quicker
        return None

    def remove_all_but_the_newest(self) -> None:
        """Keep the last KEPT_STATES."""
        for file in self._files()[KEPT_STATES:]:
            file.unlink(missing_ok=True)

    @property
    def diverged(self) -> Path:
        """Where the best weights of a training that diverged are kept, in the format of models/."""
        return self.folder / "best.safetensors"

    def remove(self) -> None:
        """Forget the training: its outputs are written."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("epoch-*.state"), reverse=True)

    def _remove_old_trainings(self) -> None:
        others = [(folder.stat().st_mtime, folder) for folder in self.folder.parent.glob("*/")]
        others = [other for other in others if other[1] != self.folder]
        for _, folder in sorted(others, reverse=True)[KEPT_TRAININGS - 1 :]:
            shutil.rmtree(folder, ignore_errors=True)


class StateKeeper(Callback):
    """Saves the state after each epoch. A disk that does not take it costs the state, not the training."""

    def __init__(self, states: States) -> None:
        self.states = states
        self.epochs = 0
        self.warned = False

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save what the epoch before has left: at its own end its learning rate has not moved yet."""
        self._save(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save the end too: what is left to do is to write the outputs."""
        self._save(trainer)

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add whether the training has stopped early, and take back that the next epoch was begun."""
        checkpoint["stopped"] = trainer.should_stop
        for count in checkpoint["loops"]["fit_loop"]["epoch_progress"].values():
            count["ready"] = count["processed"]

    def on_load_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Restore that."""
        trainer.should_stop = checkpoint["stopped"]

    def _save(self, trainer: L.Trainer) -> None:
        if trainer.current_epoch == self.epochs:
            return
        self.epochs = trainer.current_epoch
        file = self.states.file(self.epochs)
        try:
            trainer.save_checkpoint(file)  # writes in the first process only
            if self.states.keeper:
                self.states.remove_all_but_the_newest()
        except OSError as error:
            trainer.strategy.barrier()  # where the other processes wait until it is written
            if not self.warned:
                tqdm.write(  # past the progress bar
                    f"warning: the state of the training cannot be kept in {file.parent} ({error.strerror}); "
                    "training goes on, and would start anew if it were interrupted.",
                    file=sys.stderr,
                )
            self.warned = True


def training_key(
    params: Training,
    arrays: dict[str, NDArray[np.generic]],
    network: nn.Module,
    compute: Compute,
) -> str:
    """Digest of everything that the weights depend on, 32 hexadecimal digits.

    Args:
        params: the top-level keys of params.yaml.
        arrays: images, rows, labels and statistics, by name.
        network: before training; its weights tell one file of pretrained weights from another.
        compute: device and precision, with `auto` settled.
    """
    digest = hashlib.sha256()
    facts = {
        "params": params.model_dump(),
        "precision": compute.precision,
        "device": _device_name(compute.device),
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in LIBRARIES},
    }
    digest.update(json.dumps(facts, sort_keys=True).encode())
    tensors = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    for name, array in [*arrays.items(), *tensors.items()]:
        digest.update(f"\0{name}\0{array.dtype}\0{array.shape}\0".encode())
        digest.update(np.ascontiguousarray(array).data)
    for name, content in _code():
        digest.update(f"\0{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:32]


def _device_name(device: torch.device) -> str:
    """The same kernels run on devices of the same name."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"


def _code() -> Iterator[tuple[str, bytes]]:
    """Names and contents of all the library's modules; which of them training uses is not worth guessing."""
    for file in sorted(PACKAGE.rglob("*.py")):
        yield os.fspath(file.relative_to(PACKAGE)), file.read_bytes()
