"""Optimisers and schedules: which parameters move, and how fast when."""

from pathlib import Path

import pytest
import torch
from torch import nn
from training_examples import small_data
from training_examples import training as small_training

from pneumonia.network.build import build, head_of
from pneumonia.params import Training, load_params
from pneumonia.training import classifier as classifier_module
from pneumonia.training.loop import make_loaders, make_trainer, prepare
from pneumonia.training.optimisation import (
    PEAK_MOMENTUM,
    make_optimizer,
    make_plateau_schedule,
    make_step_schedule,
    may_be_fused,
)

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


def test_the_head_has_its_parameters_in_the_order_of_the_module(module: nn.Module) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "get_classifier", lambda: module)  # more parameters than chance would order
        head, backbone = make_optimizer(training(), module).param_groups
    assert [id(p) for p in head["params"]] == [id(p) for p in module.parameters()]
    assert backbone["params"] == []


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


def test_one_cycle_has_its_least_momentum_where_the_rate_is_highest(module: nn.Module) -> None:
    params = training(schedule="one_cycle", optimizer="sgd", epochs=4)
    optimizer = make_optimizer(params, module)
    schedule = make_step_schedule(params, optimizer, STEPS)
    assert schedule is not None
    seen = []
    for _ in range(params.epochs * STEPS):
        group = optimizer.param_groups[0]
        seen.append((group["lr"], -group["momentum"]))
        optimizer.step()
        schedule.step()
    assert max(seen)[1] == max(momentum for _, momentum in seen) == pytest.approx(-PEAK_MOMENTUM)


def test_plateau_drops_the_rate_with_the_epoch_after_the_patience(module: nn.Module) -> None:
    params = training(schedule="plateau", plateau_patience=2, lr=1.0)
    optimizer = make_optimizer(params, module)
    schedule = make_plateau_schedule(params, optimizer, "min")
    seen = []
    for value in (0.5, 0.6, 0.49999, 0.5, 0.4):  # the third is better by less than a ten-thousandth
        schedule.step(value)
        seen.append(optimizer.param_groups[0]["lr"])
    assert seen == pytest.approx([1.0, 1.0, 1.0, 0.1, 0.1])


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


def train_a_step(root: Path, *, fused: bool, **values: object) -> tuple[nn.Module, list[torch.Tensor]]:
    """One step in bf16 with a clipped gradient: the network, and what its parameters were before."""
    params = small_training(precision="bf16", schedule="constant", weight_decay=0.0, **values)
    data = small_data()
    compute, _, classifier = prepare(params, data, root)
    before = [parameter.detach().clone() for parameter in classifier.network.parameters()]
    trainer = make_trainer(params, compute, [], steps=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classifier_module, "may_be_fused", lambda *_: fused)  # as on a GPU
        trainer.fit(classifier, *make_loaders(params, data, compute.device))
    assert trainer.global_step == 1
    assert bool(trainer.optimizers[0].defaults["fused"]) == fused
    return classifier.network, before


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_a_fused_update_trains_in_bf16_with_a_clipped_gradient(tmp_path: Path, name: str) -> None:
    fused, plain = (
        train_a_step(tmp_path, fused=fused, optimizer=name, gradient_clip=1.0)[0] for fused in (True, False)
    )
    for one, other in zip(fused.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("fused", [True, False])
def test_the_gradient_is_clipped_to_its_norm(tmp_path: Path, fused: bool) -> None:
    values = {"optimizer": "sgd", "lr": 1.0, "gradient_clip": 1e-3}
    network, before = train_a_step(tmp_path, fused=fused, **values)
    moved = [(new - old).flatten() for new, old in zip(network.parameters(), before, strict=True)]
    assert torch.cat(moved).norm().item() == pytest.approx(1e-3, rel=0.01)
