"""A temporary git and dvc repository with the checkout's files and tiny parameters."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

CHECKOUT = Path(__file__).parents[2]

TINY = {
    "arch": "test_resnet",
    "epochs": 2,
    "batch_size": 16,
    "lr": 3e-3,
    "threads": 1,
    "precision": "fp32",
    "device": "cpu",
    "source.phantom_images": 96,
    "preprocess.size": 64,
    "evaluate.bootstrap": 100,
    "gallery.worst": 3,
    "gallery.borderline": 3,
}


@dataclass(frozen=True)
class Repository:
    """A repository of our pipeline that a test may use up."""

    root: Path

    def environment(self, **additions: str) -> dict[str, str]:
        """Environment of the commands: the tests', without what a person has set for DVC, MLflow or git."""
        bin_folder = str(Path(sys.executable).parent)
        clean = {
            k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "DVC_", "PYTHONPATH", "GIT_"))
        }
        return {
            **clean,
            "PATH": os.pathsep.join([bin_folder, clean["PATH"]]),
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_AUTHOR_NAME": "Test",
            "GIT_AUTHOR_EMAIL": "test@example.org",
            "GIT_COMMITTER_NAME": "Test",
            "GIT_COMMITTER_EMAIL": "test@example.org",
            "HF_HUB_OFFLINE": "1",
            **additions,
        }

    def start(self, *command: str, **environment: str) -> "subprocess.Popen[str]":
        """Start a command in the repository; stdout and stderr come together."""
        return subprocess.Popen(
            command,
            cwd=self.root,
            env=self.environment(**environment),
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def run(self, *command: str, fails: bool = False, stdin: str = "", **environment: str) -> str:
        """Run a command in the repository; return what it printed, stdout and stderr together."""
        with self.start(*command, **environment) as process:
            output, _ = process.communicate(stdin)
        assert (process.returncode != 0) == fails, f"{command} ended with {process.returncode}:\n{output}"
        return output

    def dvc(self, *arguments: str, fails: bool = False, **environment: str) -> str:
        return self.run("dvc", *arguments, fails=fails, **environment)

    def set_params(self, **values: Any) -> None:
        """Change keys of params.yaml, named with dots, as `-S` does, through DVC's own reader and writer."""
        from dvc.utils.serialize import modify_yaml  # noqa: PLC0415  slow to import

        with modify_yaml(self.root / "params.yaml") as params:
            for key, value in values.items():
                *sections, name = key.split(".")
                place = params
                for section in sections:
                    place = place[section]
                place[name] = value

    def metrics(self, name: str) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads((self.root / "metrics" / f"{name}.json").read_text("utf-8"))
        return loaded

    def commit(self, message: str) -> None:
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "--message", message)


def copy_of_checkout(target: Path) -> Repository:
    """The files that git tracks or would track, without the default run's results."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    results = ("metrics/", "plots/", "docs/", "dvc.lock")
    for name in listed:
        if not name.startswith(results) and (CHECKOUT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(CHECKOUT / name, target / name)
    repository = Repository(target)
    repository.run("git", "init", "--quiet", "--initial-branch=main")
    return repository


@pytest.fixture(scope="session")
def rebuilt(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """After `dvc repro` with tiny parameters and a commit. Read it; to change it take `repository`."""
    own = tmp_path_factory.getbasetemp()
    shared = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "built once"
    with FileLock(f"{shared}.lock"):
        if not shared.exists():
            building = Repository(own / "being built")
            rebuild(building)
            building.root.rename(shared)
    root = own / "rebuilt" / "checkout of the pipeline"
    shutil.copytree(shared, root, symlinks=True)
    return Repository(root)


def rebuild(repository: Repository) -> None:
    """Make the repository, in a new folder."""
    copy_of_checkout(repository.root)
    repository.set_params(**TINY)
    repository.commit("tiny parameters")
    repository.dvc("repro")
    repository.commit("tiny run")


@pytest.fixture
def repository(rebuilt: Repository, tmp_path: Path) -> Repository:
    """A copy of the rebuilt repository, its cache included, for one test to use up."""
    target = tmp_path / "copy"
    shutil.copytree(rebuilt.root, target, symlinks=True)
    return Repository(target)
