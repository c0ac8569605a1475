"""One training in several processes: what the trainer is told, and how the processes agree.

Each has the whole network and a part of every batch; the gradients are averaged before each step (distributed
data parallel), so that all go on with the same weights.
"""

import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

import lightning as L
import torch
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import DDPStrategy
from timm.layers import convert_sync_batchnorm
from torch import distributed, nn

from pneumonia.errors import SharedError, UserError
from pneumonia.network.device import Compute
from pneumonia.params import Training
from pneumonia.processes import STARTED_BY, Process

T = TypeVar("T")


def own_device(compute: Compute, params: Training, process: Process) -> Compute:
    """Give a process of several the GPU of its number; on the CPU they share it.

    Raises:
        UserError: there are fewer GPUs than `devices`.
    """
    if process.world == 1 or compute.device.type == "cpu":
        return compute
    found = torch.cuda.device_count()
    if params.devices > found:
        raise UserError(
            f"params.yaml: devices is {params.devices}, but PyTorch sees {found} GPU here; set devices: "
            f"{found}, or device: cpu for processes on the CPU."
        )
    return replace(compute, device=torch.device("cuda", process.local_rank))


def share_statistics(network: nn.Module, compute: Compute, process: Process) -> nn.Module:
    """Let batch norm see the whole batch, where that is possible.

    PyTorch's SyncBatchNorm refuses the CPU: there each process normalises by its part of the batch. timm's
    conversion to it keeps the activation that many of its batch-norm layers hold; PyTorch's drops it.
    """
    if process.world == 1 or compute.device.type == "cpu":
        return network
    converted: nn.Module = convert_sync_batchnorm(network)
    return converted


def distribution(params: Training, process: Process) -> dict[str, Any]:
    """How many devices and machines the trainer is to use, and how."""
    if process.world == 1:
        return {"devices": 1}
    if not process.first:
        warnings.simplefilter("ignore")  # the first one has the same
    warnings.filterwarnings(
        "ignore", message=".*broadcast_buffers. is deprecated.*"
    )  # its successor is younger
    # Of channels_last weights; to copy them is little beside sending them.
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    # What is logged has been gathered from all processes.
    warnings.filterwarnings("ignore", message=".*sync_dist=True.*")
    strategy = DDPStrategy(
        # A frozen backbone has no gradients to wait for.
        find_unused_parameters=params.finetune != "all",
        # It would be done in validation too, where not all processes have as many batches: average_buffers.
        broadcast_buffers=False,
    )
    return {"devices": params.devices, "num_nodes": params.nodes, "strategy": strategy}


def environment(process: Process) -> ClusterEnvironment:
    """Who starts the processes: the trainer is not to guess, or it would take what it finds of SLURM."""
    if process.world > 1:
        # Else the trainer would choose a number of threads of its own.
        os.environ.setdefault("OMP_NUM_THREADS", str(torch.get_num_threads()))
    match process.launcher:
        case "torchrun":
            return TorchElasticEnvironment()
        case "srun":
            return SLURMEnvironment(auto_requeue=False)  # our own states are kept after each epoch
    if process.world > 1 and process.first:
        # Of something else: with them the trainer would start nobody, and wait for ever.
        for name in ("LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT"):
            os.environ.pop(name, None)
        os.environ[STARTED_BY] = str(os.getpid())
    return LightningEnvironment()


class Agreement(Callback):
    """Refuses, before the first batch, processes that would train something else or go on from elsewhere."""

    def __init__(self, key: str, epochs: int) -> None:
        self.mine = (key, epochs)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Compare."""
        if len(set(gather(self.mine))) > 1:
            raise SharedError(
                "The processes of the training differ in parameters, data, code, libraries, kind of device, "
                "or in the state that they would go on from; give all machines one shared checkout."
            )


def gather(value: T) -> list[T]:
    """Value of every process, by rank; of this one alone where there is no other.

    Args:
        value: with tensors on the CPU only.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return [value]
    values: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(values, value)
    return values


def average_buffers(network: nn.Module) -> None:
    """Give all processes the same statistics of batch norm: their mean over the processes."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return
    world = distributed.get_world_size()
    for buffer in network.buffers():
        if buffer.is_floating_point():
            distributed.all_reduce(buffer)
            buffer.div_(world)


@contextmanager
def lost_process_in_words(process: Process) -> Iterator[None]:
    """Say that another process is gone where the connection to it fails.

    Raises:
        SharedError: in place of the backend's RuntimeError.
    """
    try:
        yield
    except RuntimeError as error:
        if process.world == 1 or not re.search(r"gloo|nccl|connection|tcpstore", str(error), re.IGNORECASE):
            raise
        raise SharedError(
            "Another process of the training has ended or cannot be reached, so this one cannot go on; look "
            "for what it said, and run again: training goes on after the last finished epoch."
        ) from error
