"""`PYTHONPATH=src python -m tests.kill 100` kills the pipeline so many times and then compares its bytes.

Every ROUND kills a copy of a finished repository is taken. Its stages are killed at random moments, several
times each, by SIGKILL, SIGTERM and SIGINT; some kills take `dvc repro` along. Then `dvc repro` runs with none
of DVC's records left, only with what the killed processes have left behind, and must end with the same
dvc.lock and the same bytes in every output. Anything else ends the script with status 1.
"""

import multiprocessing
import os
import random
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import yaml

from pneumonia.training.resume import FOLDER
from tests.kill_hook import sitecustomize
from tests.pipeline.conftest import CHECKOUT, TINY, Repository, copy_of_checkout

STAGES = ("download", "preprocess", "split", "train", "evaluate", "gallery")
ROUND = 20
WITH_DVC = 2
"""Of a round's kills: those that hit `dvc repro` and all below it, wherever it is. They are the slow ones."""

SIGNALS = ("SIGKILL", "SIGKILL", "SIGTERM", "SIGINT")
KINDS = ("disk", "any")


@dataclass(frozen=True)
class Moment:
    """When to kill, and how: see `sitecustomize.arm`."""

    kind: str
    number: int
    signal: str


def kill_and_compare(reference: Repository, folder: Path, kills: int, seed: int) -> Iterator[str]:
    """Kill `kills` times, rebuild and compare.

    Args:
        reference: a repository after `dvc repro` and a commit; it stays as it is.
        folder: an empty one.
        kills: how many.
        seed: of the moments.

    Yields:
        What became of each process; last, "the same bytes" or each DIFFERENCE.
    """
    dice = random.Random(seed)
    repository = Repository(folder / "killed")
    root, log = repository.root, folder / "log"
    shutil.copytree(reference.root, root, symlinks=True)
    with_dvc = min(WITH_DVC, kills // len(STAGES))
    counts: dict[str, dict[str, int]] = {}
    for number in range(kills - with_dvc):
        stage = STAGES[number * len(STAGES) // (kills - with_dvc)]
        if stage not in counts:
            status, counts[stage] = run_stage(root, stage, log)
            assert status == 0, log.read_text("utf-8")
        kind = dice.choice(KINDS)
        moment = Moment(kind, dice.randint(1, counts[stage][kind]), dice.choice(SIGNALS))
        while (status := run_stage(root, stage, log, moment)[0]) == 0:
            # It was over before, with less to do than when the events were counted.
            yield from differences(root, reference.root, outputs(root, stage))
            moment = replace(moment, number=max(1, moment.number // 2), signal="SIGKILL")
        yield f"{stage} by {moment.signal}: {_in_words(status)}"
        restore(root, reference.root, stage)
    # One more, not at random, so that there is something to resume for sure.
    shutil.rmtree(root / FOLDER, ignore_errors=True)
    run_stage(root, "train", log, Moment("state", 2, "SIGKILL"))
    (root / "dvc.lock").unlink()
    printed = ""
    for _ in range(with_dvc):
        word = dice.choice((*(f"stages.{stage}" for stage in STAGES), "bin/dvc"))
        most = 300 if word == "bin/dvc" else counts[word.removeprefix("stages.")]["disk"]
        end, output = kill_dvc(repository, word, Moment("disk", dice.randint(1, most), "SIGKILL"))
        yield f"dvc at {word}: {end}"
        printed += output
    printed += repository.dvc("repro", "--no-run-cache")
    found = differences(root, reference.root, [Path("dvc.lock"), *outputs(root)])
    found += [] if "resuming after epoch 1 of" in printed else ["DIFFERENCE: nothing was resumed"]
    # What killed processes have left, and nobody would ever remove.
    left = [*(root / FOLDER).glob("*"), *(path for path in root.rglob("*.part") if ".dvc" not in path.parts)]
    found += [f"DIFFERENCE: {path.relative_to(root)} was left over" for path in left]
    yield from found or ["the same bytes"]


def run_stage(root: Path, stage: str, log: Path, moment: Moment | None = None) -> tuple[int, dict[str, int]]:
    """Run a stage as DVC does, in a process that has its libraries loaded; None kills it not at all.

    Returns:
        Exit status, below 0 for a signal; how many events of each kind there were, where it ended well.
    """
    remove(root, stage)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([f"stages.{stage}" for stage in STAGES])
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_stage, args=(root, stage, log, moment, theirs))
    process.start()
    theirs.close()
    try:
        counts: dict[str, int] = ours.recv()
    except EOFError:
        counts = {}
    process.join()
    assert process.pid is not None
    assert process.exitcode is not None
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # workers that wait for more to do
    return process.exitcode, counts


def _stage(root: Path, stage: str, log: Path, moment: Moment | None, counts: Connection) -> None:
    os.setsid()  # a group of its own, for the signal
    os.chdir(root)
    for name in [name for name in os.environ if name.startswith(("DVC_", "MLFLOW_"))]:
        del os.environ[name]
    os.environ["DVC_ROOT"] = str(root)
    with log.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    kind, number, name = (moment.kind, moment.number, moment.signal) if moment else ("any", -1, "SIGKILL")
    counted = sitecustomize.arm(kind, number, name)
    status = 1
    try:
        runpy.run_module(f"stages.{stage}", run_name="__main__")
        counts.send(dict(counted))
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    finally:
        os._exit(status)  # without waiting for workers, as multiprocessing would


def kill_dvc(repository: Repository, word: str, moment: Moment) -> tuple[str, str]:
    """Run `dvc repro` until the process with `word` in its command line comes to its moment.

    Returns:
        How it ended, and what it printed.
    """
    environment = repository.environment(
        PYTHONPATH=str(CHECKOUT / "tests" / "kill_hook"),
        KILL=f"{word} {moment.kind} {moment.number} {moment.signal}",
    )
    done = subprocess.run(
        ["dvc", "repro", "--no-run-cache"],
        cwd=repository.root,
        env=environment,
        start_new_session=True,  # a group of its own, for the signal
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return _in_words(done.returncode), done.stdout


def outputs(root: Path, stage: str | None = None) -> list[Path]:
    """Files and folders that a stage, or any, writes; relative to the root."""
    stages: dict[str, Any] = yaml.safe_load((root / "dvc.yaml").read_text("utf-8"))["stages"]
    wanted = [stages[stage]] if stage else list(stages.values())
    kinds = ("outs", "metrics", "plots")
    entries = [entry for body in wanted for kind in kinds for entry in body.get(kind, [])]
    return [Path(entry if isinstance(entry, str) else next(iter(entry))) for entry in entries]


def remove(root: Path, stage: str) -> None:
    """Remove a stage's outputs, as DVC does before each run."""
    for out in outputs(root, stage):
        if (root / out).is_dir():
            shutil.rmtree(root / out)
        (root / out).unlink(missing_ok=True)


def restore(root: Path, reference: Path, stage: str) -> None:
    """Put the right outputs of a stage in place, for the stages after it."""
    remove(root, stage)
    for out in outputs(root, stage):
        (root / out).parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (reference / out).is_dir() else shutil.copy2
        copy(reference / out, root / out)


def differences(root: Path, reference: Path, places: list[Path]) -> list[str]:
    """Which files and folders are not as in the reference."""
    return [f"DIFFERENCE: {place}" for place in places if _bytes(root / place) != _bytes(reference / place)]


def _bytes(path: Path) -> dict[Path, bytes]:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return {file.relative_to(path): file.read_bytes() for file in files}


def _in_words(status: int) -> str:
    return f"killed by {signal.Signals(-status).name}" if status < 0 else f"ended with {status}"


def main(count: int, seed: int = 0) -> int:
    """Run all rounds and print a table; return the exit status."""
    seen: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as place:
        reference = copy_of_checkout(Path(place, "reference"))
        reference.set_params(**TINY | {"epochs": 6})
        reference.commit("tiny parameters")
        reference.dvc("repro")
        reference.commit("tiny run")
        for start in range(0, count, ROUND):
            folder = Path(place, "round")
            folder.mkdir()
            for result in kill_and_compare(reference, folder, min(ROUND, count - start), seed + start):
                print(result, flush=True)
                seen[result] += 1
            shutil.rmtree(folder)
    print()
    for result, number in sorted(seen.items()):
        print(f"{number:4} {result}")
    return int(any(result.startswith("DIFFERENCE") for result in seen))


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
