"""Whether every output, dependency and parameter is the one that dvc.lock has on record.

Digests are computed from the bytes, not taken from DVC's memory of file times, so a file that was changed
and given its old time back is found too.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from operator import itemgetter
from pathlib import Path
from typing import Any

from pathspec import GitIgnoreSpec

from pneumonia.errors import UserError
from pneumonia.params import read_yaml
from pneumonia.tracking.provenance import file_md5
from pneumonia.verification.outcome import Outcome

PIPELINE, LOCK, PARAMS, IGNORED = "dvc.yaml", "dvc.lock", "params.yaml", ".dvcignore"
ABSENT = "absent"
"""Instead of a digest, as `file_md5` has it."""


def check_lock(root: Path) -> Outcome:
    """Compare the checkout with dvc.lock.

    Raises:
        UserError: dvc.yaml, dvc.lock or params.yaml is missing or cannot be read.
    """
    if not (root / LOCK).is_file():
        raise UserError(f"{LOCK} is missing, so nothing was ever run here; run `dvc repro`.")
    declared = _stages(root / PIPELINE)
    locked = _stages(root / LOCK)
    params = read_yaml(root / PARAMS)
    digest = cache(lambda path: path_md5(root, path))

    differences = list(_undeclared(declared, locked))
    known = {name: locked[name] for name in declared if name in locked}
    outs = {path: name for name, stage in known.items() for path in digests(stage, "outs")}
    missing = [path for path in outs if digest(path) == ABSENT]
    if missing:
        differences.append(
            f"not here yet: {', '.join(sorted(missing))}; run `dvc repro`, or `dvc pull` where a remote has "
            "them"
        )
    for name, stage in known.items():
        for path, md5 in digests(stage, "outs").items():
            if digest(path) not in (md5, ABSENT):
                differences.append(
                    f"{path} is not what {name} wrote; `dvc repro {name}` makes it anew, "
                    f"`{_restoring(declared[name], path)} {path}` brings back what was recorded"
                )
    differences += _changed_deps(known, outs, digest)
    differences += _changed_params(known, params)
    paths = {path for stage in known.values() for part in ("deps", "outs") for path in digests(stage, part)}
    return Outcome(tuple(differences), f"{len(paths)} files and folders of {len(known)} stages")


def path_md5(root: Path, path: str) -> str:
    """MD5 of a file or folder as DVC states it; ABSENT where there is none.

    A folder's is that of the JSON list of its files' relative paths and MD5, with `.dir` at the end; what
    .dvcignore names does not count.
    """
    place = root / path
    if not place.is_dir():
        return file_md5(place)
    ignored = _ignored(root)
    files = {file.relative_to(root).as_posix(): file for file in place.rglob("*") if file.is_file()}
    entries = [
        {"md5": file_md5(file), "relpath": file.relative_to(place).as_posix()}
        for name, file in files.items()
        if not ignored.match_file(name)
    ]
    entries.sort(key=itemgetter("relpath"))
    listed = json.dumps(entries, sort_keys=True).encode()
    return f"{hashlib.md5(listed, usedforsecurity=False).hexdigest()}.dir"


def _undeclared(declared: Mapping[str, Any], locked: Mapping[str, Any]) -> Iterator[str]:
    """Stages whose entry in dvc.lock is missing or was made with another dvc.yaml."""
    for name, stage in declared.items():
        if name not in locked:
            yield f"{name} has not been run: {LOCK} does not know it; run `dvc repro`"
            continue
        record = locked[name]
        same = (
            stage.get("cmd") == record.get("cmd")
            and set(_names(stage, "deps")) == set(digests(record, "deps"))
            and set(_names(stage, "outs", "metrics", "plots")) == set(digests(record, "outs"))
            and set(_names(stage, "params")) == set(record.get("params", {}).get(PARAMS, {}))
        )
        if not same:
            yield f"{name} has changed in {PIPELINE} since it was run; run `dvc repro`"


def _changed_deps(
    known: Mapping[str, Any], outs: Mapping[str, str], digest: Callable[[str], str]
) -> Iterator[str]:
    """Dependencies that are not those that a stage ran with."""
    users: dict[str, list[str]] = {}
    for name, stage in known.items():
        for path, md5 in digests(stage, "deps").items():
            if path in outs:
                # What became of the file since is said of the output.
                if digests(known[outs[path]], "outs")[path] != md5:
                    yield f"{name} was run with another {path} than {outs[path]} wrote; run `dvc repro`"
            elif digest(path) != md5:
                users.setdefault(path, []).append(name)
    for path, names in users.items():
        state = "is missing" if digest(path) == ABSENT else "has changed"
        yield f"{path} {state} since {', '.join(names)} ran; run `dvc repro`, or restore it from git"


def _changed_params(known: Mapping[str, Any], params: Mapping[str, Any]) -> Iterator[str]:
    """Parameters that are not those that a stage ran with."""
    users: dict[tuple[str, str, str], list[str]] = {}
    for name, stage in known.items():
        for difference in unequal_params(stage, params):
            users.setdefault(difference, []).append(name)
    for (leaf, now, then), names in users.items():
        yield f"{leaf} is {now} in {PARAMS}; {', '.join(names)} ran with {then}; run `dvc repro`"


def unequal_params(stage: Mapping[str, Any], params: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Name, value and value on record of each parameter that is not exactly the one a stage ran with.

    Args:
        stage: its entry in dvc.lock.
        params: the content of params.yaml.
    """
    for key, recorded in stage.get("params", {}).get(PARAMS, {}).items():
        for leaf, now, then in _unequal(key, _look_up(params, key), recorded):
            yield leaf, _exactly(now), _exactly(then)


def _exactly(value: object) -> str:
    return "null" if value is None else str(value)


def _unequal(key: str, now: object, then: object) -> Iterator[tuple[str, object, object]]:
    if isinstance(now, Mapping) and isinstance(then, Mapping):
        for name in {**then, **now}:
            yield from _unequal(f"{key}.{name}", now.get(name), then.get(name))
    elif now != then or isinstance(now, bool) != isinstance(then, bool):
        yield key, now, then


def _look_up(params: Mapping[str, Any], key: str) -> object:
    place: object = params
    for part in key.split("."):
        place = place.get(part) if isinstance(place, Mapping) else None
    return place


def _stages(path: Path) -> dict[str, Any]:
    stages = read_yaml(path).get("stages")
    if not isinstance(stages, dict):
        raise UserError(f"{path} has no stages; restore it from git.")
    return stages


def _names(stage: Mapping[str, Any], *parts: str) -> list[str]:
    """Entries of a stage in dvc.yaml without their options."""
    entries = [entry for part in parts for entry in stage.get(part, [])]
    return [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]


def digests(record: Mapping[str, Any], part: str) -> dict[str, str]:
    """MD5 of each file or folder among the deps or the outs of a stage in dvc.lock."""
    return {entry["path"]: entry.get("md5", "") for entry in record.get(part, [])}


def _restoring(stage: Mapping[str, Any], path: str) -> str:
    """The command that brings an output back: git keeps the ones that DVC does not cache."""
    entries = [entry for part in ("outs", "metrics", "plots") for entry in stage.get(part, [])]
    options = {name: entry[name] for entry in entries if isinstance(entry, dict) for name in entry}
    uncached = {name for name, option in options.items() if not option.get("cache", True)}
    return "git checkout" if path in uncached else "dvc checkout"


def _ignored(root: Path) -> GitIgnoreSpec:
    file = root / IGNORED
    return GitIgnoreSpec.from_lines(file.read_text(encoding="utf-8").splitlines() if file.is_file() else [])
