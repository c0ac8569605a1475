"""What deterministic algorithms cost in training: seconds of a step with them over seconds without.

`PYTHONPATH=src python -m benchmarks.deterministic` writes benchmarks/results/deterministic.json; with
`--quick` it takes seconds and writes nothing. On the CPU, and on a GPU where there is one.

Both ways take turns within one run, and the ratio is taken in each round, so that whatever else the machine
does meets both. cuBLAS reads the size of its workspace once in a process: here both ways have the fixed one.
"""

import argparse
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.described import describe
from benchmarks.machine import graphics, machine, report
from benchmarks.turns import spread
from pneumonia.network.build import build
from pneumonia.network.device import choose_compute
from pneumonia.network.predict import normalise
from pneumonia.params import load_params
from pneumonia.training.augment import Augmenter
from pneumonia.training.objective import Objective
from pneumonia.training.optimisation import make_optimizer

RESULTS = Path(__file__).parent / "results" / "deterministic.json"
PARAMS = load_params(Path(__file__).parents[1] / "params.yaml")
ARCHITECTURES = {PARAMS.arch: PARAMS.batch_size, "resnet18": 32, "densenet121": 16}
"""With the images in a batch."""


def make_step(arch: str, batch_size: int, size: int, device: str) -> Callable[[], None]:
    """A step of training as params.yaml has it, on random images: augmentation, loss, gradient, update."""
    params = PARAMS.training
    compute = choose_compute(device, params.precision, params.threads, deterministic=True)
    dice = np.random.default_rng(0)
    labels = dice.integers(0, 2, batch_size)
    batch = torch.from_numpy(dice.integers(0, 256, (batch_size, size, size), dtype=np.uint8))
    images, targets = batch.to(compute.device), torch.from_numpy(labels).to(compute.device)
    description = describe(arch, params, size)
    network = build(arch, description.outputs, size).to(compute.device).train()
    objective = Objective(params, np.array([0, 1])).to(compute.device)
    optimizer = make_optimizer(params, network)
    augmenter, generator = Augmenter(params.augment), torch.Generator()

    def step() -> None:
        inputs = normalise(augmenter(images, generator), description)
        with compute.autocast():
            loss = objective(network(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def seconds(step: Callable[[], None], steps: int, device: str, *, deterministic: bool) -> float:
    """Time of so many steps."""
    choose_compute(device, PARAMS.precision, PARAMS.threads, deterministic=deterministic)
    wait = torch.cuda.synchronize if device == "gpu" else bool
    wait()
    start = time.perf_counter()
    for _ in range(steps):
        step()
    wait()
    return time.perf_counter() - start


def compare(arch: str, batch_size: int, size: int, device: str, *, steps: int, rounds: int) -> dict[str, Any]:
    """Ratio of the times in each round, and images a second of both ways: median, smallest, largest."""
    step = make_step(arch, batch_size, size, device)
    for deterministic in (True, False):  # what is done at first use only, cuDNN's trials among it
        seconds(step, 2, device, deterministic=deterministic)
    spent: dict[bool, list[float]] = {True: [], False: []}
    for number in range(rounds):
        for deterministic in (number % 2 == 0, number % 2 == 1):  # another one first each time
            spent[deterministic].append(seconds(step, steps, device, deterministic=deterministic))
    ratios = [with_it / without for with_it, without in zip(spent[True], spent[False], strict=True)]
    images = steps * batch_size
    return {
        "batch_size": batch_size,
        "time_with_over_without": spread(ratios, 3),
        "images_a_second": {
            "deterministic": spread([images / taken for taken in spent[True]], 1),
            "not": spread([images / taken for taken in spent[False]], 1),
        },
    }


def measure(architectures: Mapping[str, int], size: int, *, steps: int, rounds: int) -> dict[str, Any]:
    """Measure every architecture on every device that is here."""
    devices = ["cpu", *(["gpu"] if torch.cuda.is_available() else [])]
    return {
        "what": "time of training steps with deterministic algorithms over that without, of each round",
        "command": "PYTHONPATH=src python -m benchmarks.deterministic",
        "size": size,
        "steps": steps,
        "rounds": rounds,
        "precision": {
            device: choose_compute(device, PARAMS.precision, PARAMS.threads, deterministic=True).precision
            for device in devices
        },
        **machine("torch", "timm", "numpy"),
        **graphics(),
        "threads": PARAMS.threads,
        "results": {
            device: {
                arch: compare(arch, batch_size, size, device, steps=steps, rounds=rounds)
                for arch, batch_size in architectures.items()
            }
            for device in devices
        },
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one small network; nothing is written")
    quick = parser.parse_args().quick
    found = (
        measure({"test_resnet": 8}, 64, steps=2, rounds=4)
        if quick
        else measure(ARCHITECTURES, PARAMS.preprocess.size, steps=5, rounds=9)
    )
    report(found, None if quick else RESULTS)


if __name__ == "__main__":
    main()
