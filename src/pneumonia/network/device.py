"""Where the network runs and in which precision."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch

from pneumonia.errors import SharedError, UserError

Precision = Literal["fp32", "bf16", "fp16"]

DTYPES: dict[Precision, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}


WITHOUT_DETERMINISM = " does not have a deterministic implementation"
"""What PyTorch says, after the name of an operation."""

CUBLAS_WORKSPACE = ":4096:8"
"""Of fixed size, with which cuBLAS gives the same each time: docs.nvidia.com/cuda/cublas, reproducibility."""


@dataclass(frozen=True, slots=True)
class Compute:
    """A device and the precision of the forward pass on it."""

    device: torch.device
    precision: Precision

    def autocast(self) -> torch.autocast:
        """Context in which the forward pass runs; weights stay float32."""
        return torch.autocast(
            self.device.type, dtype=DTYPES[self.precision], enabled=self.precision != "fp32"
        )


def unrounded(device: torch.device) -> AbstractContextManager[None]:
    """Context in which products stay float32, also where the one around it rounds those of a forward pass."""
    if not torch.amp.is_autocast_available(device.type):
        return nullcontext()
    return torch.autocast(device.type, enabled=False)


def choose_compute(
    device: str, precision: Precision | Literal["auto"], threads: int, *, deterministic: bool
) -> Compute:
    """Settle `auto`, and fix the number of CPU threads and the choice of algorithms of this process.

    Called before anything is computed.

    Args:
        device: auto | cpu | gpu.
        precision: auto | fp32 | bf16 | fp16. auto is bf16 on a GPU that has it, else fp16; bf16 on a CPU
            with instructions for it and a PyTorch that uses them, where it halves the time of a step; else
            fp32.
        threads: of the CPU. The order of summation, and so the last digits, depend on it.
        deterministic: whether only algorithms are used that give the same bytes each time. Without, a GPU
            may sum in any order, and cuDNN takes the convolution that was fastest in a trial.

    Raises:
        UserError: a GPU is asked for and there is none; fp16 on a CPU.
    """
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.benchmark = not deterministic
    # Else a GPU convolves float32 as TF32, with 10 bits of mantissa: in fp32, and in augmentation.
    torch.backends.cudnn.allow_tf32 = False
    if deterministic:
        # cuBLAS reads it at its first use; with any other value its sums may differ from run to run.
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = CUBLAS_WORKSPACE
    if device == "gpu" and not torch.cuda.is_available():
        built = "" if torch.version.cuda else ", being a build without CUDA"
        raise UserError(
            f"params.yaml: device is gpu, but PyTorch sees none here{built}; set device: auto or cpu."
        )
    on_gpu = device != "cpu" and torch.cuda.is_available()
    if precision == "fp16" and not on_gpu:
        raise UserError("params.yaml: precision fp16 needs a GPU; set precision: auto, bf16 or fp32.")
    return Compute(torch.device("cuda" if on_gpu else "cpu"), _settle(precision, on_gpu))


def send(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Copy a tensor of the CPU to the device without waiting until the device has done what it was told.

    It must not be in pinned memory that somebody writes to afterwards: other memory is read at once.
    """
    return tensor.to(device, non_blocking=True)


@contextmanager
def limits_in_words(arch: str) -> Iterator[None]:
    """Say what to do where PyTorch cannot train the architecture as it is asked to.

    Raises:
        SharedError: in place of PyTorch's RuntimeError where a part of the architecture has no deterministic
            algorithm, and of its ValueError where a batch is too small for batch normalisation.
    """
    try:
        yield
    except RuntimeError as error:
        operation, found, _ = str(error).partition(WITHOUT_DETERMINISM)
        if not found:
            raise
        raise SharedError(
            f"{arch} uses {operation}, for which PyTorch has no deterministic algorithm here; set "
            "deterministic: false in params.yaml, or another arch."
        ) from error
    except ValueError as error:
        if not str(error).startswith("Expected more than 1 value per channel when training"):
            raise
        raise SharedError(
            f"A batch of training, maybe the last of an epoch, has one image alone, of which {arch} leaves "
            "one pixel; its batch normalisation needs more. In params.yaml set another batch_size, or a "
            "larger preprocess.size."
        ) from error


def _settle(precision: Precision | Literal["auto"], on_gpu: bool) -> Precision:
    if precision != "auto":
        return precision
    if on_gpu:
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    # Without oneDNN, as PyTorch is built for macOS, bf16 is several times slower than fp32.
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return "fp32"
    capabilities = torch.cpu.get_capabilities()
    return "bf16" if any(has for name, has in capabilities.items() if "bf16" in name) else "fp32"
