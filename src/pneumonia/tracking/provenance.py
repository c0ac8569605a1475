"""What a run was made of, as tags that lead back to it: code, experiment and data."""

import hashlib
import os
import subprocess
from pathlib import Path

from pneumonia import paths

COMMIT = "mlflow.source.git.commit"  # MLflow shows the tag of this name as the run's version
DIRTY = "git.dirty"
CODE = "sha256.code"
EXPERIMENT = "dvc.exp_name"
BASELINE = "dvc.exp_baseline"
WEIGHTS = "md5.weights"

WORKSPACE = "workspace"
"""The name that DVC gives to what is in the working directory, outside of experiments."""

CODE_FOLDERS = ("src", "stages")
RECIPE = (*CODE_FOLDERS, "dvc.yaml", "requirements.lock")
"""What, with params.yaml and the data, determines a result. params.yaml is in the run's parameters."""

DATA = {"md5.images": paths.IMAGES, "md5.index": paths.INDEX, "md5.split": paths.SPLIT}


def identity_tags(checkout: Path) -> dict[str, str]:
    """Tags that two recordings of the same run have in common.

    The commit is none of them: it changes with the README, and the digest of the code says more. The digests
    of the data are MD5 because that is their address in dvc.lock and in DVC's caches.

    Args:
        checkout: where the stage runs; in a temporary experiment the copy, not the original repository.
    """
    return {
        EXPERIMENT: experiment_name(),
        BASELINE: os.environ.get("DVC_EXP_BASELINE_REV") or "none",
        CODE: code_sha256(checkout),
        **{name: file_md5(checkout / path) for name, path in DATA.items()},
    }


def git_tags(checkout: Path) -> dict[str, str]:
    """The commit that is checked out, and whether code or dvc.yaml differ from it; empty without git."""
    commit = _git(checkout, "rev-parse", "HEAD")
    if commit is None:
        return {}
    changes = _git(checkout, "status", "--porcelain", "--", *RECIPE)
    return {COMMIT: commit, DIRTY: "true" if changes else "false"}


def experiment_name() -> str:
    """Name of the DVC experiment that this stage runs in, or `workspace`."""
    return os.environ.get("DVC_EXP_NAME") or WORKSPACE


def code_sha256(checkout: Path) -> str:
    """Digest of the names and contents of all Python files of the library and the stages."""
    digest = hashlib.sha256()
    found = [file for folder in CODE_FOLDERS for file in (checkout / folder).rglob("*.py")]
    files = [file for file in found if file.is_file()]  # an editor's lock is a link to nothing
    for file in sorted(files, key=lambda file: file.relative_to(checkout).as_posix()):
        content = file.read_bytes()
        digest.update(f"{file.relative_to(checkout).as_posix()}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def file_md5(path: Path) -> str:
    """MD5 of a file, the digest that DVC keeps of it; `absent` when there is no such file."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except FileNotFoundError:
        return "absent"


def _git(checkout: Path, *arguments: str) -> str | None:
    """Output of a git command that takes no locks; None when git or the repository is missing."""
    command = ["git", "--no-optional-locks", "-C", str(checkout), *arguments]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    except (FileNotFoundError, subprocess.CalledProcessError):
        return None
    return result.stdout.strip()
