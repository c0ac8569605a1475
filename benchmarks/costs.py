"""What a large set of images costs in time, memory and disk, from what the other benchmarks have measured.

`PYTHONPATH=src python -m benchmarks.costs` writes docs/costs.md from benchmarks/results; it measures nothing.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.summary import read

PAGE = Path(__file__).parents[1] / "docs" / "costs.md"

SETS = {"RSNA": 26_684, "ChestX-ray14": 112_120, "MIMIC-CXR": 377_110}
SIDE = 224
SMALL_SIDE = 48
"""Of the packed images of benchmarks.growth."""
TRAINED, TESTED = 0.75, 0.1
"""Assumed fractions of the images."""
EPOCHS = 10
GPU_RATES = {"one GPU": 2_470, "eight GPUs": 16_621}
"""Images a second of ResNet-50 in training at 224, mixed precision, A100 of 80 GB; source: NVIDIA below."""

TEXT = """# What large sets cost

Made by `PYTHONPATH=src python -m benchmarks.costs` from the files in benchmarks/results; not to be edited
by hand.

Extrapolated, not run: {largest_grown:,} small images is the most that [the growth
benchmark](../benchmarks/growth.py) has put through every stage. ResNet-18 at {side} x {side}, {epochs}
epochs of {trained:.0%} of the images, a test set of {tested:.0%}. {processor}, {cores} cores.

{table}

- *Preprocessing* is of DICOM files of 1024 x 1024 with JPEG inside, {preprocessing_rate:.0f} images a
  second on both cores, from [its benchmark](../benchmarks/preprocessing.py). It is done once, and grows
  with cores, not with GPUs.
- *Split* and *gallery* are the line through what the growth benchmark found for its two largest numbers of
  images. These are {small} x {small}; for the split the larger number is what it would be if all of it grew
  with the pixels. The gallery shows as many images however many there are. A small part of the split, the
  search for near-duplicates, grows with the square of the images, so the last column is too low by seconds.
- *Training on 2 cores*: {training_rate:.0f} images a second, from [its
  benchmark](../benchmarks/training.py). Validation after each epoch comes on top.
- *Training on GPUs* is not measured here and shows no more than the order of magnitude. It is what
  [NVIDIA reports]({nvidia}) for ResNet-50, which takes more than twice the arithmetic of ResNet-18:
  {gpu_rates} images a second on A100.
- *Memory* is the peak of the hungriest stage by the growth benchmark, its slope continued; its network is
  the smallest there is, on {small} x {small}, so add what yours takes with its batch. The packed
  images are mapped, not loaded; what of them the system keeps in memory it gives back when others need
  it. Decoding processes need about {decoder:.0f} MiB each, however many files there are.
- *Disk* is the packed array; DVC's cache holds links to the same blocks where the file system has them,
  else a second copy. The files that came in stay in `data/raw` too, as large as they are.
- *On a GPU* the packed images lie in its memory where they take no more than half of what is free; else
  they come from the host's, read ahead.

| a thousand images more | seconds | MiB of memory |
| --- | --- | --- |
{growth}
"""
NVIDIA = (
    "https://github.com/NVIDIA/DeepLearningExamples/blob/master/PyTorch/Classification/ConvNets/"
    "resnet50v1.5/README.md"
)


def page(
    growth: dict[str, Any],
    preprocessing: dict[str, Any],
    training: dict[str, Any],
    evaluation: dict[str, Any],
    memory: dict[str, Any],
) -> str:
    """The whole page.

    Args:
        growth: of growth.json, and so on.
        preprocessing: images a second of 1024 x 1024 DICOM files.
        training: images a second on the CPU.
        evaluation: of the forward pass.
        memory: of the decoding processes.
    """
    slopes = growth["between_the_two_largest"]
    grown = max(map(int, growth["sizes"]))
    packing = preprocessing["images_a_second"]["ours, all cores"]["median"]
    learning = training["images_a_second"]["ours"]["median"]
    inference = evaluation["inference"]["images_a_second"]["ours"]["median"]

    def peak(count: int) -> float:
        most = growth["sizes"][str(grown)]
        return max(
            most[name]["peak_mib"] + max(0, of["mib_for_1000_more"]) * (count - grown) / 1000
            for name, of in slopes.items()
        )

    def seconds(name: str, count: int) -> float:
        most = growth["sizes"][str(grown)][name]["seconds"]
        return max(0.0, most + slopes[name]["seconds_for_1000_more"] * (count - grown) / 1000)

    def split(count: int) -> str:
        least = seconds("split", count)
        return f"{duration(least)} to {duration(least * (SIDE / SMALL_SIDE) ** 2)}"

    def training_at(rate: float) -> Callable[[int], str]:
        return lambda count: duration(EPOCHS * TRAINED * count / rate)

    rows: dict[str, Callable[[int], str]] = {
        "preprocessing, 2 cores": lambda count: duration(count / packing),
        "split": split,
        f"training, {EPOCHS} epochs, 2 cores": training_at(learning),
        **{f"training, {EPOCHS} epochs, {device}": training_at(rate) for device, rate in GPU_RATES.items()},
        "evaluation, 2 cores": lambda count: duration(TESTED * count / inference),
        "gallery": lambda count: duration(seconds("gallery", count)),
        "memory of a stage, at most": lambda count: f"{peak(count) / 1024:.1f} GiB",
        "disk, packed images": lambda count: f"{count * SIDE**2 / 1e9:.1f} GB",
    }
    table = [
        "| | " + " | ".join(f"{name}, {count:,}" for name, count in SETS.items()) + " |",
        "| --- " * (len(SETS) + 1) + "|",
    ]
    table += [f"| {name} | " + " | ".join(map(cell, SETS.values())) + " |" for name, cell in rows.items()]
    return TEXT.format(
        largest_grown=grown,
        side=SIDE,
        epochs=EPOCHS,
        trained=TRAINED,
        tested=TESTED,
        processor=growth["machine"]["processor"],
        cores=growth["machine"]["cores"],
        table="\n".join(table),
        preprocessing_rate=packing,
        small=SMALL_SIDE,
        training_rate=learning,
        nvidia=NVIDIA,
        gpu_rates=", ".join(f"{rate:,} ({device})" for device, rate in GPU_RATES.items()),
        decoder=max(peaks["decoder_mib"] for peaks in memory["peaks"].values()),
        growth="\n".join(
            f"| {name} | {of['seconds_for_1000_more']:.2f} | {of['mib_for_1000_more']:.1f} |"
            for name, of in slopes.items()
        ),
    )


def duration(seconds: float) -> str:
    """In the largest unit of which there are at least two."""
    for unit, length in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"


def page_of_the_files() -> str:
    """The page of what is in benchmarks/results."""
    names = ("growth", "preprocessing", "training-cpu-32", "evaluation", "memory")
    return page(*map(read, names))


def main() -> None:
    """Write the page."""
    PAGE.write_text(page_of_the_files(), "utf-8")


if __name__ == "__main__":
    main()
