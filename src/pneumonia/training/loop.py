"""Training, from packed images to the weights of the epoch that is kept."""

import logging
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping
from numpy.typing import NDArray
from torch import nn

from pneumonia.errors import UserError
from pneumonia.network.build import build, build_pretrained, imagenet_statistics, require_size
from pneumonia.network.description import NetworkDescription
from pneumonia.network.device import Compute, Precision, choose_compute
from pneumonia.network.weights import save_weights
from pneumonia.params import Training
from pneumonia.processes import ALONE, Process, this_process
from pneumonia.training.averaging import AverageWeights
from pneumonia.training.batches import EpochOrder, Loader, PackedImages, in_order, make_loader, place
from pneumonia.training.callbacks import History, HistoryKeeper, KeptWeights, ProgressBar
from pneumonia.training.classifier import Classifier, DivergedError, monitor_mode
from pneumonia.training.distributed import (
    Agreement,
    distribution,
    environment,
    lost_process_in_words,
    own_device,
    share_statistics,
)
from pneumonia.training.objective import Objective, outputs_of
from pneumonia.training.parts import Parts, TrainingParts, ValidationParts
from pneumonia.training.resume import StateKeeper, States, training_key
from pneumonia.training.state_file import StateFiles

TRAINER_PRECISION: dict[Precision, Literal["32-true", "bf16-mixed", "16-mixed"]] = {
    "fp32": "32-true",
    "bf16": "bf16-mixed",
    "fp16": "16-mixed",
}


@dataclass(frozen=True, slots=True)
class TrainingData:
    """The packed images and who of them trains and who validates; never the test set."""

    images: NDArray[np.uint8]
    """Shape (N, S, S)."""
    train_rows: NDArray[np.int64]
    train_labels: NDArray[np.int64]
    val_rows: NDArray[np.int64]
    val_labels: NDArray[np.int64]
    mean: float
    """Of the training images, grey as 0..1."""
    std: float


@dataclass(frozen=True, slots=True)
class Trained:
    """What training gives."""

    module: nn.Module
    """With the weights of the epoch that is kept, on the CPU, in evaluation mode."""
    description: NetworkDescription
    history: History
    best_epoch: int
    """The one that is kept."""
    compute: Compute
    states: States
    """Kept until the outputs are written: `remove` them then."""


def train(
    params: Training,
    data: TrainingData,
    root: Path,
    on_epoch: Callable[[int, dict[str, float]], None] | None = None,
) -> Trained:
    """Train the network of params.yaml and keep the epoch that is best on validation, or the last.

    A training that was interrupted goes on after its last finished epoch. With several processes each calls
    this; those of one machine are started by the trainer, which runs the program's command again.

    Args:
        params: the top-level keys of params.yaml.
        data: images, rows, labels, mean and standard deviation.
        root: of the repository: what a relative path of `pretrained` counts from, and where the state of an
            unfinished training is kept.
        on_epoch: called with the epoch's number and its metrics, for the epochs before an interruption too;
            in the first process only.

    Raises:
        UserError: a parameter that this machine or these data cannot serve; a loss that is not finite.
    """
    process = this_process(params.devices, params.nodes)
    compute, description, classifier = prepare(params, data, root, process)
    network = classifier.network
    key = training_key(params, _arrays(data), network, compute)
    states = States(root, key, keeper=process.first)
    found = states.newest()
    if found is not None and process.first:
        print(f"resuming after epoch {found.epochs} of {params.epochs}", file=sys.stderr)
    done = found.epochs if found else 0
    kept = KeptWeights(params.monitor, params.keep)
    keeper = HistoryKeeper(on_epoch if process.first else None)
    callbacks: list[Callback] = [kept, keeper, StateKeeper(states)]
    if process.world > 1:
        callbacks.append(Agreement(key, done))
    if params.average_weights:
        callbacks.append(AverageWeights(params.average_weights, compute.device))
    trainer = make_trainer(params, compute, callbacks, process=process)
    classifier.parts = make_parts(params, data, classifier.objective, process)
    loaders = make_loaders(params, data, compute.device, classifier.parts, epoch=done)
    try:
        with lost_process_in_words(process):
            trainer.fit(classifier, *loaders, ckpt_path=found.file if found else None)
    except DivergedError as error:
        if kept.weights and process.first:
            network.load_state_dict(kept.weights)
            saved = _save_kept(states.diverged, network, description)
            raise DivergedError(
                f"{error} The {params.keep} weights until then, of epoch {kept.epoch}, {saved}"
            ) from None
        raise
    network.cpu().load_state_dict(kept.weights)
    return Trained(network.eval(), description, keeper.history, kept.epoch, compute, states)


