"""How a stage ends: a sentence for what a person can mend, a traceback for an error of our own."""

import errno
from pathlib import Path

import pytest

from pneumonia.errors import UserError
from pneumonia.params import Params
from stages.entry import repository_root, run

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _in_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("signal.signal", lambda *_: None)


def raising(error: BaseException) -> int | str | None:
    """Exit status or message of a stage that ends with the error."""

    def stage(params: Params) -> None:
        raise error

    with pytest.raises(SystemExit) as caught:
        run(stage)
    return caught.value.code


def test_a_stage_gets_the_checked_parameters() -> None:
    seen: list[Params] = []
    run(seen.append)
    assert seen[0].source.name == "phantom"


def test_what_a_user_can_mend_is_a_sentence() -> None:
    assert raising(UserError("Bring images.")) == "error: Bring images."


def test_a_full_disk_and_a_missing_right_are_sentences() -> None:
    full = OSError(errno.ENOSPC, "No space left on device", "metrics/data.json")
    assert raising(full) == "error: No space left on device: metrics/data.json"
    assert str(raising(PermissionError(errno.EACCES, "Permission denied", "x"))).startswith(
        "error: Permission"
    )


def test_an_interruption_is_the_status_of_one() -> None:
    assert raising(KeyboardInterrupt()) == 130


def test_an_error_of_ours_keeps_its_traceback() -> None:
    def stage(params: Params) -> None:
        raise OSError(errno.EBADF, "ours")

    with pytest.raises(OSError, match="ours"):
        run(stage)


def test_relative_paths_hang_on_the_repository_that_dvc_names(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    assert repository_root() == tmp_path.resolve()
    monkeypatch.delenv("DVC_ROOT")
    assert repository_root() == ROOT
