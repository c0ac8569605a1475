"""Time and memory of every stage as the images grow more: each linear, nothing quadratic.

`PYTHONPATH=src python -m benchmarks.growth` runs every stage for 1,000, 10,000 and 100,000 images and writes
benchmarks/results/growth.json and growth.png after each number; numbers that are in growth.json already are
not run again, so that it may be interrupted. On two free cores it takes about half an hour; `--sizes 1000
10000` runs fewer; `--quick` takes a minute and writes nothing.

The images are small: phantom films of about 62 x 54 (250 are drawn, the others are these turned, zoomed,
shifted and with other noise), packed at 48 x 48; the network is timm's smallest for tests and learns for one
epoch. At 224 training alone would take days. Of download the drawing of those 250 is the larger part until
there are many. What depends on the pixels grows with the images anyway; what could grow otherwise does not
look at them.

Each stage runs in a process of its own, in a copy of this checkout. Seconds are those of its work, without
the start of Python and imports; memory is the peak of the process, in which the mapped array counts as far as
it was read. What the decoding processes need is the subject of benchmarks.memory.
"""

import argparse
import json
import math
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import machine, report
from benchmarks.overhead import STAGES, our_repository
from tests.pipeline.conftest import TINY

RESULTS = Path(__file__).parent / "results" / "growth.json"
SIZES = (1_000, 10_000, 100_000)
SMALL = TINY | {"epochs": 1, "warmup_epochs": 0, "preprocess.size": 48, "evaluate.bootstrap": 2000}

Figures = dict[str, dict[str, float]]
"""Of each stage: seconds and peak_mib."""


def run_all(images: int) -> Figures:
    """Run every stage for so many images, each in a process of its own."""
    found: Figures = {}
    with tempfile.TemporaryDirectory() as folder:
        repository = our_repository(Path(folder, "checkout"), SMALL | {"source.phantom_images": images})
        for name in STAGES:
            output = repository.run(sys.executable, "-m", "benchmarks.one_stage", name, PYTHONPATH="src")
            found[name] = json.loads(output.splitlines()[-1])
            print(f"{images:,} images, {name}: {found[name]}", file=sys.stderr, flush=True)
    return found


def slopes(sizes: dict[str, Figures]) -> dict[str, dict[str, float]]:
    """Between the two largest numbers of images: the exponent of time, and memory of 1,000 images more."""
    small, large = sorted(map(int, sizes))[-2:]
    found = {}
    for name in STAGES:
        less, more = sizes[str(small)][name], sizes[str(large)][name]
        exponent = math.log(max(more["seconds"], 0.01) / max(less["seconds"], 0.01)) / math.log(large / small)
        memory = (more["peak_mib"] - less["peak_mib"]) / (large - small) * 1000
        found[name] = {
            "exponent_of_time": round(exponent, 2),
            "seconds_for_1000_more": round((more["seconds"] - less["seconds"]) / (large - small) * 1000, 3),
            "mib_for_1000_more": round(memory, 2),
        }
    return found


def result(sizes: dict[str, Figures]) -> dict[str, Any]:
    """What is written."""
    found: dict[str, Any] = {
        "what": "seconds and peak resident memory of each stage, by number of images",
        "command": "PYTHONPATH=src python -m benchmarks.growth",
        "images": "phantom films of about 62 x 54 (250, varied), packed at 48 x 48; test_resnet, one epoch",
        **machine("torch", "lightning", "scikit-learn", "pandas", "numpy"),
        "sizes": sizes,
    }
    if len(sizes) > 1:
        found["between_the_two_largest"] = slopes(sizes)
    return found


def plot(sizes: dict[str, Figures], path: Path) -> None:
    """Time and memory over the number of images, both axes logarithmic."""
    from matplotlib.figure import Figure  # noqa: PLC0415  not in the processes of the stages

    numbers = sorted(map(int, sizes))
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    panels = figure.subplots(1, 2)
    for axes, key, title in zip(
        panels,
        ("seconds", "peak_mib"),
        ("Time in seconds", "Peak memory in MiB"),
        strict=True,
    ):
        for name in STAGES:
            values = [sizes[str(number)][name][key] for number in numbers]
            axes.loglog(numbers, values, "o-", label=name, markersize=5)
        if key == "seconds":
            low = min(sizes[str(numbers[0])][name][key] for name in STAGES)
            guide = [low * number / numbers[0] for number in numbers]
            axes.loglog(numbers, guide, "--", color="grey", linewidth=1, label="linear")
        axes.set(title=title, xlabel="Images", xticks=numbers, xticklabels=[f"{n:,}" for n in numbers])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center", frameon=False)
    figure.savefig(path, dpi=110)


def measure(counts: Sequence[int], path: Path | None) -> dict[str, Any]:
    """Run what is not in the file yet; write file and plot after each number of images."""
    sizes: dict[str, Figures] = {}
    if path is not None and path.exists():
        sizes = json.loads(path.read_text(encoding="utf-8"))["sizes"]
    for count in counts:
        if str(count) not in sizes:
            sizes[str(count)] = run_all(count)
            if path is not None:
                report(result(sizes), path)
                plot(sizes, path.with_suffix(".png"))
    return result(sizes)


def main() -> None:
    """Measure, print and write; with --stage, run that one here."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="100 and 200 images; nothing is written")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="numbers of images")
    chosen = parser.parse_args()
    if chosen.quick:
        report(measure([100, 200], None), None)
    else:
        measure(chosen.sizes, RESULTS)


if __name__ == "__main__":
    main()
