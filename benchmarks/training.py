"""How fast the training loop is: ours, against the published way and against the network's bare step.

`PYTHONPATH=src python -m benchmarks.training` writes benchmarks/results/training-<device>-<batch>.json in
about five minutes on two cores; `--batch 256` sets the images in a batch; with `--quick` it takes seconds and
writes nothing. On a GPU where there is one.

- ours: the trainer's own loop, as the stage runs it: loader of the packed array, augmentation, step,
  progress bar. Its fit is held after each block of steps, and the others take their turns in the gap.
- the published way: torchvision's ImageFolder, DataLoader with no worker and with two, Pillow and
  torchvision's transforms for what params.yaml asks for, three channels, fp32; from JPEG files of 224 x 224
  and of 1,300 x 1,000, the published size.
- the limit: forward, loss, gradient and update on a constant batch that is in place, in our precision and
  layout.

On a busy machine the threads of a step wait for each other, which is all that is measured then: `--one-core`
gives each way one thread and counts the processor time that it takes, without the ways that have workers.

Ratios are taken in each round. A block of the published way counts from asking for its first batch to the end
of its last step; with workers the files of all its batches are read within that time.
"""

import argparse
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import cv2
import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset
from torchvision import models, transforms
from torchvision.datasets import ImageFolder

from benchmarks.decoding import films, jpeg
from benchmarks.described import MEAN, STD, describe
from benchmarks.machine import graphics, machine, report
from benchmarks.turns import Block, Clock, finish, ratios, seconds, spread
from pneumonia.classes import CLASSES
from pneumonia.network.build import build
from pneumonia.network.device import Compute, choose_compute
from pneumonia.network.predict import normalise
from pneumonia.params import Training, load_params
from pneumonia.training.classifier import Classifier
from pneumonia.training.loop import TRAINER_PRECISION, TrainingData, make_loaders, make_trainer
from pneumonia.training.objective import Objective
from pneumonia.training.optimisation import make_optimizer, may_be_fused

RESULTS = Path(__file__).parent / "results"
PARAMS = load_params(Path(__file__).parents[1] / "params.yaml")
OURS, LIMIT = "ours", "limit: the step on a constant batch"


@dataclass(frozen=True)
class Files:
    """What the published way reads."""

    native: tuple[int, int] = (1000, 1300)
    """Height and width of the published files."""
    drawn: int = 24
    """How many different films; reading one costs the same the second time."""


class Turns(Callback):
    """Holds the trainer after each block of steps, and lets the others take their turns."""

    def __init__(self, others: Mapping[str, Block], steps: int, clock: Clock) -> None:
        self.others = others
        self.steps = steps
        self.clock = clock
        self.done = 0
        self.spent: dict[str, list[float]] = {name: [] for name in (OURS, *others)}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock."""
        self.start = self.clock()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """At the end of a block stop the clock, let the others work, and start it anew."""
        self.done += 1
        if self.done % self.steps:
            return
        finish()
        took = {OURS: self.clock() - self.start}
        round_ = self.done // self.steps - 1
        names = list(self.others)
        first = round_ % len(names)
        took |= {name: self.others[name]() for name in names[first:] + names[:first]}
        if round_ > 0:  # the first has what is done at first use only
            for name, times in self.spent.items():
                times.append(took[name])
        finish()
        self.start = self.clock()


def hyperparameters(arch: str, batch_size: int) -> Training:
    """Those of params.yaml, with one epoch of that architecture."""
    changes = {"arch": arch, "batch_size": batch_size, "epochs": 1, "warmup_epochs": 0, "patience": 0}
    return PARAMS.training.model_copy(update=changes)


def train_in_turns(
    params: Training, compute: Compute, size: int, turns: Turns, rounds: int
) -> dict[str, list[float]]:
    """Run our loop, with the others in turns: seconds of every block."""
    dice = np.random.default_rng(0)
    labels = dice.integers(0, 2, params.batch_size * turns.steps * (rounds + 1))
    images = dice.integers(0, 256, (1024, size, size), dtype=np.uint8)
    rows = dice.integers(0, len(images), len(labels))
    val = np.arange(2)
    data = TrainingData(images, rows, labels, val, val, MEAN, STD)
    description = describe(params.arch, params, size)
    network = build(params.arch, description.outputs, size)
    classifier = Classifier(params, network, Objective(params, labels), description)
    make_trainer(params, compute, [turns]).fit(classifier, *make_loaders(params, data, compute.device))
    return turns.spent


def limit(params: Training, compute: Compute, size: int, steps: int, clock: Clock) -> Block:
    """A block of the network's own steps: forward, loss, gradient, update."""
    dice = np.random.default_rng(0)
    images = torch.from_numpy(dice.integers(0, 256, (params.batch_size, size, size), dtype=np.uint8))
    description = describe(params.arch, params, size)
    inputs = normalise(images.to(compute.device), description)
    labels = torch.arange(params.batch_size, device=compute.device) % 2
    network = build(params.arch, description.outputs, size).to(compute.device).train()
    objective = Objective(params, np.array([0, 1])).to(compute.device)
    fused = may_be_fused(compute.device, TRAINER_PRECISION[compute.precision], params.gradient_clip)
    optimizer = make_optimizer(params, network, fused=fused)

    def work() -> None:
        for _ in range(steps):
            with compute.autocast():
                loss = objective(network(inputs), labels)
            optimizer.zero_grad()
            loss.backward()
            if params.gradient_clip:
                nn.utils.clip_grad_norm_(network.parameters(), params.gradient_clip)
            optimizer.step()

    return lambda: seconds(work, clock)


