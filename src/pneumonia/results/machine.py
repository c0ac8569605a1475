"""The machine at hand, for the result files."""

import os
import platform
from importlib.metadata import version
from pathlib import Path

import torch

from pneumonia.results.record import Machine


def this_machine() -> Machine:
    """Processor, system and versions."""
    return Machine(
        processor=_processor(),
        cores=os.cpu_count() or 1,
        gpu=torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        system=f"{platform.system()} {platform.machine()}",
        versions={
            "python": platform.python_version(),
            **{name: version(name) for name in ("dvc", "lightning", "timm", "torch")},
        },
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
