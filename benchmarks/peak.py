"""Memory that a process has had at its largest (Linux, macOS)."""

import re
import resource
import sys
from pathlib import Path


def peak_mib() -> float:
    """Peak resident memory of this process in MiB."""
    if sys.platform == "darwin":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    # On Linux ru_maxrss has also what the parent held when it started this process.
    (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text("ascii"))
    return int(peak) / 2**10
