"""The report of a run: one HTML file that needs nothing else, neither network nor scripts."""

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray

from pneumonia.classes import CLASSES
from pneumonia.evaluation.summary import UNNAMED
from pneumonia.gallery.cases import Gallery, colormap, overlay, with_boxes
from pneumonia.gallery.figures import (
    Curves,
    calibration_figure,
    history_figure,
    precision_recall_figure,
    roc_figure,
    thresholds_figure,
)
from pneumonia.gallery.selection import TITLES
from pneumonia.gallery.sheets import count_sentence, empty_sentence
from pneumonia.nested import leaves
from pneumonia.network.reading import Reading
from pneumonia.params import Params
from pneumonia.writing import write_text

TEMPLATE = Path(__file__).with_name("report.html.jinja")
LARGEST = 448  # side of an embedded film in pixels: sharp at twice the density of the page
JPEG_QUALITY = 90
OPTIMISM = (
    0.02  # a validation figure that exceeds the test's interval and the test figure by this is remarked on
)

METRICS = {
    "auroc": "AUROC",
    "auprc": "Average precision (AUPRC)",
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "precision": "Precision",
    "f1": "F1",
    "brier": "Brier score",
    "ece": "Calibration error (ECE)",
    "loss": "Loss",
}
SPLITS = {"train": "Training", "val": "Validation", "test": "Test"}
TILES = ("auroc", "accuracy", "sensitivity", "specificity")
COUNTS = {"n": "Images", "pneumonia": "of pneumonia", "patients": "Patients"}
SUBGROUP_TITLES = {
    "sex": ("By sex", "The test set by the sex in the header"),
    "age_band": ("By age", "The test set by age in years"),
    "view": ("By view", "The test set by view: the ill are often filmed in bed (AP), so compare within one"),
}
RULES = {
    "fixed": "fixed in params.yaml",
    "youden": "chosen on validation for the highest sum of sensitivity and specificity (Youden)",
    "sensitivity": "chosen on validation as the highest that reaches the wanted sensitivity",
    "uninformed": "set to this because on validation no threshold was better than chance",
}


@dataclass(frozen=True, slots=True)
class Cell:
    """A metric as it is shown; one that is not defined has no value."""

    name: str
    value: float | None
    interval: Mapping[str, float] | None


