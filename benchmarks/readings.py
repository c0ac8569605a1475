"""How the probability and the threshold should be read off networks that will see films made otherwise.

`PYTHONPATH=src python -m benchmarks.readings RECIPE WEIGHTS...` reads the validation films with networks that
a recipe made with several seeds, and writes what it finds to benchmarks/results/readings.json. It takes
images and split of the checkout, which must be the recipe's (`dvc repro split` with its settings), and the
files of weights (`models/model.safetensors` of each experiment). Nothing looks at the test set.

The networks are read in four ways: one by one (figures are means over the seeds) or all together (mean of
their logits), each on the film or on the film and its mirror image. Each way is judged under several rules of
choosing the threshold, on the validation films as they are and, in the mean, as changed in ten ways. The rule
"changed films too" chooses on the films as they are and as changed in the nine other ways.
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from benchmarks import study
from benchmarks.changed_films import CHANGES, changed
from benchmarks.machine import machine, report
from benchmarks.study import AS_THEY_ARE, CHANGED, mean
from pneumonia import paths
from pneumonia.command_line import ended_in_words
from pneumonia.errors import UserError
from pneumonia.evaluation.calibration import fit_calibration
from pneumonia.evaluation.threshold import choose_threshold
from pneumonia.network.device import Compute, choose_compute
from pneumonia.network.predict import predict_logits
from pneumonia.network.reading import AS_IT_IS, Reading
from pneumonia.network.weights import load_weights
from pneumonia.params import Evaluate, load_params
from pneumonia.training.data import read_training_data

RESULTS = study.RESULTS.with_name("readings.json")
CALIBRATIONS = get_args(Evaluate.model_fields["calibration"].annotation)

Numbers = NDArray[np.float64]
Labels = NDArray[np.int64]
Films = Mapping[str, Numbers]
"""A number a validation film, shape (N,), for the films as they are and for each change."""
Network = Mapping[bool, Films]
"""Logits of one network, without and with the mirror images."""
Rule = Callable[[Labels, Films, str], float]
"""Labels, probabilities and the name of the films that are to be judged, to a threshold."""


def logits_of(weights: Path, films: NDArray[np.uint8], compute: Compute) -> dict[bool, dict[str, Numbers]]:
    """Read the films, of shape (N, S, S), without and with their mirror images.

    Raises:
        UserError: the file holds no weights, or those of a network for other films.
    """
    module, description = load_weights(weights)
    if description.size != films.shape[1]:
        raise UserError(f"{weights} is for films of {description.size} pixels, these have {films.shape[1]}.")
    sets = {AS_THEY_ARE: films} | {name: changed(films, change) for name, change in CHANGES.items()}
    rows = np.arange(len(films))
    straight, mirrored = (
        {
            name: predict_logits(module, description, images[..., ::step], rows, compute)
            for name, images in sets.items()
        }
        for step in (1, -1)
    )
    return {False: straight, True: {name: (straight[name] + mirrored[name]) / 2 for name in sets}}


def rules(judge: Evaluate) -> dict[str, Rule]:
    """Ways of choosing a threshold."""
    strict = judge.model_copy(update={"threshold_rule": "sensitivity", "sensitivity": 0.95})
    balanced = judge.model_copy(update={"threshold_rule": "youden"})

    def on_changed_films_too(label: Labels, said: Films, judged: str) -> float:
        others = [said[name] for name in said if name != judged or name == AS_THEY_ARE]
        return choose_threshold(np.tile(label, len(others)), np.concatenate(others), balanced)

    return {
        "youden": lambda label, said, _: choose_threshold(label, said[AS_THEY_ARE], balanced),
        "sensitivity 0.95": lambda label, said, _: choose_threshold(label, said[AS_THEY_ARE], strict),
        "youden, changed films too": on_changed_films_too,
    }


def judged(label: Labels, logits: Sequence[Films], rule: Rule) -> dict[str, dict[str, float]]:
    """Figures on the films as they are and, in the mean, changed; mean over several networks."""
    of_each = []
    for one in logits:
        said = {name: AS_IT_IS.probability(values) for name, values in one.items()}
        found = {name: study.figures(label, said[name], rule(label, said, name)) for name in said}
        plain = found.pop(AS_THEY_ARE)
        of_each.append({AS_THEY_ARE: plain, CHANGED: mean(list(found.values()))})
    return {films: mean([of[films] for of in of_each]) for films in of_each[0]}


def readings(label: Labels, networks: Sequence[Network], judge: Evaluate) -> dict[str, Any]:
    """The four ways to read the networks under each rule."""
    table = {}
    for flips, how in ((False, ""), (True, ", with the mirror image")):
        each = [network[flips] for network in networks]
        together = {name: np.mean([one[name] for one in each], axis=0) for name in each[0]}
        for count, films in ((1, each), (len(each), [together])):
            name = f"{count} network{'s' if count > 1 else ''}{how}"
            table[name] = {rule: judged(label, films, choose) for rule, choose in rules(judge).items()}
    return table


def calibrations(label: Labels, networks: Sequence[Network]) -> dict[str, Any]:
    """Brier score of one network with each calibration, fitted on the films as they are; means over seeds."""
    table: dict[str, dict[str, float]] = {}
    for kind in CALIBRATIONS:
        of_each = []
        for network in networks:
            line = fit_calibration(label, network[False][AS_THEY_ARE], kind)
            reading = Reading(calibration=line)
            brier = {
                name: float(np.mean((reading.probability(logits) - label) ** 2))
                for name, logits in network[False].items()
            }
            plain = brier.pop(AS_THEY_ARE)
            of_each.append({AS_THEY_ARE: plain, CHANGED: float(np.mean(list(brier.values())))})
        table[kind] = mean(of_each)
    return table


def main() -> None:
    """Read, judge, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("recipe", help="under which the figures are written")
    parser.add_argument("weights", nargs="+", type=Path, help="of its networks, a safetensors file each")
    chosen = parser.parse_args()
    params = load_params(study.ROOT / "params.yaml")
    data = read_training_data(paths.INDEX, paths.SPLIT, paths.STATISTICS, paths.IMAGES)
    compute = choose_compute(
        params.device, params.precision, params.threads, deterministic=params.deterministic
    )
    films = np.asarray(data.images[data.val_rows])
    networks = [logits_of(path, films, compute) for path in chosen.weights]
    found = json.loads(RESULTS.read_text("utf-8"))["recipes"] if RESULTS.exists() else {}
    found[chosen.recipe] = {
        "readings": readings(data.val_labels, networks, params.evaluate),
        "calibrations": calibrations(data.val_labels, networks),
    }
    report(
        {
            "what": "ways to read networks on validation films that were changed",
            "command": "PYTHONPATH=src python -m benchmarks.readings RECIPE WEIGHTS...",
            "images": f"{len(films)} of validation",
            **machine("torch", "timm", "numpy"),
            "recipes": found,
        },
        RESULTS,
    )


if __name__ == "__main__":
    with ended_in_words():
        main()
