"""Evaluation and gallery of 624 images: what each part takes.

`PYTHONPATH=src python -m benchmarks.evaluation` writes benchmarks/results/evaluation.json in about two
minutes; with `--quick` it takes seconds and writes nothing. On a GPU where there is one.

Inference is compared with the bare network on batches that are already normalised and on its device: what is
left of that rate. The two take turns, and the ratio is taken in each round. The images are random, which
costs as much as films do.
"""

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from benchmarks.described import describe
from benchmarks.machine import graphics, machine, report
from benchmarks.turns import ratios, seconds, spread, take_turns
from pneumonia.evaluation.curves import curves
from pneumonia.evaluation.intervals import patient_intervals
from pneumonia.evaluation.summary import evaluate
from pneumonia.gallery.cases import make_galleries
from pneumonia.gallery.report import write_report
from pneumonia.gallery.selection import select
from pneumonia.gallery.sheets import write_sheet
from pneumonia.network.build import build
from pneumonia.network.description import NetworkDescription
from pneumonia.network.device import Compute, choose_compute
from pneumonia.network.predict import BATCH_SIZE, normalise, predict_logits
from pneumonia.params import load_params
from tests.unit.gallery_examples import report_inputs

RESULTS = Path(__file__).parent / "results" / "evaluation.json"
PARAMS = load_params(Path(__file__).parents[1] / "params.yaml")
DESCRIPTION = describe("resnet18", PARAMS.training, PARAMS.preprocess.size)


def inference(images: NDArray[np.uint8], description: NetworkDescription, rounds: int) -> dict[str, Any]:
    """Images a second of `predict` and of the bare network, and the ratio."""
    compute = choose()
    module = build(description.arch, description.outputs, description.size).to(compute.device).eval()
    rows = np.arange(len(images))
    starts = range(0, len(images), BATCH_SIZE)
    batch = torch.from_numpy(images[:BATCH_SIZE]).to(compute.device)
    inputs = [normalise(batch[: len(images) - start], description) for start in starts[-2:]]

    @torch.inference_mode()
    def bare() -> None:
        for start in starts:
            with compute.autocast():
                module(inputs[-1 if start == starts[-1] else 0])

    def ours() -> None:
        predict_logits(module, description, images, rows, compute)

    for work in (bare, ours):  # what is done at first use only
        work()
    spent = take_turns({"bare": lambda: seconds(bare), "ours": lambda: seconds(ours)}, rounds)
    return {
        "arch": description.arch,
        "precision": compute.precision,
        "of_the_bare_rate": ratios(spent["bare"], spent["ours"]),
        "images_a_second": {
            name: spread([len(images) / taken for taken in times], 1) for name, times in spent.items()
        },
    }


def choose() -> Compute:
    """Device, precision and threads of params.yaml."""
    return choose_compute(PARAMS.device, PARAMS.precision, PARAMS.threads, deterministic=PARAMS.deterministic)


def made_up_predictions(count: int) -> pd.DataFrame:
    """As evaluation writes them: so many images of test and as many of validation, two a patient."""
    dice = np.random.default_rng(0)
    positive = dice.random(2 * count) < 0.6
    probability = np.round(np.clip(dice.normal(0.35 + 0.3 * positive, 0.2), 0, 1), 6)
    names = np.array(["normal", "pneumonia"])
    return pd.DataFrame(
        {
            "file": [f"{number:06d}.jpeg" for number in range(2 * count)],
            "split": np.repeat(["test", "val"], count),
            "patient": [f"p{number // 2}" for number in range(2 * count)],
            "group": np.where(positive, dice.choice(["bacterial", "viral"], 2 * count), "normal"),
            "label": names[positive.astype(int)],
            "probability": probability,
            "predicted": names[(probability >= 0.5).astype(int)],
        }
    )


def parts(
    images: NDArray[np.uint8], description: NetworkDescription, resampled: int, place: Path
) -> dict[str, Callable[[], Any]]:
    """What evaluation and gallery do after inference, each part by itself."""
    predictions = made_up_predictions(len(images))
    many = made_up_predictions(resampled)
    test = many[many["split"] == "test"]
    label, patient = (test["label"] == "pneumonia").to_numpy(dtype=np.int64), test["patient"].to_numpy()
    probability = test["probability"].to_numpy()
    index = pd.DataFrame({"file": predictions["file"].iloc[: len(images)], "boxes": ""})
    module = build(description.arch, description.outputs, description.size).to(choose().device)
    selections = select(predictions, 0.5, PARAMS.gallery.worst, PARAMS.gallery.borderline)
    galleries = make_galleries(selections, images, index, module, description, PARAMS.gallery)

    def sheets() -> None:
        for shown in galleries:
            write_sheet(place / f"{shown.kind}.png", shown, PARAMS.gallery)

    return {
        f"intervals of {resampled:,} images": lambda: patient_intervals(
            label, probability, patient, 0.5, PARAMS.evaluate.bootstrap, 0
        ),
        f"curves of {resampled:,} images": lambda: curves(many, PARAMS.evaluate.calibration_bins),
        "all metrics with intervals": lambda: evaluate(predictions, 0.5, PARAMS.evaluate),
        "curves": lambda: curves(predictions, PARAMS.evaluate.calibration_bins),
        "Grad-CAM": lambda: make_galleries(selections, images, index, module, description, PARAMS.gallery),
        "sheets": sheets,
        "report": lambda: write_report(place / "report.html", **report_inputs(galleries=galleries)),
    }


def measure(images: int, description: NetworkDescription, resampled: int, rounds: int) -> dict[str, Any]:
    """Measure inference and the parts after it."""
    dice = np.random.default_rng(0)
    made = dice.integers(0, 256, (images, description.size, description.size), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as place:
        works = parts(made, description, resampled, Path(place))
        for work in works.values():  # what is done at first use only
            work()
        spent = take_turns({name: partial(seconds, work) for name, work in works.items()}, rounds)
    return {
        "what": "inference against the bare network, and seconds of the other parts",
        "command": "PYTHONPATH=src python -m benchmarks.evaluation",
        "images": images,
        "size": description.size,
        "rounds": rounds,
        "resamples": PARAMS.evaluate.bootstrap,
        **machine("torch", "timm", "numpy", "scikit-learn", "matplotlib"),
        **graphics(),
        "threads": PARAMS.threads,
        "inference": inference(made, description, rounds),
        "seconds": {name: spread(times, 3) for name, times in spent.items()},
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small network; nothing is written")
    quick = parser.parse_args().quick
    small = DESCRIPTION.model_copy(update={"arch": "test_resnet", "size": 64})
    found = measure(96, small, 3000, 3) if quick else measure(624, DESCRIPTION, 3000, 7)
    report(found, None if quick else RESULTS)


if __name__ == "__main__":
    main()
