"""Settings of all tests."""

from hypothesis import settings

# The same examples in every run, and no verdict that hangs on how busy the machine is.
settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.load_profile("repeatable")
