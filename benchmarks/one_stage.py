"""Run one stage in this folder, on many small films where it is `download`; print its time and memory.

`python -m benchmarks.one_stage split`: for benchmarks.growth. It imports little, so that the memory is the
stage's own.
"""

import importlib
import json
import sys
import time
from unittest.mock import patch

from benchmarks.peak import peak_mib
from pneumonia.params import load_params
from pneumonia.sources.phantom import source


def run_stage(name: str) -> dict[str, float]:
    """Seconds of the stage's work, without imports, and the peak of this process's memory."""
    stage = getattr(importlib.import_module(f"stages.{name}"), name)
    params = load_params()
    draw_file = source.draw_file
    if name == "download":
        from benchmarks.small_films import draw_small_file as draw_file  # noqa: PLC0415  no other needs it
    with patch.object(source, "draw_file", draw_file):
        start = time.perf_counter()
        stage(params)
        taken = time.perf_counter() - start
    return {"seconds": round(taken, 2), "peak_mib": round(peak_mib(), 1)}


if __name__ == "__main__":
    print(json.dumps(run_stage(sys.argv[1])))
