"""What makes a network that learnt from Kermany's films hold on films that were made otherwise.

`PYTHONPATH=src python -m benchmarks.study` trains each variant and writes benchmarks/results/study.json after
each; variants that are there already are not trained again. Nothing looks at the test set.

It takes the images, the split and params.yaml of the checkout: run `dvc repro split` with the source that is
to be studied first, here `source.name: kermany` and `preprocess.size: 96`, which takes a fifth of the time of
224. A variant is params.yaml's training as changed by BASE and by the variant, trained with one seed.

Of each are written: AUROC and balanced accuracy on the validation films as they are; and AUROC, sensitivity
and specificity on the same films changed as in benchmarks.changed_films, at the threshold that is best on the
films as they are. The mean over the changes of AUROC, and of balanced accuracy at that threshold, is what
variants are chosen by.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.changed_films import CHANGES, changed
from benchmarks.machine import machine, report
from pneumonia import paths
from pneumonia.evaluation.metrics import point_metrics
from pneumonia.evaluation.threshold import choose_threshold
from pneumonia.network.predict import predict
from pneumonia.params import Evaluate, Training, load_params
from pneumonia.training.data import read_training_data
from pneumonia.training.loop import TrainingData, train

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results" / "study.json"
AS_THEY_ARE, CHANGED = "as they are", "changed, mean"
FIGURES = ("auroc", "balanced_accuracy", "sensitivity", "specificity")

BASE: dict[str, Any] = {
    "arch": "resnet18",
    "epochs": 8,
    "batch_size": 32,
    "optimizer": "adamw",
    "lr": 1e-3,
    "weight_decay": 0.05,
    "schedule": "one_cycle",
    "gradient_clip": 5.0,
}
STILL: dict[str, Any] = {
    "flip_horizontal": 0.0,
    "rotation": 0.0,
    "translation": 0.0,
    "scale": [1.0, 1.0],
    "brightness": 0.0,
    "contrast": 0.0,
}
MOVED: dict[str, Any] = STILL | {
    "flip_horizontal": 0.5,
    "rotation": 15.0,
    "translation": 0.08,
    "scale": [0.8, 1.2],
}
REGRADED: dict[str, Any] = MOVED | {"brightness": 0.2, "contrast": 0.5, "gamma": 0.5}
WORSE: dict[str, Any] = REGRADED | {"blur": 0.35, "sharpen": 0.35, "noise": 0.03}

VARIANTS: dict[str, dict[str, Any]] = {
    "nothing": {"augment": STILL},
    "moved": {"augment": MOVED},
    "moved, regraded": {"augment": REGRADED},
    "moved, regraded, blurred, sharpened, noisy": {"augment": WORSE},
    "the same, each image by its own mean and spread": {"augment": WORSE, "normalise": "image"},
    "the same, equalised at random": {"augment": WORSE | {"equalise": 0.3}, "normalise": "image"},
    "the same, mixup 0.2": {"augment": WORSE, "normalise": "image", "mixup": 0.2},
    "the same, label smoothing 0.1": {"augment": WORSE, "normalise": "image", "label_smoothing": 0.1},
    "the same, averaged weights": {"augment": WORSE, "normalise": "image", "average_weights": 0.998},
    "the same, erased": {"augment": WORSE | {"erase": 0.5}, "normalise": "image"},
    "the same, cropped": {
        "augment": WORSE | {"crop_area": [0.6, 1.0], "crop_ratio": [0.75, 1.33]},
        "normalise": "image",
    },
    "the same, collimated": {"augment": WORSE | {"collimate": 0.5}, "normalise": "image"},
    "the same, EfficientNet-Lite0 from ImageNet": {
        "augment": WORSE,
        "normalise": "image",
        "arch": "tf_efficientnet_lite0",
        "pretrained": "package",
        "lr": 5e-4,
        # Depthwise convolutions go backward more slowly in bf16 than in fp32 on a CPU.
        "precision": "fp32",
    },
}


def settings(base: Training, variant: Mapping[str, Any]) -> Training:
    """Training of the variant, checked by the schema."""
    plain = base.model_dump()
    changes = BASE | {key: value for key, value in variant.items() if key != "augment"}
    augment = plain["augment"] | dict(variant.get("augment", {}))
    return Training.model_validate(plain | changes | {"augment": augment})


def study(params: Training, judge: Evaluate, data: TrainingData) -> dict[str, Any]:
    """Train one variant and see how it holds."""
    trained = train(params, data, ROOT)
    films, label = np.asarray(data.images[data.val_rows]), data.val_labels

    def probability(films: NDArray[np.uint8]) -> NDArray[np.float64]:
        rows = np.arange(len(films))
        return predict(trained.module, trained.description, films, rows, trained.compute)

    said = probability(films)
    threshold = choose_threshold(label, said, judge)
    found = {
        name: figures(label, probability(changed(films, change)), threshold)
        for name, change in CHANGES.items()
    }
    trained.states.remove()
    return {
        AS_THEY_ARE: figures(label, said, threshold),
        CHANGED: mean(list(found.values())),
        "changed": found,
        "best_epoch": trained.best_epoch,
    }


def figures(label: NDArray[np.int64], probability: NDArray[np.float64], threshold: float) -> dict[str, float]:
    """AUROC, and what the threshold gives."""
    metrics: dict[str, Any] = point_metrics(label, probability, threshold, bins=1)
    return {name: round(metrics[name], 4) for name in FIGURES}


def mean(found: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each figure."""
    return {name: round(float(np.mean([of[name] for of in found])), 4) for name in found[0]}


def main() -> None:
    """Study what has not been studied, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--variants", nargs="+", default=list(VARIANTS), choices=VARIANTS, metavar="NAME", help="default: all"
    )
    chosen = parser.parse_args()
    params = load_params(ROOT / "params.yaml")
    data = read_training_data(paths.INDEX, paths.SPLIT, paths.STATISTICS, paths.IMAGES)
    found: dict[str, Any] = json.loads(RESULTS.read_text("utf-8"))["variants"] if RESULTS.exists() else {}
    for name in chosen.variants:
        if name not in found:
            found[name] = study(settings(params.training, VARIANTS[name]), params.evaluate, data)
            report(
                {
                    "what": "how variants of training hold on validation films that were changed",
                    "command": "PYTHONPATH=src python -m benchmarks.study",
                    "images": f"{len(data.train_rows)} to learn from, {len(data.val_rows)} of validation",
                    "size": data.images.shape[1],
                    "base": BASE,
                    **machine("torch", "timm", "lightning", "numpy"),
                    "variants": found,
                },
                RESULTS,
            )


if __name__ == "__main__":
    main()
