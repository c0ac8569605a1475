"""Optimisers and schedules: which parameters move, and how fast when."""

from pathlib import Path

import pytest
import torch
from torch import nn

from pneumonia.network.build import build
from pneumonia.params import Training, load_params
from pneumonia.training.optimisation import head_of, make_optimizer, make_step_schedule, may_be_fused

STEPS = 10


def training(**values: object) -> Training:
    return load_params(Path(__file__).parents[2] / "params.yaml").training.model_copy(update=values)


@pytest.fixture(scope="module")
def module() -> nn.Module:
    return build("test_resnet", 2, 32)


def rates(params: Training, module: nn.Module) -> list[float]:
    optimizer = make_optimizer(params, module)
    schedule = make_step_schedule(params, optimizer, STEPS)
    assert schedule is not None
    seen = []
    for _ in range(params.epochs * STEPS):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return seen


@pytest.mark.parametrize(
    ("name", "kind"), [("sgd", torch.optim.SGD), ("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)]
)
def test_the_optimiser_has_every_parameter_once(module: nn.Module, name: str, kind: type) -> None:
    optimizer = make_optimizer(training(optimizer=name, weight_decay=0.3), module)
    assert type(optimizer) is kind
    held = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in module.parameters())
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0.3}


def test_head_then_all_gives_the_backbone_a_lower_rate(module: nn.Module) -> None:
    optimizer = make_optimizer(training(finetune="head_then_all", lr=0.1, backbone_lr_factor=0.01), module)
    head, backbone = optimizer.param_groups
    assert (head["lr"], backbone["lr"]) == (0.1, pytest.approx(0.001))
    assert {id(p) for p in head["params"]} == {id(p) for p in head_of(module).parameters()}


def test_cosine_warms_up_and_ends_near_zero(module: nn.Module) -> None:
    seen = rates(training(schedule="cosine", epochs=4, warmup_epochs=1, lr=1.0), module)
    assert seen[0] == pytest.approx(0.1)
    assert max(seen) == seen[STEPS - 1] == pytest.approx(1.0)
    assert seen[STEPS + 15] == pytest.approx(0.5)
    assert 0 < seen[-1] < 0.01


def test_constant_stays(module: nn.Module) -> None:
    seen = rates(training(schedule="constant", epochs=3, warmup_epochs=1, lr=0.5), module)
    assert seen[:2] == [pytest.approx(0.05), pytest.approx(0.1)]
    assert set(seen[STEPS:]) == {0.5}


def test_one_cycle_rises_and_falls(module: nn.Module) -> None:
    seen = rates(training(schedule="one_cycle", epochs=4, lr=1.0), module)
    top = seen.index(max(seen))
    assert max(seen) == pytest.approx(1.0)
    assert seen[0] < 0.1
    assert seen[:top] == sorted(seen[:top])
    assert seen[top:] == sorted(seen[top:], reverse=True)


def test_plateau_does_not_move_with_the_steps(module: nn.Module) -> None:
    params = training(schedule="plateau")
    assert make_step_schedule(params, make_optimizer(params, module), STEPS) is None


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_a_fused_update_is_the_same_to_rounding(name: str) -> None:
    updated = []
    for fused in (False, True):
        torch.manual_seed(0)
        module = build("test_resnet", 2, 32)
        optimizer = make_optimizer(training(optimizer=name, weight_decay=0.1), module, fused=fused)
        module(torch.ones(2, 1, 32, 32)).square().mean().backward()
        optimizer.step()
        updated.append([parameter.detach().clone() for parameter in module.parameters()])
    for plain, fused_one in zip(*updated, strict=True):
        torch.testing.assert_close(plain, fused_one)


def test_the_update_is_fused_on_a_gpu_unless_a_scaled_gradient_is_clipped() -> None:
    gpu, cpu = torch.device("cuda"), torch.device("cpu")
    assert may_be_fused(gpu, "bf16-mixed", 1.0)
    assert may_be_fused(gpu, "16-mixed", 0.0)
    assert not may_be_fused(gpu, "16-mixed", 1.0)
    assert not may_be_fused(cpu, "bf16-mixed", 0.0)
