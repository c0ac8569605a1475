"""Python loads this in every process that a test starts with this folder on PYTHONPATH and FAULT set.

FAULT is `fill NAME BYTES` or `hold NAME PORT`: what happens when a stage opens the file NAME for writing.
"""

import os
import sys

import faults

if "FAULT" in os.environ and any(argument.startswith("stages.") for argument in sys.orig_argv):
    kind, name, number = os.environ["FAULT"].split()
    happen = {"fill": faults.fill_disk, "hold": faults.wait_for_test}[kind]
    faults.when_written(name, lambda: happen(int(number)))
