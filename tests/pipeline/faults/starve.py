"""Run stages in the working directory under faults, one child of this process each.

The libraries are loaded once and not for every run, which would take most of the time. The cases come as JSON
on standard input, and what became of them goes as JSON to standard output.
"""

import hashlib
import importlib
import json
import multiprocessing
import os
import sys
from pathlib import Path
from typing import Any

import faults
from joblib.externals.loky import get_reusable_executor

sys.path[:0] = [str(Path.cwd()), str(Path.cwd() / "src")]
entry = importlib.import_module("stages.entry")
STAGES = {
    name: getattr(importlib.import_module(f"stages.{name}"), name)
    for name in ("download", "preprocess", "split", "train", "evaluate", "gallery")
}


def run(case: dict[str, Any], said: int) -> None:
    """Run the stage of a case; exits as the stage does.

    Args:
        case: `stage`, and maybe `full` with `room` in bytes or `forbidden`: the file whose writing meets a
            full disk, or the folder that may not be written to.
        said: descriptor of where its standard output and error go.
    """
    os.dup2(said, 1)
    os.dup2(said, 2)
    if "full" in case:
        faults.when_written(case["full"], lambda: faults.fill_disk(case["room"]))
    if "forbidden" in case:
        Path(case["forbidden"]).chmod(0o555)
        faults.drop_privileges()
    try:
        entry.run(STAGES[case["stage"]])
    finally:
        # A program's end does so; that of multiprocessing's child waits minutes for the idle workers.
        faults.make_room()
        get_reusable_executor().shutdown()


def outcome(case: dict[str, Any]) -> dict[str, Any]:
    """Run a case in a child, as DVC does without the stage's outputs.

    Returns:
        Its exit status, what it said, and the SHA-256 of the files in the folders of its outputs.
    """
    outputs = [Path(output) for output in case["outputs"]]
    for output in outputs:
        output.unlink(missing_ok=True)
    reader, writer = os.pipe()
    child = multiprocessing.get_context("fork").Process(target=run, args=(case, writer))
    child.start()
    os.close(writer)
    with os.fdopen(reader, encoding="utf-8") as pipe:
        said = pipe.read()
    child.join()
    if "forbidden" in case:
        Path(case["forbidden"]).chmod(0o755)
    left = {
        str(file): hashlib.sha256(file.read_bytes()).hexdigest()
        for folder in {output.parent for output in outputs}
        for file in folder.iterdir()
        if file.is_file()
    }
    return {"status": child.exitcode, "said": said, "left": left}


if __name__ == "__main__":
    print(json.dumps([outcome(case) for case in json.load(sys.stdin)]))