def _save_kept(path: Path, network: nn.Module, description: NetworkDescription) -> str:
    """Write the weights; return what became of them. What went wrong here must not hide the divergence."""
    try:
        save_weights(path, network, description)
    except (UserError, OSError) as error:
        return f"could not be kept: {error}"
    return f"are in {path}."


def prepare(
    params: Training, data: TrainingData, root: Path, process: Process = ALONE
) -> tuple[Compute, NetworkDescription, Classifier]:
    """Settle the device, seed all generators and build the network with its objective; see `train`."""
    _require_both_classes(data)
    compute = choose_compute(
        params.device, params.precision, params.threads, deterministic=params.deterministic
    )
    compute = own_device(compute, params, process)
    L.seed_everything(params.seed, verbose=False)
    description = _describe(params, data)
    network = share_statistics(_build(params, description, root), compute, process)
    objective = Objective(params, data.train_labels)
    return compute, description, Classifier(params, network, objective, description, process)


def make_loaders(
    params: Training, data: TrainingData, device: torch.device, parts: Parts | None = None, epoch: int = 0
) -> tuple[Loader, Loader]:
    """Loaders of training and of validation, of whole batches or of these parts of them, from an epoch on."""
    order, batches = parts or _make_orders(params, data)
    # A process that reads ahead begins before the trainer has said which epoch it goes on with.
    order.set_epoch(epoch)
    images = place(data.images, device)
    ahead = device.type != "cpu" and not isinstance(images, torch.Tensor)
    return (
        make_loader(PackedImages(images, data.train_rows, data.train_labels), order, ahead=ahead),
        make_loader(PackedImages(images, data.val_rows, data.val_labels), batches, ahead=ahead),
    )


def make_parts(params: Training, data: TrainingData, objective: Objective, process: Process) -> Parts | None:
    """What a process takes of the batches of training and of validation; None where it takes them whole."""
    if process.world == 1:
        return None
    order, batches = _make_orders(params, data)
    weights = objective.weights(data.train_labels)
    return TrainingParts(order, weights, process), ValidationParts(batches, process)


def _make_orders(params: Training, data: TrainingData) -> tuple[EpochOrder, list[list[int]]]:
    oversample = params.balance == "oversampling"
    order = EpochOrder(data.train_labels, params.batch_size, params.seed, oversample=oversample)
    return order, in_order(len(data.val_rows), params.batch_size)


def _arrays(data: TrainingData) -> dict[str, NDArray[Any]]:
    names = (field.name for field in fields(data))
    return {name: np.asarray(getattr(data, name)) for name in names}


def _describe(params: Training, data: TrainingData) -> NetworkDescription:
    mean, std = {
        "data": (data.mean, data.std),
        "imagenet": imagenet_statistics(params.arch),
        "image": (None, None),
    }[params.normalise]
    return NetworkDescription(
        arch=params.arch,
        outputs=outputs_of(params),
        size=data.images.shape[1],
        mean=mean,
        std=std,
    )


def _build(params: Training, description: NetworkDescription, root: Path) -> nn.Module:
    arch, outputs, size = description.arch, description.outputs, description.size
    if params.pretrained == "none":
        network = build(arch, outputs, size)
    else:
        network = build_pretrained(arch, outputs, size, params.pretrained, root)
    require_size(network, arch, size)
    return network


def make_trainer(
    params: Training, compute: Compute, callbacks: list[Callback], steps: int = -1, process: Process = ALONE
) -> L.Trainer:
    """Trainer for so many epochs, or so many steps if these are fewer; -1 for no such limit."""
    # What the trainer says of itself and of loader workers, which an array in memory does not need.
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    if params.patience:
        mode = monitor_mode(params.monitor)
        callbacks = [*callbacks, EarlyStopping(params.monitor, patience=params.patience, mode=mode)]
    return L.Trainer(
        accelerator="gpu" if compute.device.type == "cuda" else "cpu",
        precision=TRAINER_PRECISION[compute.precision],
        max_epochs=params.epochs,
        max_steps=steps,
        gradient_clip_val=params.gradient_clip or None,
        deterministic=params.deterministic,
        benchmark=not params.deterministic,
        callbacks=[*callbacks, ProgressBar()] if process.first else callbacks,
        plugins=[StateFiles(), environment(process)],
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        **distribution(params, process),
    )


def _require_both_classes(data: TrainingData) -> None:
    for split, labels in (("training", data.train_labels), ("validation", data.val_labels)):
        if len(np.unique(labels)) < 2:
            raise UserError(
                f"The {split} split holds one class only; raise split.val_fraction or bring more images."
            )