def write_report(  # noqa: PLR0913  one document of many sources
    path: Path,
    *,
    metrics: Mapping[str, Any],
    subgroups: Mapping[str, Any],
    data: Mapping[str, Any],
    training: Mapping[str, Any],
    history: pd.DataFrame,
    curves: Curves,
    galleries: list[Gallery],
    params: Params,
    model_card: Mapping[str, Any],
) -> None:
    """Write the report, the same bytes from the same input.

    Args:
        path: the .html file to make.
        metrics: metrics/evaluate.json.
        subgroups: data/predictions/subgroups.json.
        data: metrics/data.json.
        training: metrics/train.json.
        history: plots/history.csv.
        curves: the tables of plots/curves.
        galleries: the chosen images of each kind with their overlays.
        params: of the run.
        model_card: models/model.json.

    Raises:
        UserError: params.yaml names a colormap that matplotlib does not know; the disk is full, or there is
            no permission to write.
    """
    environment = Environment(
        loader=FileSystemLoader(TEMPLATE.parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"digits": digits, "thousands": thousands, "words": words, "breakable": breakable}
    html = environment.get_template(TEMPLATE.name).render(
        val=metrics["val"],
        test=metrics["test"],
        group_tables=list(_group_tables(metrics, subgroups)),
        tiles=[_cell(metrics["test"], name) for name in TILES],
        comparisons=[(_cell(metrics["val"], key), _cell(metrics["test"], key)) for key in METRICS],
        warnings=warnings(metrics["val"], metrics["test"], params.source.name, data),
        data=data,
        image_table=_image_table(data),
        group_counts=_group_counts(data.get("groups", {})),
        training=training,
        model=model_card,
        rule=RULES[model_card["threshold_rule"]],
        reading=Reading.model_validate(model_card),
        chosen_on_validation=_chosen_on_validation(params, model_card),
        epoch_kept=training["best_epoch"] - int(history["epoch"].iloc[0]) + 1,
        history_figures=_history_figures(history, training["best_epoch"]),
        test_figures=_test_figures(curves, metrics["test"]),
        threshold_figures=[
            ("Calibration; larger points, more images", calibration_figure(curves.calibration)),
            ("Choice of the threshold", thresholds_figure(curves.thresholds, model_card["threshold"])),
        ],
        galleries=[_gallery_section(gallery) for gallery in galleries],
        scale=_scale(params),
        params=params,
        settings=list(leaves(params.model_dump())),
    )
    write_text(path, html)


def warnings(
    val: Mapping[str, Any], test: Mapping[str, Any], source: str, data: Mapping[str, Any]
) -> list[str]:
    """What a reader must know before quoting a figure, one sentence each."""
    intervals = {
        name: (test[f"{name}_ci95"]["low"], test[f"{name}_ci95"]["high"])
        for name in ("auroc", "accuracy")
        if f"{name}_ci95" in test
    }
    sentences = []
    if source == "phantom":
        sentences.append("The images are synthetic phantoms: these figures say nothing about patients.")
    if data["patients"]["unknown"]:
        sentences.append(
            f"Nobody can tell the patients of {data['patients']['unknown']:,} of {data['images']['total']:,} "
            "images: images of one patient may be in training and test, which flatters the figures."
        )
    flat = [
        METRICS[name]
        for name in METRICS
        if f"{name}_ci95" in test and test[f"{name}_ci95"]["low"] == test[f"{name}_ci95"]["high"]
    ]
    if flat:
        sentences.append(
            f"The 95 % intervals of the test set's {', '.join(flat)} have no width, because every "
            "resample of the patients gives the same figure. That is no certainty; more images would give an "
            "interval."
        )
    gaps = [
        f"{METRICS[name]} {val[name]:.3f} against {test[name]:.3f} ({low:.3f} to {high:.3f})"
        for name, (low, high) in intervals.items()
        if name in val and val[name] > high and val[name] - test[name] >= OPTIMISM
    ]
    if gaps:
        sentences.append(
            f"Validation is above the interval of the test set: {'; '.join(gaps)}. Quote the test set, not "
            "validation; and no test set of the training images' own source says what to expect elsewhere."
        )
    return sentences


def digits(value: float | None, places: int = 3) -> str:
    """A number with so many decimal places; a dash where it is undefined."""
    if value is None or not np.isfinite(value):
        return "\N{EN DASH}"
    return f"{value:.{places}f}"


def thousands(value: int) -> str:
    """A count with narrow spaces between the thousands."""
    return f"{value:,}".replace(",", "\u202f")


def words(key: str) -> str:
    """A key of a JSON file for the eye."""
    return key.replace("_", " ")


def breakable(file: str) -> Markup:
    """A path, escaped, that a browser may break after each slash."""
    return Markup("/<wbr>").join(file.split("/"))


def _chosen_on_validation(params: Params, model_card: Mapping[str, Any]) -> list[str]:
    """What makes validation's own figures better than they would be elsewhere."""
    chosen = {
        "the epoch": params.keep == "best" or params.patience > 0,
        "the calibration": "calibration" in model_card,
        "the threshold": model_card["threshold_rule"] in ("youden", "sensitivity"),
    }
    return [name for name, so in chosen.items() if so]


def _cell(metrics: Mapping[str, Any], key: str) -> Cell:
    return Cell(METRICS[key], metrics.get(key), metrics.get(f"{key}_ci95"))


def _group_tables(metrics: Mapping[str, Any], subgroups: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The test set by sub-class, then by sex, age and view as far as they are known."""
    by_class = metrics.get("groups", {}).get("test", {})
    if by_class.keys() - {UNNAMED}:
        yield {"title": "By group", "caption": "The test set by sub-class", **_group_table(by_class)}
    for column, groups in subgroups["test"].items():
        title, caption = SUBGROUP_TITLES[column]
        yield {"title": title, "caption": caption, **_group_table(groups)}


def _group_table(groups: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """A row a group; counts and metrics are there when one group has them."""
    counts = {key: name for key, name in COUNTS.items() if any(key in metrics for metrics in groups.values())}
    keys = [key for key in METRICS if any(key in metrics for metrics in groups.values())]
    rows = [
        (name, [metrics.get(key) for key in counts], [_cell(metrics, key) for key in keys])
        for name, metrics in sorted(groups.items())
    ]
    return {"counts": list(counts.values()), "names": [METRICS[key] for key in keys], "rows": rows}


def _image_table(data: Mapping[str, Any]) -> dict[str, Any]:
    images, patients = data["images"], data["patients"]
    rows = [
        (name, *(images[split][key] for key in (*CLASSES, "total")), patients[split])
        for split, name in SPLITS.items()
    ]
    rows.append(("All", *(sum(column) for column in zip(*(row[1:] for row in rows), strict=True))))
    return {"columns": ("Split", "Normal", "Pneumonia", "Images", "Patients"), "rows": rows}


def _group_counts(groups: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    names = sorted({name for counts in groups.values() for name in counts})
    if names == [UNNAMED]:
        names = []
    rows = [(name, *(groups.get(split, {}).get(name, 0) for split in SPLITS)) for name in names]
    return {"columns": ("Group", *SPLITS.values()), "rows": rows}


def _history_figures(history: pd.DataFrame, best_epoch: int) -> list[tuple[str, Markup]]:
    both = {"train": "Training", "val": "Validation"}
    loss = {f"{split}_loss": name for split, name in both.items()}
    accuracy = {f"{split}_accuracy": name for split, name in both.items()}
    return [
        ("Loss", history_figure(history, loss, "Loss", best_epoch)),
        ("Accuracy", history_figure(history, accuracy, "Accuracy", best_epoch)),
        ("AUROC", history_figure(history, {"val_auroc": "Validation"}, "AUROC", best_epoch)),
    ]


def _test_figures(curves: Curves, test: Mapping[str, Any]) -> list[tuple[str, Markup]]:
    sensitivity, specificity = test.get("sensitivity"), test.get("specificity")
    prevalence = (test["confusion"]["tp"] + test["confusion"]["fn"]) / test["n"]
    called = test["confusion"]["tp"] + test["confusion"]["fp"]
    precision = test["precision"] if called else 1.0  # where the curve begins
    return [
        (f"ROC, area {digits(test.get('auroc'))}", roc_figure(curves.roc, sensitivity, specificity)),
        (
            f"Precision and recall, average {digits(test.get('auprc'))}",
            precision_recall_figure(curves.precision_recall, sensitivity, precision, prevalence),
        ),
    ]


def _gallery_section(gallery: Gallery) -> dict[str, Any]:
    cases = [
        {
            "case": case,
            "plain": image_uri(with_boxes(case) if case.boxes else case.image),
            "overlay": None if case.overlay is None else image_uri(case.overlay),
            "group": case.group if case.group not in ("", case.label) else "",
            "right": case.label == case.predicted,
        }
        for case in gallery.cases
    ]
    return {
        "kind": gallery.kind,
        "title": TITLES[gallery.kind],
        "sentence": count_sentence(gallery, len(cases)) if cases else empty_sentence(gallery),
        "cases": cases,
        "threshold": gallery.threshold,
        "unmapped": gallery.unmapped,
        "has_boxes": gallery.has_boxes,
    }


def _scale(params: Params) -> str:
    """The colours of the overlays, from no evidence to the most, on a mid grey."""
    ramp = np.tile(np.linspace(0, 1, 256, dtype=np.float32), (16, 1))
    grey = np.full(ramp.shape, 160, np.uint8)
    return image_uri(overlay(grey, ramp, colormap(params.gallery.colormap), params.gallery.opacity))


def image_uri(image: NDArray[np.uint8]) -> str:
    """A grey (H, W) or RGB (H, W, 3) image as a JPEG inside a data URI."""
    if max(image.shape[:2]) > LARGEST:
        image = np.asarray(cv2.resize(image, (LARGEST, LARGEST), interpolation=cv2.INTER_AREA), np.uint8)
    if image.ndim == 3:
        image = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), np.uint8)
    _, content = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return "data:image/jpeg;base64," + base64.b64encode(content.tobytes()).decode("ascii")
