"""The network's own step of training: what memory layout, precision, optimiser and compiler make of it.

`PYTHONPATH=src python -m benchmarks.step` writes benchmarks/results/step.json in about three minutes; with
`--quick`, and nothing compiled, it takes seconds and writes nothing. On a GPU where there is one; then CUDA
graphs too.

Every way does the same steps on a constant batch that is already in place: forward pass, loss, gradient,
update. They take turns within one run, and each is set against ours (automatic precision, channels last) in
each round. Compiling is timed apart, with the number of steps after which it would have paid for itself.

On a busy machine the threads of a step wait for each other, which is all that is measured then: `--one-core`
gives each way one thread and counts the processor time that it takes; nothing is compiled.
"""

import argparse
import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from benchmarks.described import describe
from benchmarks.machine import graphics, machine, report
from benchmarks.turns import ratios, seconds, spread, take_turns
from pneumonia.network.build import build, head_of
from pneumonia.network.device import Compute, Precision, choose_compute
from pneumonia.network.predict import normalise
from pneumonia.params import load_params
from pneumonia.training.objective import Objective

RESULTS = Path(__file__).parent / "results" / "step.json"
PARAMS = load_params(Path(__file__).parents[1] / "params.yaml")
OURS = "automatic precision, channels_last"
COMPILED = "ours, torch.compile"

Step = Callable[[], None]


@dataclass(frozen=True)
class Way:
    """How a step is done."""

    precision: Precision | None = None
    """None for what is best here."""
    layout: torch.memory_format = torch.channels_last
    fused: bool = False
    """One kernel for the whole update."""
    compiled: bool = False
    frozen: bool = False
    """Only the last layer learns."""


WAYS = {
    "fp32, NCHW": Way(precision="fp32", layout=torch.contiguous_format),
    "fp32, channels_last": Way(precision="fp32"),
    OURS: Way(),
    "ours, fused optimiser": Way(fused=True),
    COMPILED: Way(compiled=True),
    "ours, frozen backbone": Way(frozen=True),
}
GRAPH = "ours, fused optimiser, CUDA graph"


def make_step(arch: str, images: Tensor, way: Way, *, one_core: bool = False) -> Step:
    """Make a step of that way, on images uint8 (B, S, S) that are in place."""
    params = PARAMS.training
    compute = choose(way.precision or params.precision, one_core=one_core)
    torch.manual_seed(0)
    description = describe(arch, params, images.shape[1])
    network = build(arch, description.outputs, images.shape[1])
    network = network.to(compute.device).to(memory_format=way.layout).train(not way.frozen)
    if way.frozen:
        network.requires_grad_(False)
        head_of(network).train().requires_grad_(True)
    inputs = normalise(images.to(compute.device), description).contiguous(memory_format=way.layout)
    labels = torch.arange(len(images), device=compute.device) % 2
    objective = Objective(params, np.array([0, 1])).to(compute.device)
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learning, params.lr, weight_decay=params.weight_decay, fused=way.fused)
    forward: Any = torch.compile(network) if way.compiled else network

    def step() -> None:
        with compute.autocast():
            loss = objective(forward(inputs), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def choose(precision: Precision | Literal["auto"], *, one_core: bool) -> Compute:
    """Device and threads of params.yaml; or one core."""
    params = PARAMS.training
    device, threads = ("cpu", 1) if one_core else (params.device, params.threads)
    return choose_compute(device, precision, threads, deterministic=params.deterministic)


def as_graph(step: Step) -> Step:
    """Record the step on the GPU, to be replayed without the CPU's part."""
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    with torch.cuda.stream(side):  # as torch.cuda.graph wants it: tried first, on a stream beside
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def compare(
    arch: str, images: Tensor, ways: Mapping[str, Way], *, steps: int, rounds: int, one_core: bool
) -> dict[str, Any]:
    """Time of each way over ours, images a second, and whether compiling pays."""
    clock = time.process_time if one_core else time.perf_counter
    made = {name: make_step(arch, images, way, one_core=one_core) for name, way in ways.items()}
    # What is done at first use only; for torch.compile it is compiling.
    first = {name: seconds(partial(_repeat, step, 2)) for name, step in made.items()}
    if torch.cuda.is_available() and not one_core:
        made[GRAPH] = as_graph(make_step(arch, images, Way(fused=True)))

    def one(step: Step) -> float:
        return seconds(partial(_repeat, step, steps), clock) / steps

    spent = take_turns(
        {name: partial(one, step) for name, step in made.items()},
        rounds,
    )
    found: dict[str, Any] = {
        "time_over_ours": {name: ratios(times, spent[OURS]) for name, times in spent.items()},
        "images_a_second": {
            name: spread([len(images) / taken for taken in times], 1) for name, times in spent.items()
        },
    }
    if COMPILED in ways:
        found["torch_compile"] = _whether_it_pays(first[COMPILED], spent[OURS], spent[COMPILED])
    return found


def _whether_it_pays(first_two: float, ours: list[float], compiled: list[float]) -> dict[str, Any]:
    """From the time of the first two steps, with compiling, and of later ones."""
    compiling = first_two - 2 * statistics.median(compiled)
    gains = [one - other for one, other in zip(ours, compiled, strict=True)]
    gain = statistics.median(gains)
    return {
        "seconds_to_compile": round(compiling, 1),
        "seconds_gained_a_step": spread(gains, 4),
        "pays_after_steps": math.ceil(compiling / gain) if gain > 0 else "never",
    }


def _repeat(step: Step, steps: int) -> None:
    for _ in range(steps):
        step()


def measure(
    arch: str,
    batch_sizes: list[int],
    size: int,
    ways: Mapping[str, Way],
    *,
    steps: int,
    rounds: int,
    one_core: bool = False,
) -> dict[str, Any]:
    """Measure these ways, for each number of images in a batch."""
    dice = np.random.default_rng(0)
    images = torch.from_numpy(dice.integers(0, 256, (max(batch_sizes), size, size), dtype=np.uint8))
    compute = choose("auto", one_core=one_core)
    return {
        "what": "a training step on a constant batch: time over ours of each round, images a second",
        "command": "PYTHONPATH=src python -m benchmarks.step" + " --one-core" * one_core,
        "time": "processor time on one core" if one_core else "the clock's",
        "arch": arch,
        "size": size,
        "automatic_precision": compute.precision,
        "steps": steps,
        "rounds": rounds,
        **machine("torch", "timm", "numpy"),
        **graphics(),
        "threads": torch.get_num_threads(),
        "results": {
            f"batch of {count}": compare(
                arch, images[:count], ways, steps=steps, rounds=rounds, one_core=one_core
            )
            for count in batch_sizes
        },
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small network; nothing is written")
    parser.add_argument("--one-core", action="store_true", help="one thread, in processor time")
    chosen = parser.parse_args()
    # What torch.compile compiles with are other processes, whose time the processor time leaves out.
    without = {name: way for name, way in WAYS.items() if not way.compiled}
    if chosen.quick:
        found = measure("test_resnet", [8], 64, without, steps=2, rounds=3, one_core=chosen.one_core)
        report(found, None)
        return
    size = PARAMS.preprocess.size
    if chosen.one_core:
        found = measure("resnet18", [32], size, without, steps=2, rounds=5, one_core=True)
    elif torch.cuda.is_available():
        found = measure("resnet18", [32, 256], size, WAYS, steps=50, rounds=9)
    else:
        found = measure("resnet18", [32], size, WAYS, steps=3, rounds=7)
    report(found, RESULTS.with_stem("step-one-core") if chosen.one_core else RESULTS)


if __name__ == "__main__":
    main()
