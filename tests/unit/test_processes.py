"""Which process of a training this is, as its environment says."""

import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

from pneumonia import processes
from pneumonia.errors import UserError
from pneumonia.processes import ALONE, STARTED_BY, Process, this_process

SECONDS = 60
"""After which a child that has not ended is a failed test."""

TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "none",
    "RANK": "5",
    "WORLD_SIZE": "8",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "4",
}
SRUN = {
    "SLURM_STEP_NUM_TASKS": "8",
    "SLURM_NTASKS": "8",
    "SLURM_NTASKS_PER_NODE": "4",
    "SLURM_PROCID": "5",
    "SLURM_LOCALID": "1",
}
BATCH_SCRIPT = {"SLURM_NTASKS": "8", "SLURM_NTASKS_PER_NODE": "4", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
"""In the script of an allocation, outside srun, there is one process whatever the number of tasks."""
LEFT_OVER = {"LOCAL_RANK": "1", "RANK": "1", "WORLD_SIZE": "2", STARTED_BY: "1"}


def place(patch: pytest.MonkeyPatch, variables: dict[str, str], devices: int, nodes: int) -> Process:
    for name in [*TORCHRUN, *SRUN, STARTED_BY]:
        patch.delenv(name, raising=False)
    for name, value in variables.items():
        patch.setenv(name, value)
    return this_process(devices, nodes)


def test_torchrun_and_srun_say_which_process_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert place(monkeypatch, TORCHRUN, 4, 2) == Process(5, 8, 1, "torchrun")
    assert place(monkeypatch, SRUN, 4, 2) == Process(5, 8, 1, "srun")
    assert place(monkeypatch, {**SRUN, **TORCHRUN, "RANK": "6"}, 4, 2) == Process(6, 8, 1, "torchrun")


def test_a_child_of_our_trainer_has_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    child = {STARTED_BY: str(os.getppid()), "LOCAL_RANK": "3"}
    assert place(monkeypatch, child, 4, 1) == Process(3, 4, 3, "trainer")
    assert not place(monkeypatch, child, 4, 1).first
    # In an allocation too.
    assert place(monkeypatch, {**BATCH_SCRIPT, **child}, 4, 1) == Process(3, 4, 3, "trainer")


@pytest.mark.parametrize("variables", [{}, BATCH_SCRIPT, LEFT_OVER], ids=["nothing", "batch", "left over"])
def test_without_a_launcher_it_is_the_first(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert place(monkeypatch, variables, 4, 1) == Process(0, 4)
    assert place(monkeypatch, variables, 1, 1) == ALONE


def test_on_windows_there_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as windows:
        windows.setattr("os.name", "nt")
        alone = this_process(1, 1)
        with pytest.raises(UserError, match="devices is 2 and nodes is 1; on Windows a training is one"):
            this_process(2, 1)
    assert alone == ALONE


def test_a_training_in_one_process_is_alone_in_each_task_of_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    assert place(monkeypatch, SRUN, 1, 1) == ALONE
    child = {STARTED_BY: str(os.getppid()), "LOCAL_RANK": "3"}
    assert place(monkeypatch, child, 1, 1) == ALONE


@pytest.mark.parametrize(
    ("variables", "devices", "nodes", "sentence"),
    [
        (
            TORCHRUN,
            2,
            4,
            "torchrun has started 8 processes, 4 a machine, but .* devices: 2 and nodes: 4; run",
        ),
        (TORCHRUN, 4, 1, "torchrun has started 8 processes, 4 a machine, but .* devices: 4 and nodes: 1"),
        (TORCHRUN, 1, 1, "torchrun has started 8 processes.*run `dvc repro`"),
        (SRUN, 8, 2, "srun has started 8 processes, 4 a machine, but .* devices: 8 and nodes: 2"),
        (
            {**SRUN, "SLURM_NTASKS_PER_NODE": ""},
            4,
            2,
            "srun has started 8 processes, an unknown number a machine.*--nodes 2 --ntasks-per-node 4 python",
        ),
        (
            BATCH_SCRIPT,
            4,
            2,
            "nodes is 2, and `dvc repro` starts processes on one machine only; run `torchrun",
        ),
        (
            {},
            1,
            2,
            "run `torchrun --nnodes 2 --nproc-per-node 1 .*, or `srun .* then `dvc commit --force train`",
        ),
    ],
)
def test_other_processes_than_params_says_are_refused(
    variables: dict[str, str], devices: int, nodes: int, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=sentence):
        place(monkeypatch, variables, devices, nodes)


CHILD = "from pneumonia.processes import end_with_parent as end; end(); print(flush=True); input()"


def test_a_child_ends_when_its_parent_is_gone() -> None:
    parent = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {CHILD!r}]).wait()"
    with subprocess.Popen(
        [sys.executable, "-c", parent],
        stdin=subprocess.PIPE,  # which the child reads, and which stays open
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(processes.__file__).parents[1])},
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()  # it watches by now
        process.kill()
        process.wait()
        # At its end, when nobody is left who could write.
        ended, _, _ = select.select([process.stdout], [], [], SECONDS)
        assert ended
        assert process.stdout.read() == b""
