"""DVC's experiments as git has them: refs/exps/<2 digits>/<38 digits of the baseline>/<name>."""

import hashlib
import re
import subprocess
from pathlib import Path
from typing import NamedTuple

from pneumonia.errors import UserError
from pneumonia.params import read_yaml
from pneumonia.tracking.provenance import CODE_FOLDERS
from pneumonia.verification.lock import PIPELINE


class Experiment(NamedTuple):
    """A finished experiment."""

    name: str
    baseline: str
    """Commit on which it was started."""
    commit: str


def list_experiments(root: Path) -> list[Experiment]:
    """All finished experiments of all baselines, the newest first; none outside of a git repository."""
    form = "--format=%(refname) %(objectname)"
    listed = _git(root, "for-each-ref", "--sort=-committerdate", form, "refs/exps") or ""
    pattern = re.compile(r"refs/exps/([0-9a-f]{2})/([0-9a-f]{38})/(\S+) ([0-9a-f]{40})")
    matches = filter(None, map(pattern.fullmatch, listed.splitlines()))
    return [Experiment(match[3], match[1] + match[2], match[4]) for match in matches]


def head(root: Path) -> str:
    """The commit that is checked out.

    Raises:
        UserError: there is none.
    """
    commit = _git(root, "rev-parse", "--verify", "--quiet", "HEAD")
    if commit is None:
        raise UserError(f"{root.resolve()} has no commit yet; DVC starts experiments from one.")
    return commit.strip()


def read_at(root: Path, experiment: Experiment, path: Path) -> str | None:
    """A file as the experiment left it; None where it has none."""
    # With ./ the path counts from `root`, which may be a subfolder of a larger repository.
    return _git(root, "show", f"{experiment.commit}:./{path.as_posix()}")


def changed_code(root: Path, experiment: Experiment) -> list[str]:
    """Files of the stages' code that in the working tree are others than in the experiment.

    Raises:
        UserError: dvc.yaml cannot be read.
    """
    return _of_code(root, "diff", "--name-only", "-z", "--relative", experiment.commit)


def code_of_stages(root: Path) -> str:
    """Digest of the files that git tracks of the stages' code.

    What git does not track does not come into a temporary directory either.

    Raises:
        UserError: dvc.yaml cannot be read.
    """
    digest = hashlib.sha256()
    for name in _of_code(root, "ls-files", "-z"):
        file = root / name
        content = file.read_bytes() if file.is_file() else b""
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def _of_code(root: Path, *arguments: str) -> list[str]:
    """The files that a git command lists, of the code that the stages depend on."""
    stages = read_yaml(root / PIPELINE).get("stages", {}).values()
    paths = {path for stage in stages for path in stage.get("deps", ()) if path.startswith(CODE_FOLDERS)}
    listed = _git(root, *arguments, "--", *sorted(paths)) if paths else None  # without any git lists all
    return (listed or "").split("\0")[:-1]


def _git(root: Path, *arguments: str) -> str | None:
    done = subprocess.run(  # noqa: S603
        ["git", "--no-optional-locks", "-C", str(root), *arguments],  # noqa: S607
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    return done.stdout if done.returncode == 0 else None
