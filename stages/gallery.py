"""Show the failures on the test set, and set everything in one report."""

import json
from pathlib import Path

import pandas as pd

from pneumonia import paths
from pneumonia.evaluation.predictions import read_predictions
from pneumonia.gallery.cases import make_galleries
from pneumonia.gallery.figures import read_curves
from pneumonia.gallery.report import write_report
from pneumonia.gallery.selection import select
from pneumonia.gallery.sheets import write_sheet
from pneumonia.network.device import choose_compute
from pneumonia.network.weights import load_weights
from pneumonia.params import Params
from pneumonia.store import open_images, read_index
from pneumonia.tracking.record import record_gallery
from stages.entry import run


def gallery(params: Params) -> None:
    """Write the sheets of failures and the report."""
    compute = choose_compute(params.device, "fp32", params.threads, deterministic=params.deterministic)
    module, description = load_weights(paths.WEIGHTS)
    card, data, training, metrics, subgroups = (
        json.loads(path.read_text(encoding="utf-8"))
        for path in (
            paths.MODEL_CARD,
            paths.DATA_REPORT,
            paths.TRAIN_METRICS,
            paths.EVALUATE_METRICS,
            paths.SUBGROUPS,
        )
    )
    selections = select(
        read_predictions(paths.PREDICTIONS),
        card["threshold"],
        params.gallery.worst,
        params.gallery.borderline,
    )
    galleries = make_galleries(
        selections,
        open_images(paths.IMAGES),
        read_index(paths.INDEX),
        module.to(compute.device),
        description,
        params.gallery,
    )
    for shown in galleries:
        write_sheet(paths.GALLERY / f"{shown.kind}.png", shown, params.gallery)
    write_report(
        paths.REPORT,
        metrics=metrics,
        subgroups=subgroups,
        data=data,
        training=training,
        history=pd.read_csv(paths.HISTORY),
        curves=read_curves(paths.CURVES),
        galleries=galleries,
        params=params,
        model_card=card,
    )
    record_gallery(Path.cwd(), params)


if __name__ == "__main__":
    run(gallery)
