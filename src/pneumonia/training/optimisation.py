"""Optimiser and schedule of the learning rate."""

import math

import torch
from torch import nn, optim
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR, ReduceLROnPlateau

from pneumonia.network.build import head_of
from pneumonia.params import Training

PEAK_MOMENTUM = 0.85
"""Of sgd in one_cycle, where the rate is highest; the first beta of adam and adamw."""


def make_optimizer(params: Training, module: nn.Module, *, fused: bool = False) -> optim.Optimizer:
    """Make the optimiser named in params.yaml, with the head and the backbone as two groups of parameters.

    Args:
        params: the top-level keys of params.yaml.
        module: of timm.
        fused: whether one kernel does the whole update, see `may_be_fused`.
    """
    head = set(head_of(module).parameters())
    backbone_factor = params.backbone_lr_factor if params.finetune == "head_then_all" else 1.0
    groups = [
        # In the module's order: an optimiser's state is restored by position.
        {"params": [p for p in module.parameters() if p in head], "lr": params.lr},
        {
            "params": [p for p in module.parameters() if p not in head],
            "lr": params.lr * backbone_factor,
        },
    ]
    decay = params.weight_decay
    one_kernel = fused or None  # None: PyTorch's choice among the others; False would rule out the next best
    match params.optimizer:
        case "sgd":
            return optim.SGD(groups, momentum=params.momentum, weight_decay=decay, fused=one_kernel)
        case "adam":
            return optim.Adam(groups, weight_decay=decay, fused=one_kernel)
        case "adamw":
            return optim.AdamW(groups, weight_decay=decay, fused=one_kernel)


def may_be_fused(device: torch.device, precision: str, gradient_clip: float) -> bool:
    """Whether the update is done by one kernel: on a GPU, where launching many small ones takes longer.

    Not where a scaled fp16 gradient is clipped: the fused update takes the scale out itself, after that. On
    the CPU it gains 2 % or nothing (benchmarks/results/step.json).

    Args:
        device: of the parameters.
        precision: as Lightning names it.
        gradient_clip: 0 for none.
    """
    return device.type == "cuda" and not (precision == "16-mixed" and gradient_clip)


def make_step_schedule(
    params: Training, optimizer: optim.Optimizer, steps_per_epoch: int
) -> LRScheduler | None:
    """Make the schedule that moves the rate after every step; None where it moves after an epoch."""
    total = params.epochs * steps_per_epoch
    if params.schedule == "one_cycle":
        # Smith & Topin 2019, doi 10.1117/12.2520589
        rates = [group["lr"] for group in optimizer.param_groups]
        return OneCycleLR(optimizer, rates, total_steps=total, base_momentum=PEAK_MOMENTUM)
    if params.schedule == "plateau":
        return None
    warmup = params.warmup_epochs * steps_per_epoch

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        if params.schedule == "constant":
            return 1.0
        # Loshchilov & Hutter 2017, arXiv 1608.03983, without restarts
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))

    return LambdaLR(optimizer, factor)


def make_plateau_schedule(params: Training, optimizer: optim.Optimizer, mode: str) -> ReduceLROnPlateau:
    """Make the schedule that drops the rate tenfold when the monitored metric stops getting better.

    By PyTorch's own rule, because the source of recipes/adeolujoseph-rsna.yaml uses PyTorch's: an epoch is
    better by more than a ten-thousandth of the best, and `plateau_patience` epochs in a row that are not are
    borne; the next one drops the rate.
    """
    return ReduceLROnPlateau(optimizer, mode=mode, patience=params.plateau_patience)  # type: ignore[arg-type]
