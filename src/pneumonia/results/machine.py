"""The machine at hand, for the result files."""

import os
import platform
from importlib.metadata import version

import torch

from pneumonia.processor import processor
from pneumonia.results.record import Machine


def this_machine() -> Machine:
    """Processor, system and versions."""
    return Machine(
        processor=processor(),
        cores=os.cpu_count() or 1,
        gpu=torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        system=f"{platform.system()} {platform.machine()}",
        versions={
            "python": platform.python_version(),
            **{name: version(name) for name in ("dvc", "lightning", "timm", "torch")},
        },
    )