def published(
    network: nn.Module, loader: Iterable[tuple[Tensor, Tensor]], device: torch.device, clock: Clock
) -> Block:
    """A block of the published loop: one pass over the loader, fp32."""
    network = network.to(device).train()
    loss_of = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(network.parameters())

    def work() -> None:
        for images, labels in loader:
            optimizer.zero_grad()
            loss = loss_of(network(images.to(device)), labels.to(device))
            loss.backward()
            optimizer.step()

    return lambda: seconds(work, clock)


def published_transform(size: int) -> transforms.Compose:
    """What params.yaml's `augment` asks for, as torchvision does it to Pillow's images one by one."""
    augment = PARAMS.training.augment
    return transforms.Compose(
        [
            transforms.Resize((size, size)),
            transforms.RandomHorizontalFlip(augment.flip_horizontal),
            transforms.RandomAffine(
                augment.rotation,
                translate=(augment.translation, augment.translation),
                scale=tuple(augment.scale),
                interpolation=transforms.InterpolationMode.BILINEAR,
            ),
            transforms.ColorJitter(brightness=augment.brightness, contrast=augment.contrast),
            transforms.ToTensor(),
            transforms.Normalize([MEAN] * 3, [STD] * 3),
        ]
    )


def published_loader(folder: Path, size: int, images: int, batch_size: int, workers: int) -> Any:
    """ImageFolder and DataLoader, with so many images an epoch."""
    files = ImageFolder(str(folder), published_transform(size))
    epoch = Subset(files, list(islice(cycle(range(len(files))), images)))
    return DataLoader(epoch, batch_size, shuffle=True, num_workers=workers, persistent_workers=workers > 0)


def write_files(folder: Path, height: int, width: int, count: int) -> None:
    """JPEG files of synthetic films in class folders."""
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
    for number, film in enumerate(films(count, height, width, 9.0)):
        (folder / CLASSES[number % 2] / f"{number}.jpeg").write_bytes(jpeg(film, 95))


def measure(
    arch: str, size: int, batch_size: int, *, steps: int, rounds: int, files: Files, one_core: bool
) -> dict[str, Any]:
    """Measure all ways; on one core in processor time, and then without workers, if so wanted."""
    cv2.setNumThreads(1)
    params = hyperparameters(arch, batch_size)
    clock = time.perf_counter
    if one_core:
        params, clock = params.model_copy(update={"threads": 1, "device": "cpu"}), time.process_time
    compute = choose_compute(
        params.device, params.precision, params.threads, deterministic=params.deterministic
    )
    with tempfile.TemporaryDirectory() as place:
        others = {LIMIT: limit(params, compute, size, steps, clock)}
        for height, width in ((size, size), files.native):
            folder = Path(place, f"{width}")
            write_files(folder, height, width, files.drawn)
            network = models.resnet18(num_classes=2)
            for workers in (0,) if one_core else (0, 2):
                loader = published_loader(folder, size, steps * batch_size, batch_size, workers)
                name = f"published way, {width} x {height} JPEG, {workers} workers"
                others[name] = published(network, loader, compute.device, clock)
        spent = train_in_turns(params, compute, size, Turns(others, steps, clock), rounds)
    images = steps * batch_size
    return {
        "what": "training with augmentation: images a second, and how many times the others' rate ours is",
        "command": f"PYTHONPATH=src python -m benchmarks.training --batch {batch_size}"
        + " --one-core" * one_core,
        "time": "processor time on one core" if one_core else "the clock's",
        "arch": arch,
        "size": size,
        "batch_size": batch_size,
        "steps_in_a_block": steps,
        "rounds": rounds,
        "precision": compute.precision,
        **machine("torch", "torchvision", "lightning", "timm", "numpy", "pillow"),
        **graphics(),
        "threads": params.threads,
        "images_a_second": {
            name: spread([images / taken for taken in times], 1) for name, times in spent.items()
        },
        "ours_over": {name: ratios(spent[name], spent[OURS]) for name in others},
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small network; nothing is written")
    parser.add_argument("--batch", type=int, default=32, help="images in a batch")
    parser.add_argument("--rounds", type=int, default=5, help="how often each way takes its turn")
    parser.add_argument("--one-core", action="store_true", help="one thread, in processor time")
    chosen = parser.parse_args()
    if chosen.quick:
        files = Files(native=(100, 130), drawn=4)
        found = measure("test_resnet", 64, 8, steps=2, rounds=2, files=files, one_core=chosen.one_core)
        report(found, None)
        return
    on_gpu = torch.cuda.is_available() and not chosen.one_core
    found = measure(
        "resnet18",
        PARAMS.preprocess.size,
        chosen.batch,
        steps=50 if on_gpu else max(1, 3 * 32 // chosen.batch),
        rounds=chosen.rounds,
        files=Files(),
        one_core=chosen.one_core,
    )
    where = "gpu" if on_gpu else "one-core" if chosen.one_core else "cpu"
    report(found, RESULTS / f"training-{where}-{chosen.batch}.json")


if __name__ == "__main__":
    main()
