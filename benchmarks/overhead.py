"""What the pipeline itself costs: DVC's part, and the start of each stage.

`PYTHONPATH=src python -m benchmarks.overhead` writes benchmarks/results/overhead.json in about ten minutes;
with `--quick` it takes two and writes nothing.

Everything runs in temporary repositories, copies of this checkout, and with the real commands.

- `dvc repro` with nothing to do, against the same of a pipeline of three lines and of one with as many stages
  as ours, in turns; once for few images and once for as many as RSNA has, all of noise: DVC's part depends on
  the files alone.
- An experiment in a temporary directory, `dvc exp run --temp -S seed=1`: its time without that of the stages.
- The imports of each stage, against a Python that starts and does nothing.
- `dvc repro` of the checkout as it is: the time of each stage and the rest, which is DVC's.
"""

import argparse
import os
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.machine import machine, report
from benchmarks.turns import ratios, seconds, spread, take_turns
from pneumonia.classes import CLASSES
from tests.pipeline.conftest import TINY, Repository, copy_of_checkout

RESULTS = Path(__file__).parent / "results" / "overhead.json"
STAGES = ("download", "preprocess", "split", "train", "evaluate", "gallery")
RSNA = 26_684
EMPTY = """\
stages:
  nothing:
    {cmd: git --version > version.txt, outs: [version.txt]}
"""
SIX_STAGES = "stages:\n" + "".join(
    f"  idle{stage}:\n    {{cmd: git --version > {stage}.txt, outs: [{stage}.txt]}}\n" for stage in range(6)
)
QUIET = "[core]\n    analytics = false\n    check_update = false\n"
SMALL = TINY | {
    "epochs": 1,
    "warmup_epochs": 0,
    "source.name": "folder",
    "source.path": "../noise.zip",
    "preprocess.size": 48,
}
NOTES_ITS_TIME = """\
import atexit, os, sys, time
start, log = time.time(), os.environ.get("STAGE_TIMES")
if log and sys.orig_argv[1:2] == ["-m"] and sys.orig_argv[2].startswith("stages."):
    def note(stage=sys.orig_argv[2]):
        with open(log, "a") as file:
            file.write(f"{stage.removeprefix('stages.')} {time.time() - start}\\n")
    atexit.register(note)
"""
"""Run by Python before the stage, as sitecustomize.py."""


def write_noise(path: Path, count: int) -> None:
    """Write so many different small images in class folders."""
    dice = np.random.default_rng(0)
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(count):
            picture = dice.integers(0, 256, (48, 48), dtype=np.uint8)
            name = f"{CLASSES[number % 2]}/{number:06d}.png"
            archive.writestr(name, cv2.imencode(".png", picture)[1].tobytes())


def empty_repository(root: Path, pipeline: str) -> Repository:
    """Make a repository of a pipeline that does nothing, and run it."""
    root.mkdir()
    (root / "dvc.yaml").write_text(pipeline, encoding="utf-8")
    repository = Repository(root)
    repository.run("git", "init", "--quiet")
    repository.dvc("init", "--quiet")
    (root / ".dvc" / "config").write_text(QUIET, encoding="utf-8")
    repository.dvc("repro")
    return repository


def our_repository(root: Path, values: dict[str, Any]) -> Repository:
    """Copy the checkout, with other parameters, and commit."""
    root.mkdir()
    repository = copy_of_checkout(root)
    if values:
        repository.set_params(**values)
    repository.commit("as measured")
    return repository


def timed(repository: Repository, *command: str) -> dict[str, float]:
    """Run DVC; seconds of each stage that ran, and of the rest."""
    with tempfile.TemporaryDirectory() as place:
        Path(place, "sitecustomize.py").write_text(NOTES_ITS_TIME, encoding="utf-8")
        log = Path(place, "times.txt")
        log.touch()
        whole = seconds(lambda: repository.dvc(*command, STAGE_TIMES=str(log), PYTHONPATH=os.fspath(place)))
        lines = [line.split() for line in log.read_text("utf-8").splitlines()]
    stages = {name: float(taken) for name, taken in lines}
    return {**stages, "rest": whole - sum(stages.values())}


def nothing_to_do(repository: Repository, empty: dict[str, Repository], rounds: int) -> dict[str, Any]:
    """Seconds of `dvc repro` in all, and the ratios."""
    ways = {"ours": repository, **empty}
    for way in ways.values():  # what is done at first use only
        assert "Running stage" not in way.dvc("repro")
    spent = take_turns(
        {name: partial(seconds, partial(way.dvc, "repro")) for name, way in ways.items()}, rounds
    )
    return {
        "ratios": {f"ours over {name}": ratios(spent["ours"], spent[name]) for name in empty},
        "seconds": {name: spread(times, 2) for name, times in spent.items()},
    }


def imports(repository: Repository, rounds: int) -> dict[str, dict[str, float]]:
    """Seconds of a Python that imports a stage and ends."""
    statements = {"nothing": "pass", **{stage: f"import stages.{stage}" for stage in STAGES}}
    for statement in statements.values():  # what is compiled at first use only
        repository.run(sys.executable, "-c", statement)
    spent = take_turns(
        {
            name: partial(seconds, partial(repository.run, sys.executable, "-c", statement))
            for name, statement in statements.items()
        },
        rounds,
    )
    return {name: spread(times, 2) for name, times in spent.items()}


def with_images(place: Path, count: int, empty: dict[str, Repository], rounds: int) -> dict[str, Any]:
    """A rebuild, nothing to do, and an experiment in a temporary directory, with so many images."""
    folder = place / f"{count} images"
    folder.mkdir()
    write_noise(folder / "noise.zip", count)
    repository = our_repository(folder / "checkout", SMALL)
    rebuild = timed(repository, "repro")
    repository.commit("built")
    return {
        "nothing_to_do": nothing_to_do(repository, empty, rounds),
        "rebuild_seconds": rounded(rebuild),
        "temporary_experiment_seconds": rounded(timed(repository, "exp", "run", "--temp", "-S", "seed=1")),
    }


def rounded(times: dict[str, float]) -> dict[str, float]:
    """To tenths."""
    return {name: round(taken, 1) for name, taken in times.items()}


def measure(counts: Iterable[int], rounds: int, *, default: bool) -> dict[str, Any]:
    """Measure it all; `default` with the rebuild of the checkout as it is."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        empty = {
            "three lines": empty_repository(place / "empty", EMPTY),
            "six stages that do nothing": empty_repository(place / "six", SIX_STAGES),
        }
        found: dict[str, Any] = {
            "what": "seconds of DVC and of the stages' imports",
            "command": "PYTHONPATH=src python -m benchmarks.overhead",
            "rounds": rounds,
            **machine("dvc", "torch", "lightning", "mlflow"),
            "images": {str(count): with_images(place, count, empty, rounds) for count in counts},
        }
        as_is = our_repository(place / "as it is", {})
        found["imports_seconds"] = imports(as_is, rounds)
        if default:
            found["default_run_seconds"] = rounded(timed(as_is, "repro"))
    return found


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few images only; nothing is written")
    quick = parser.parse_args().quick
    found = measure([96], 2, default=False) if quick else measure([900, RSNA], 9, default=True)
    report(found, None if quick else RESULTS)


if __name__ == "__main__":
    main()
