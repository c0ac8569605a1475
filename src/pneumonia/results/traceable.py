"""Whether an experiment's results come from its own parameters.

Metrics and curves are files in git: an experiment of which a part was run, or that saves a changed
params.yaml, carries those of the commit on which it was started.
"""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pneumonia import paths
from pneumonia.errors import UserError
from pneumonia.params import parse_yaml
from pneumonia.recipes import PARAMS
from pneumonia.results.experiments import Experiment, read_at
from pneumonia.verification.lock import LOCK, PIPELINE, digests, unequal_params

RESULTS = (paths.EVALUATE_METRICS, paths.TRAIN_METRICS, paths.HISTORY, paths.DATA_REPORT)
"""What is read of an experiment."""


def untraceable(experiment: Experiment, root: Path) -> list[str]:
    """A phrase for each thing that keeps its results from being those of its params.yaml.

    There is none where by its dvc.lock the stages that made the results ran with these parameters, each on
    what the one before it wrote, and the results are the files that they wrote.
    """
    try:
        declared, lock, params = (
            _yaml_at(root, experiment, path) for path in (Path(PIPELINE), Path(LOCK), PARAMS)
        )
    except UserError as error:
        return [str(error)]
    # DVC leaves the entry of a stage that is no more.
    known = declared.get("stages", {})
    stages = {name: stage for name, stage in lock.get("stages", {}).items() if name in known}
    makers = {path: name for name, stage in stages.items() for path in digests(stage, "outs")}
    missing = list(_missing(experiment, root, stages, makers))
    return missing or list(dict.fromkeys(_broken_links(stages, makers, params)))


def _missing(
    experiment: Experiment, root: Path, stages: Mapping[str, Any], makers: Mapping[str, str]
) -> Iterator[str]:
    """Results that are not there, or that no stage is on record to have written."""
    for path in map(Path.as_posix, RESULTS):
        text = read_at(root, experiment, Path(path))
        if text is None:
            yield f"it has no {path}"
        elif path not in makers:
            yield f"no stage in its {LOCK} wrote {path}"
        elif _md5(text) != digests(stages[makers[path]], "outs")[path]:
            yield f"its {path} is not what {makers[path]} wrote"


def _broken_links(
    stages: Mapping[str, Any], makers: Mapping[str, str], params: Mapping[str, Any]
) -> Iterator[str]:
    """Parameters and inputs of the stages behind the results that are not those with which they ran."""
    behind = list(dict.fromkeys(makers[path.as_posix()] for path in RESULTS))
    for name in behind:  # it grows by the stages before
        for key, now, then in unequal_params(stages[name], params):
            yield f"{key} is {now} in its {PARAMS}, {name} ran with {then}"
        for path, md5 in digests(stages[name], "deps").items():
            maker = makers.get(path)
            if maker is None:
                continue
            if md5 != digests(stages[maker], "outs")[path]:
                yield f"{name} did not run on the {path} that {maker} wrote"
            if maker not in behind:
                behind.append(maker)


def _yaml_at(root: Path, experiment: Experiment, path: Path) -> dict[str, Any]:
    text = read_at(root, experiment, path)
    if text is None:
        raise UserError(f"it has no {path}")
    return parse_yaml(text, str(path))


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
