"""What all benchmarks do: say on what they were run, and write what they found."""

import importlib.metadata
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

from pneumonia.processor import processor


def machine(*packages: str) -> dict[str, Any]:
    """Processor, system and versions of Python and these packages, for the head of a result file."""
    return {
        "machine": {
            "processor": processor(),
            "cores": os.cpu_count(),
            "system": f"{platform.system()} {platform.machine()}",
        },
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in packages},
        },
    }


def graphics() -> dict[str, str]:
    """Name of the GPU that PyTorch computes on, or none."""
    import torch  # noqa: PLC0415  most benchmarks need none

    return {"gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none"}


def report(found: dict[str, Any], path: Path | None) -> None:
    """Print what was found, and write it to the file, if one is given."""
    text = json.dumps(found, indent=2) + "\n"
    sys.stdout.write(text)
    if path is not None:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
