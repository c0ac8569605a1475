"""A repository with recipes and finished experiments, made with git alone, and results made up."""

import hashlib
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from dvc.utils.serialize import modify_yaml

from pneumonia.params import parse_yaml
from pneumonia.results.record import Interval, Machine, Measured, Result, Trained

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "tests/unit/finished_experiment"
"""Result files of a real run."""
FILES = {
    "metrics/data.json": "data.json",
    "metrics/evaluate.json": "evaluate.json",
    "metrics/train.json": "train.json",
    "plots/history.csv": "history.csv",
}
MACHINE = Machine(processor="Some CPU", cores=2, system="Linux x86_64", versions={"torch": "2.13"})


def git(root: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
    return subprocess.run(
        ["git", "-C", str(root), *identity, *arguments], capture_output=True, text=True, check=True
    ).stdout.strip()


def make_checkout(root: Path) -> Path:
    """params.yaml and recipes/ of this repository in a new one with stages by name, committed."""
    shutil.copy(ROOT / "params.yaml", root)
    shutil.copytree(ROOT / "recipes", root / "recipes")
    if not (root / "dvc.yaml").exists():
        (root / "dvc.yaml").write_text("stages: {split: {}, train: {}, evaluate: {}, gallery: {}}", "utf-8")
    git(root, "init", "--quiet")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "start")
    return root


def lock_of(root: Path) -> dict[str, Any]:
    """dvc.lock of a run of three stages that ends with the parameters and results that lie there."""

    def entry(path: str, content: bytes = b"") -> dict[str, str]:
        file = root / path
        content = content or (file.read_bytes() if file.exists() else b"")
        return {"path": path, "md5": hashlib.md5(content, usedforsecurity=False).hexdigest()}

    params = parse_yaml((root / "params.yaml").read_text("utf-8"), "params.yaml")
    split, weights = ("data/split/split.csv", b"split"), ("models/model.safetensors", b"weights")
    stages = {
        "split": ([], ["split"], [entry(*split), entry("metrics/data.json")]),
        "train": (
            [entry(*split)],
            ["lr", "augment"],
            [entry(*weights), entry("metrics/train.json"), entry("plots/history.csv")],
        ),
        "evaluate": ([entry(*weights), entry(*split)], ["evaluate"], [entry("metrics/evaluate.json")]),
    }
    return {
        "stages": {
            name: {"deps": deps, "params": {"params.yaml": {key: params[key] for key in keys}}, "outs": outs}
            for name, (deps, keys, outs) in stages.items()
        }
    }


def add_experiment(
    root: Path,
    name: str,
    settings: dict[str, Any],
    leave_out: tuple[str, ...] = (),
    change: Callable[[dict[str, Any]], None] = lambda lock: None,
) -> str:
    """What `dvc exp run` leaves: a commit with parameters and results, at a ref below that of HEAD.

    `change` spoils its dvc.lock.
    """
    with modify_yaml(root / "params.yaml") as params:
        for key, value in settings.items():
            *sections, last = key.split(".")
            place = params
            for section in sections:
                place = place[section]
            if value is None:
                del place[last]
            else:
                place[last] = value
    for path, source in FILES.items():
        if path not in leave_out:
            (root / path).parent.mkdir(exist_ok=True)
            shutil.copy(EXAMPLE / source, root / path)
    lock = lock_of(root)
    change(lock["stages"])
    (root / "dvc.lock").write_text(yaml.safe_dump(lock), "utf-8")
    git(root, "add", "--all")
    baseline = git(root, "rev-parse", "HEAD")
    commit = git(root, "commit-tree", git(root, "write-tree"), "-p", baseline, "-m", "experiment")
    git(root, "update-ref", f"refs/exps/{baseline[:2]}/{baseline[2:]}/{name}", commit)
    git(root, "reset", "--quiet", "--hard")
    return commit


def made_up(recipe: str, seed: int, accuracy: float, auroc: float) -> Result:
    """A result with these figures on the test set, and better ones on validation."""

    def measured(accuracy: float, auroc: float) -> Measured:
        return Measured(
            n=100,
            threshold=0.5,
            accuracy=accuracy,
            accuracy_ci95=Interval(low=accuracy - 0.02, high=accuracy + 0.02),
            auroc=auroc,
            sensitivity=0.99,
            specificity=0.5,
        )

    return Result(
        recipe=recipe,
        seed=seed,
        experiment=f"{recipe}-s{seed}",
        baseline="0" * 40,
        parameters={},
        training=Trained(
            best_epoch=1,
            epochs=2,
            parameters=10,
            device="cpu",
            precision="bf16",
            threads=2,
            deterministic=True,
        ),
        collected_on=MACHINE,
        test=measured(accuracy, auroc),
        val=measured(0.95, 0.99),
        groups={},
        history={"epoch": [0, 1], "val_auroc": [0.9, 0.99]},
    )
