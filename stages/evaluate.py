"""Choose the threshold on validation; then, once, look at the test set."""

from pathlib import Path

import numpy as np

from pneumonia import paths
from pneumonia.evaluation.calibration import fit_calibration, with_calibration
from pneumonia.evaluation.curves import curves
from pneumonia.evaluation.predictions import as_positive, predict, tabulate
from pneumonia.evaluation.summary import evaluate as compute_metrics
from pneumonia.evaluation.summary import evaluate_subgroups
from pneumonia.evaluation.threshold import choose_threshold, chosen_by
from pneumonia.network.device import choose_compute
from pneumonia.network.predict import predict_logits
from pneumonia.network.reading import Reading
from pneumonia.network.weights import load_weights
from pneumonia.params import Params
from pneumonia.split_table import read_split
from pneumonia.store import open_images, read_index
from pneumonia.tracking.record import record_evaluation
from pneumonia.writing import write_metrics, write_table, write_text
from stages.entry import run


def evaluate(params: Params) -> None:
    """Write predictions, metrics, curves and the model card."""
    compute = choose_compute(
        params.device, params.precision, params.threads, deterministic=params.deterministic
    )
    index = read_index(paths.INDEX)
    split = read_split(paths.SPLIT, index)
    rows = np.flatnonzero(split.isin(("val", "test")))
    module, description = load_weights(paths.WEIGHTS)
    images = open_images(paths.IMAGES)
    flips = params.evaluate.flips
    logits = predict_logits(module, description, images, rows, compute, flips=flips, progress="evaluate")
    of_val = (split.iloc[rows] == "val").to_numpy()
    label = as_positive(index["label"].iloc[rows])
    calibration = fit_calibration(label[of_val], logits[of_val], params.evaluate.calibration)
    reading = Reading(flips=flips, calibration=calibration)

    table = tabulate(index.iloc[rows], split.iloc[rows], reading.probability(logits))
    val = table[table["split"] == "val"]
    threshold = choose_threshold(as_positive(val["label"]), val["probability"].to_numpy(), params.evaluate)
    predictions = predict(table, threshold)

    write_table(paths.PREDICTIONS, predictions)
    metrics = compute_metrics(predictions, threshold, params.evaluate)
    write_metrics(paths.EVALUATE_METRICS, with_calibration(metrics, calibration))
    write_metrics(paths.SUBGROUPS, evaluate_subgroups(predictions, threshold, params.evaluate))
    for name, curve in curves(predictions, params.evaluate.calibration_bins).items():
        write_table(paths.CURVES / f"{name}.csv", curve)
    rule = chosen_by(params.evaluate.threshold_rule, metrics["val"])
    write_text(paths.MODEL_CARD, description.card(reading, threshold, rule))
    record_evaluation(Path.cwd(), params)


if __name__ == "__main__":
    run(evaluate)
