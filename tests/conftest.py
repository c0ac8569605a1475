"""Settings of all tests."""

import os

from hypothesis import settings

# The same examples in every run, and no verdict that hangs on how busy the machine is.
settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.load_profile("repeatable")

# As of the stages: torch in several workers at once must not wait for itself by spinning.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
