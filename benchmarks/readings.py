"""How the probability and the threshold should be read off networks that will see films made otherwise.

`PYTHONPATH=src python -m benchmarks.readings` trains one variant of benchmarks.study with several seeds and
writes benchmarks/results/readings.json. It takes a checkout as benchmarks.study does, and nothing looks at
the test set.

The networks are read in four ways: one by one (figures are means over the seeds) or all together (mean of
their logits), each on the film or on the film and its mirror image. Each way is judged under several rules of
choosing the threshold, on the validation films as they are and, in the mean, as changed in ten ways. The rule
"changed films too" chooses on the films as they are and as changed in the nine other ways.
"""

import argparse
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import study
from benchmarks.changed_films import CHANGES, changed
from benchmarks.machine import machine, report
from pneumonia import paths
from pneumonia.evaluation.threshold import choose_threshold
from pneumonia.network.predict import predict_logits
from pneumonia.network.reading import AS_IT_IS
from pneumonia.params import Evaluate, Training, load_params
from pneumonia.training.data import read_training_data
from pneumonia.training.loop import TrainingData, train

RESULTS = study.RESULTS.with_name("readings.json")
AS_THEY_ARE = "as they are"

Numbers = NDArray[np.float64]
Films = Mapping[str, Numbers]
"""A number a validation film, shape (N,), for the films as they are and for each change."""
Rule = Callable[[NDArray[np.int64], Films, str], float]
"""Labels, probabilities and the name of the films that are to be judged, to a threshold."""


def logits_of(params: Training, data: TrainingData) -> dict[bool, dict[str, Numbers]]:
    """Train a network and read the validation films with it, without and with their mirror images."""
    trained = train(params, data, study.ROOT)
    films = np.asarray(data.images[data.val_rows])
    sets = {AS_THEY_ARE: films} | {name: changed(films, change) for name, change in CHANGES.items()}
    rows = np.arange(len(films))
    found = {
        flips: {
            name: predict_logits(
                trained.module, trained.description, images, rows, trained.compute, flips=flips
            )
            for name, images in sets.items()
        }
        for flips in (False, True)
    }
    trained.states.remove()
    return found


def rules(judge: Evaluate) -> dict[str, Rule]:
    """Ways of choosing a threshold."""
    strict = judge.model_copy(update={"threshold_rule": "sensitivity", "sensitivity": 0.95})
    balanced = judge.model_copy(update={"threshold_rule": "youden"})

    def on_changed_films_too(label: NDArray[np.int64], said: Films, judged: str) -> float:
        others = [said[name] for name in said if name != judged or name == AS_THEY_ARE]
        return choose_threshold(np.tile(label, len(others)), np.concatenate(others), balanced)

    return {
        "youden": lambda label, said, _: choose_threshold(label, said[AS_THEY_ARE], balanced),
        "sensitivity 0.95": lambda label, said, _: choose_threshold(label, said[AS_THEY_ARE], strict),
        "youden, changed films too": on_changed_films_too,
    }


def judged(label: NDArray[np.int64], logits: list[Films], rule: Rule) -> dict[str, dict[str, float]]:
    """Figures on the films as they are and, in the mean, changed; mean over several networks."""
    of_each = []
    for one in logits:
        said = {name: AS_IT_IS.probability(values) for name, values in one.items()}
        found = {name: study.figures(label, said[name], rule(label, said, name)) for name in said}
        plain = found.pop(AS_THEY_ARE)
        of_each.append({AS_THEY_ARE: plain, "changed, mean": _mean(list(found.values()))})
    return {films: _mean([of[films] for of in of_each]) for films in of_each[0]}


def _mean(found: list[dict[str, float]]) -> dict[str, float]:
    return {name: round(float(np.mean([of[name] for of in found])), 4) for name in found[0]}


def readings(label: NDArray[np.int64], networks: list[dict[bool, Films]], judge: Evaluate) -> dict[str, Any]:
    """The four ways to read the networks under each rule."""
    table = {}
    for flips, how in ((False, ""), (True, ", with the mirror image")):
        each = [dict(network[flips]) for network in networks]
        together = {name: np.mean([one[name] for one in each], axis=0) for name in each[0]}
        for count, films in ((1, each), (len(each), [together])):
            name = f"{count} network{'s' if count > 1 else ''}{how}"
            table[name] = {rule: judged(label, films, choose) for rule, choose in rules(judge).items()}
    return table


def main() -> None:
    """Train, read, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--variant", required=True, choices=study.VARIANTS, metavar="NAME")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    chosen = parser.parse_args()
    params = load_params(study.ROOT / "params.yaml")
    data = read_training_data(paths.INDEX, paths.SPLIT, paths.STATISTICS, paths.IMAGES)
    variant = study.VARIANTS[chosen.variant]
    networks = [
        logits_of(study.settings(params.training, {**variant, "seed": seed}), data) for seed in chosen.seeds
    ]
    report(
        {
            "what": "ways to read networks on validation films that were changed",
            "command": f"PYTHONPATH=src python -m benchmarks.readings --variant {chosen.variant!r}",
            "images": f"{len(data.train_rows)} to learn from, {len(data.val_rows)} of validation",
            "size": data.images.shape[1],
            "variant": variant,
            "seeds": chosen.seeds,
            **machine("torch", "timm", "lightning", "numpy"),
            "readings": readings(data.val_labels, networks, params.evaluate),
        },
        RESULTS,
    )


if __name__ == "__main__":
    main()
