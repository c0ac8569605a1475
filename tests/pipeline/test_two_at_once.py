"""Two `dvc repro` at once, or one and a stage by hand: the second refuses, and nothing gets mixed up.

Nor does it when params.yaml changes while a stage runs, as a second `dvc exp run -S` does before it refuses.
"""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import Repository

pytestmark = pytest.mark.pipeline

FAULTS = Path(__file__).with_name("faults")
SECONDS = 300
"""After which a stage that has not come to the point, or a command that has not ended, is a failed test."""


@contextmanager
def held_at(
    repository: Repository, name: str, *command: str, fails: bool = False
) -> Iterator[Callable[[], str]]:
    """Run a command up to the point at which a stage opens the file `name` for writing.

    In the block the stage waits there. The function that the block gets lets it go on, to the command's end,
    and returns what it printed.
    """
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(SECONDS)
        fault = f"hold {name} {server.getsockname()[1]}"
        with repository.start(*command, PYTHONPATH=str(FAULTS), FAULT=fault) as process:
            try:
                stage, _ = server.accept()
            except TimeoutError:
                process.kill()
                pytest.fail(f"{command} did not come to {name}: {process.communicate()[0]}")

            def go_on() -> str:
                stage.close()
                output, _ = process.communicate(timeout=SECONDS)
                assert (process.returncode != 0) == fails, output
                return output

            try:
                yield go_on
            finally:
                stage.close()


def assert_whole(repository: Repository, rebuilt: Repository) -> None:
    """The repository has what the one has that was built undisturbed, and DVC agrees."""
    assert (repository.root / "dvc.lock").read_bytes() == (rebuilt.root / "dvc.lock").read_bytes()
    assert "up to date" in repository.dvc("status")
    assert repository.run("git", "status", "--porcelain") == ""


def test_the_second_repro_and_a_stage_by_hand_refuse(repository: Repository, rebuilt: Repository) -> None:
    first = ("dvc", "repro", "--force", "--single-item", "split")
    with held_at(repository, "split.csv", *first) as go_on:
        second = repository.dvc("repro", fails=True)
        assert "is busy, it is being blocked by" in second
        assert "dvc repro --force --single-item split" in second
        assert "Traceback" not in second
        by_hand = repository.run("python", "-m", "stages.split", fails=True)
        assert by_hand == (
            f"error: The stage split is already running in {repository.root.resolve()}; wait for its end and "
            "run again.\n"
        )
        go_on()
    assert_whole(repository, rebuilt)
    assert "up to date" in repository.dvc("repro")


def test_a_training_is_not_credited_to_a_rate_that_was_set_while_it_ran(
    repository: Repository, rebuilt: Repository
) -> None:
    kept = (repository.root / "params.yaml").read_bytes()
    with held_at(repository, "train.json", "dvc", "repro", "--force", "-s", "train", fails=True) as go_on:
        second = repository.dvc("exp", "run", "-S", "lr=0.3", fails=True)
        assert "is busy, it is being blocked by" in second
        assert (repository.root / "params.yaml").read_bytes() != kept
        assert "error: lr in params.yaml changed while the stage train ran, and DVC would take" in go_on()
    (repository.root / "params.yaml").write_bytes(kept)
    assert "resuming after epoch 2 of 2" in repository.dvc("repro", "--force", "-s", "train")
    assert_whole(repository, rebuilt)
