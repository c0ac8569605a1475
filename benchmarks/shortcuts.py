"""How far one gets on validation films without looking at lungs: what a set gives away of who made a film.

`PYTHONPATH=src python -m benchmarks.shortcuts` writes benchmarks/results/shortcuts.json in about a minute. It
takes the images and params.yaml of the checkout: run `dvc repro preprocess` first, e.g. with `source.name:
kermany`. Nothing looks at the test set.

Boosted trees learn to tell the classes from nine numbers a film (brightness, contrast, black and white
parts, grain and edges) and from a thumbnail of 16 x 16 pixels. They are judged on validation patients that
were drawn, with three seeds, and on those that come first in the source's order, next to the test set.
"""

import cv2
import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier

from benchmarks import study
from benchmarks.machine import machine, report
from pneumonia import paths
from pneumonia.classes import CLASSES
from pneumonia.params import load_params
from pneumonia.splitting.assign import assign
from pneumonia.splitting.near_duplicates import near_duplicates
from pneumonia.store import open_images, read_index

RESULTS = study.RESULTS.with_name("shortcuts.json")
THUMBNAIL = 16
BLACK, WHITE = 8, 250


def acquisition(film: NDArray[np.uint8]) -> list[float]:
    """Nine numbers of how a film was made, of a film of shape (S, S)."""
    grey = film.astype(np.float32)
    soft = cv2.GaussianBlur(grey, (0, 0), 2)
    return [
        *(float(statistic) for statistic in (grey.mean(), grey.std(), *np.percentile(grey, [5, 95]))),
        float((film < BLACK).mean()),
        float((film > WHITE).mean()),
        float(np.abs(cv2.Laplacian(grey, cv2.CV_32F)).mean()),
        float(np.abs(grey - soft).mean()),
        float(cv2.Laplacian(soft, cv2.CV_32F).std()),
    ]


def thumbnail(film: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The film's THUMBNAIL x THUMBNAIL pixels, one after the other."""
    return cv2.resize(film, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA).ravel()


def learnt(
    numbers: NDArray[np.float64], label: NDArray[np.int64], split: NDArray[np.object_]
) -> dict[str, float]:
    """Figures on the validation films of trees that learnt from the training films, at 0.5."""
    train, val = split == "train", split == "val"
    trees = HistGradientBoostingClassifier(max_iter=150, random_state=0).fit(numbers[train], label[train])
    return study.figures(label[val], trees.predict_proba(numbers[val])[:, 1], 0.5)


def main() -> None:
    """Learn, judge, write."""
    params = load_params(study.ROOT / "params.yaml")
    index, images = read_index(paths.INDEX), open_images(paths.IMAGES)
    index["near_duplicate"] = near_duplicates(index, images)
    label = index["label"].map(CLASSES.index).to_numpy()
    seen = {
        "nine numbers of how the film was made": np.array([acquisition(film) for film in images]),
        f"thumbnails of {THUMBNAIL} x {THUMBNAIL} pixels": np.array(
            [thumbnail(film) for film in images], float
        ),
    }
    found: dict[str, dict[str, dict[str, float]]] = {name: {} for name in seen}
    ways = {f"drawn, seed {seed}": {"validation": "drawn", "seed": seed} for seed in range(3)}
    for way, change in (ways | {"first": {"validation": "first"}}).items():
        settings = params.split.model_copy(update=change)
        official = settings.keeps_official(params.source.name)
        split = assign(index, settings, official=official).split.loc[index.index].to_numpy()
        for name, numbers in seen.items():
            found[name][way] = learnt(numbers, label, split)
    report(
        {
            "what": "what tells the classes of validation films apart without a look at lungs",
            "command": "PYTHONPATH=src python -m benchmarks.shortcuts",
            "source": params.source.name,
            "size": images.shape[1],
            **machine("scikit-learn", "numpy", "opencv-python-headless"),
            "validation": found,
        },
        RESULTS,
    )


if __name__ == "__main__":
    main()
