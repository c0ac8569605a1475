"""What DVC puts down, after a stage has ended, as that of which its outputs were made.

DVC reads it at the end: with a key or a file that was changed meanwhile, dvc.lock and the run cache would
credit the outputs to values and code that did not make them.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from pneumonia.errors import UserError
from pneumonia.nested import leaves
from pneumonia.params import read_yaml

PIPELINE, PARAMS = Path("dvc.yaml"), Path("params.yaml")
CODE = ("src/", "stages/")


@dataclass(frozen=True, slots=True)
class Recorded:
    """What dvc.yaml names for a stage, and what that was at first."""

    stage: str
    keys: tuple[str, ...]
    """Of params.yaml."""
    code: tuple[Path, ...]
    """Files and folders."""
    state: dict[str, object]

    def require_unchanged(self) -> None:
        """Refuse to end well when something was changed since.

        Raises:
            UserError: something was.
        """
        now = _state(self.keys, self.code)
        changed = [name for name in {**self.state, **now} if self.state.get(name) != now.get(name)]
        if changed:
            more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
            raise UserError(
                f"{changed[0]}{more} changed while the stage {self.stage} ran, and DVC would take its "
                "outputs for those of the new state. Run again; put back as it was, a training goes on where "
                "it ended."
            )


def recorded(stage: str) -> Recorded:
    """Values of the stage's keys in params.yaml, and digests of the files of code that it depends on.

    Nothing where no dvc.yaml knows the stage.

    Raises:
        UserError: dvc.yaml or params.yaml cannot be read.
    """
    stages = read_yaml(PIPELINE).get("stages", {}) if PIPELINE.is_file() else {}
    declared = stages.get(stage, {})
    keys = tuple(declared.get("params") or ())
    code = tuple(Path(path) for path in declared.get("deps") or () if path.startswith(CODE))
    return Recorded(stage, keys, code, _state(keys, code))


def _state(keys: tuple[str, ...], code: tuple[Path, ...]) -> dict[str, object]:
    below = tuple(f"{key}." for key in keys)
    values = leaves(read_yaml(PARAMS)) if keys else ()
    found = [file for path in code for file in ([path] if path.is_file() else sorted(path.rglob("*")))]
    files = [file for file in found if file.is_file() and file.suffix != ".pyc"]
    return {
        **{f"{key} in {PARAMS}": value for key, value in values if key in keys or key.startswith(below)},
        **{file.as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in files},
    }
