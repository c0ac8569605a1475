"""20 of the kills of `python -m tests.kill`, spread over all stages."""

import os
from pathlib import Path

import pytest
from conftest import Repository

if os.name != "posix":
    pytest.skip("process groups are POSIX's", allow_module_level=True)

from tests.kill import ROUND, STAGES, kill_and_compare

pytestmark = pytest.mark.pipeline


def test_what_was_killed_at_any_moment_ends_with_the_same_bytes(rebuilt: Repository, tmp_path: Path) -> None:
    *ends, verdict = kill_and_compare(rebuilt, tmp_path, ROUND, seed=0)
    assert verdict == "the same bytes"
    assert len(ends) == ROUND
    assert {end.split()[0] for end in ends} == {*STAGES, "dvc"}
