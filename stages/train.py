"""Train the network on the training split; keep the epoch that is best on validation."""

from pathlib import Path

import pandas as pd

from pneumonia import paths
from pneumonia.network.device import limits_in_words
from pneumonia.network.weights import save_weights
from pneumonia.params import Params
from pneumonia.processes import this_process
from pneumonia.tracking.record import track_training
from pneumonia.training.data import read_training_data
from pneumonia.training.loop import Trained
from pneumonia.training.loop import train as fit
from pneumonia.writing import write_metrics, write_table
from stages.entry import repository_root, run
from stages.recorded import recorded


def train(params: Params) -> None:
    """Write the best weights, the history of the epochs and the metrics of the best one.

    Of several processes that train together the first one does; the others only train.
    """
    before = recorded("train")
    data = read_training_data(paths.INDEX, paths.SPLIT, paths.STATISTICS, paths.IMAGES)
    if not this_process(params.devices, params.nodes).first:
        with limits_in_words(params.arch):
            fit(params.training, data, repository_root())
        return
    with track_training(Path.cwd(), params) as log:
        with limits_in_words(params.arch):
            trained = fit(params.training, data, repository_root(), on_epoch=log.log_epoch)
        save_weights(paths.WEIGHTS, trained.module, trained.description)
        write_table(paths.HISTORY, pd.DataFrame(trained.history))
        write_metrics(paths.TRAIN_METRICS, summarise(trained))
    before.require_unchanged()  # here, too: what was learned would be gone
    trained.states.remove()


def summarise(trained: Trained) -> dict[str, object]:
    """Metrics of the best epoch, and on what it was trained."""
    best = trained.history[trained.best_epoch]
    return {
        "best_epoch": trained.best_epoch,
        "epochs": len(trained.history),
        **{name: value for name, value in best.items() if name not in ("epoch", "lr")},
        "parameters": sum(parameter.numel() for parameter in trained.module.parameters()),
        "device": trained.compute.device.type,
        "precision": trained.compute.precision,
    }


if __name__ == "__main__":
    run(train, together=True)
