"""What DVC puts down, after a stage has ended, as that of which its outputs were made.

DVC reads it at the end: with a key or a file that was changed meanwhile, dvc.lock and the run cache would
credit the outputs to values and code that did not make them.
"""

import hashlib
from pathlib import Path

from pneumonia.errors import UserError
from pneumonia.nested import leaves
from pneumonia.params import read_yaml

PIPELINE, PARAMS = Path("dvc.yaml"), Path("params.yaml")
CODE = ("src/", "stages/")


def recorded(stage: str) -> dict[str, object]:
    """Values of the stage's keys in params.yaml, and digests of the Python files that it depends on.

    Nothing where no dvc.yaml knows the stage.

    Raises:
        UserError: dvc.yaml or params.yaml cannot be read.
    """
    stages = read_yaml(PIPELINE).get("stages", {}) if PIPELINE.is_file() else {}
    declared = stages.get(stage, {})
    keys = tuple(declared.get("params", ()))
    values = leaves(read_yaml(PARAMS)) if keys else ()
    below = tuple(f"{key}." for key in keys)
    paths = [Path(path) for path in declared.get("deps", ()) if path.startswith(CODE)]
    files = [file for path in paths for file in ([path] if path.is_file() else sorted(path.rglob("*.py")))]
    return {
        **{f"{key} in {PARAMS}": value for key, value in values if key in keys or key.startswith(below)},
        **{file.as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in files},
    }


def require_unchanged(stage: str, before: dict[str, object]) -> None:
    """Refuse to end well when something was changed since `recorded` gave `before`.

    Raises:
        UserError: something was.
    """
    now = recorded(stage)
    changed = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    if changed:
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        raise UserError(
            f"{changed[0]}{more} changed while the stage {stage} ran, and DVC would take its outputs for "
            "those of the new state. Run again; put back as it was, a training goes on where it ended."
        )
