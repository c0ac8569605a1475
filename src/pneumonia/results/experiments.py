"""DVC's experiments as git has them: refs/exps/<2 digits>/<38 digits of the baseline>/<name>."""

import re
import subprocess
from pathlib import Path
from typing import NamedTuple

from pneumonia.errors import UserError

CODE = ("src", "stages", "dvc.yaml")


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


def has_other_code(root: Path, experiment: Experiment) -> bool:
    """Whether it ran with other code than lies in the working tree."""
    return _git(root, "diff", "--quiet", experiment.commit, "--", *CODE) is None


def _git(root: Path, *arguments: str) -> str | None:
    done = subprocess.run(  # noqa: S603
        ["git", "-C", str(root), *arguments],  # noqa: S607
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    return done.stdout if done.returncode == 0 else None
