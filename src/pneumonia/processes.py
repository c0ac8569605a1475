"""Which process of a training this is, and of how many: `devices` times `nodes` of params.yaml.

Only the environment is read, so that a stage can ask before it loads torch. The other processes of one
machine are started by the trainer, those of several by torchrun or SLURM's srun; see docs/distributed.md.
"""

import os
import threading
import time
from dataclasses import dataclass
from typing import Literal

from pneumonia.errors import UserError

STARTED_BY = "PNEUMONIA_STARTED_BY"
"""Number of the first process, in the environment of those that its trainer starts."""

COMMAND = "python -m stages.train"


@dataclass(frozen=True, slots=True)
class Process:
    """One of the processes of a training."""

    rank: int = 0
    """The first one, 0, writes and prints."""
    world: int = 1
    """How many there are."""
    local_rank: int = 0
    """On its machine; the number of its GPU."""
    launcher: Literal["trainer", "torchrun", "srun"] = "trainer"

    @property
    def first(self) -> bool:
        """Whether it is the one that writes and prints."""
        return self.rank == 0


ALONE = Process()


def this_process(devices: int, nodes: int) -> Process:
    """Tell from the environment which process this is.

    Variables that are left over from something else do not count: LOCAL_RANK and the like only where torchrun
    has set them or our trainer is the parent, SLURM's only in a job step of several tasks. A training in one
    process looks at none but torchrun's, so it runs in any allocation.

    Args:
        devices: a machine.
        nodes: machines.

    Raises:
        UserError: torchrun or srun has started other processes than params.yaml says; several machines, and
            neither has.
    """
    world = devices * nodes
    if world > 1 and os.name == "nt":
        raise UserError(
            f"params.yaml: devices is {devices} and nodes is {nodes}; on Windows a training is one process, "
            "so set both to 1."
        )
    if "TORCHELASTIC_RUN_ID" in os.environ:
        started, here = _number("WORLD_SIZE"), _number("LOCAL_WORLD_SIZE")
        _require_fit("torchrun", (started, here), devices, nodes)
        if world > 1:
            return Process(_number("RANK"), world, _number("LOCAL_RANK"), "torchrun")
    if world == 1:
        return ALONE
    if os.environ.get(STARTED_BY) == str(os.getppid()):
        rank = _number("LOCAL_RANK")
        return Process(rank, world, rank)
    if _number("SLURM_STEP_NUM_TASKS", 1) > 1:
        counts = _number("SLURM_STEP_NUM_TASKS"), _number("SLURM_NTASKS_PER_NODE")
        _require_fit("srun", counts, devices, nodes)
        return Process(_number("SLURM_PROCID"), world, _number("SLURM_LOCALID"), "srun")
    if nodes > 1:
        raise UserError(
            f"params.yaml: nodes is {nodes}, and `dvc repro` starts processes on one machine only; "
            f"{_what_to_run(devices, nodes)}"
        )
    return Process(world=world)


def end_with_parent() -> None:
    """End this process when the first one, which has started it, is gone, whatever it is waiting for."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _number(name: str, default: int = 0) -> int:
    value = os.environ.get(name, "")
    return int(value) if value.isdecimal() else default


def _require_fit(launcher: str, counts: tuple[int, int], devices: int, nodes: int) -> None:
    started, here = counts
    if counts != (devices * nodes, devices):
        raise UserError(
            f"{launcher} has started {started} processes, {here or 'an unknown number'} a machine, but "
            f"params.yaml has devices: {devices} and nodes: {nodes}; {_what_to_run(devices, nodes)}"
        )


def _what_to_run(devices: int, nodes: int) -> str:
    if devices * nodes == 1:
        return "run `dvc repro`."
    return (
        f"run `torchrun --nnodes {nodes} --nproc-per-node {devices} --rdzv-backend c10d "
        f"--rdzv-endpoint HOST:29500 -m stages.train` on every machine, or `srun --nodes {nodes} "
        f"--ntasks-per-node {devices} {COMMAND}`, and then `dvc commit --force train` on one."
    )
