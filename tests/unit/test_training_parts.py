"""What each of several processes takes of the batches, and what it counts for."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from training_examples import small_data, training

from pneumonia.errors import SharedError, UserError
from pneumonia.network.build import build
from pneumonia.network.device import Compute
from pneumonia.processes import Process
from pneumonia.training import distributed
from pneumonia.training.batches import EpochOrder, epoch_generator, in_order
from pneumonia.training.distributed import own_device, share_statistics
from pneumonia.training.loop import train
from pneumonia.training.objective import Objective
from pneumonia.training.parts import TrainingParts, ValidationParts


@given(count=st.integers(1, 60), share=st.integers(1, 5), world=st.integers(2, 5), epoch=st.integers(0, 2))
def test_the_parts_of_a_batch_are_disjoint_and_together_it(
    count: int, share: int, world: int, epoch: int
) -> None:
    weights = np.linspace(1, 2, count)
    order = EpochOrder(np.arange(count) % 2, share * world, 7, oversample=False)
    parts = [TrainingParts(order, weights, Process(rank, world)) for rank in range(world)]
    for part in parts:
        part.set_epoch(epoch)
    drawn = [list(part) for part in parts]
    batches = list(order)
    assert {len(one) for one in drawn} == {len(batches)} == {len(part) for part in parts}
    for number, batch in enumerate(batches):
        shares = [part.shares[number] for part in parts]
        counted = [one[number] for one, part in zip(drawn, shares, strict=True) if part.own]
        assert sorted(position for part in counted for position in part) == sorted(batch)
        assert all(one[number] for one in drawn)  # nobody has nothing to do
        assert sum(part.factor for part in shares) == pytest.approx(world)


@given(count=st.integers(1, 40), batch_size=st.integers(1, 8), world=st.integers(2, 5))
def test_every_batch_of_validation_is_counted_once_and_nobody_has_none(
    count: int, batch_size: int, world: int
) -> None:
    batches = in_order(count, batch_size)
    parts = [ValidationParts(batches, Process(rank, world)) for rank in range(world)]
    assert all(len(part) == len(part.shares) > 0 for part in parts)
    taken = {share: batch for part in parts for share, batch in zip(part.shares, part, strict=True)}
    assert [batch for _, batch in sorted(taken.items())] == batches


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"balance": "class_weights", "label_smoothing": 0.1},
        {"loss": "bce", "balance": "class_weights", "pos_weight": 2.0},
    ],
    ids=str,
)
@pytest.mark.parametrize("count", [8, 7, 1])
def test_the_mean_over_the_processes_is_the_loss_of_the_batch(values: dict[str, object], count: int) -> None:
    params = training(**values)
    labels = np.array([0, 0, 0, 0, 0, 1, 1, 1])
    objective = Objective(params, labels)
    torch.manual_seed(0)
    outputs = torch.randn(8, 1 if params.loss == "bce" else 2)
    order = EpochOrder(labels[:count], 8, 0, oversample=False)
    (batch,) = order

    def loss(positions: list[int]) -> torch.Tensor:
        return objective(outputs[positions], torch.from_numpy(labels[positions]))

    total = 0.0
    for rank in range(2):
        parts = TrainingParts(order, objective.weights(labels[:count]), Process(rank, 2))
        (part,) = parts
        total += loss(part).item() * parts.shares[0].factor
    assert total / 2 == pytest.approx(loss(batch).item())


def test_the_first_draws_what_one_alone_draws_and_the_others_draw_otherwise() -> None:
    seeds = [epoch_generator(0, 1, 1, rank).initial_seed() for rank in range(3)]
    assert seeds[0] == epoch_generator(0, 1, 1).initial_seed()
    assert len(set(seeds)) == 3


def test_shared_statistics_keep_the_activation_in_the_layer() -> None:
    network = build("regnetx_002", 2, 32)
    images = torch.randn(2, 1, 32, 32)
    gpu = Compute(torch.device("cuda", 0), "fp32")
    expected = network.eval()(images)
    assert share_statistics(network, Compute(torch.device("cpu"), "fp32"), Process(0, 2)) is network
    assert share_statistics(network, gpu, Process()) is network
    names = list(network.state_dict())
    shared = share_statistics(network, gpu, Process(0, 2)).eval()
    kinds = [module for module in shared.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    assert kinds
    assert all(isinstance(module, nn.SyncBatchNorm) for module in kinds)
    assert list(shared.state_dict()) == names
    torch.testing.assert_close(shared(images), expected)


def test_each_process_has_the_gpu_of_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    gpu = Compute(torch.device("cuda"), "fp32")
    second = Process(3, 4, 1, "torchrun")
    assert own_device(gpu, training(devices=2, nodes=2), second).device == torch.device("cuda", 1)
    assert own_device(gpu, training(), Process()) is gpu
    assert own_device(Compute(torch.device("cpu"), "fp32"), training(devices=9), second).device.type == "cpu"
    with pytest.raises(UserError, match="devices is 3, but PyTorch sees 2 GPU here; set devices: 2"):
        own_device(gpu, training(devices=3), Process(0, 3))


def test_processes_that_would_train_something_else_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer: Any = None
    others = [("a", 2), ("b", 2), ("a", 1)]
    for other in others:
        monkeypatch.setattr(distributed, "gather", lambda mine, other=other: [mine, other])
        agree = partial(distributed.Agreement("a", 2).setup, trainer, trainer, "fit")
        if other == others[0]:
            agree()
        else:
            with pytest.raises(SharedError, match="differ in parameters, data, code"):
                agree()


def test_only_a_lost_connection_is_put_into_words() -> None:
    lost = "[../gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:19"
    for process, text, expected in (
        (Process(0, 2), lost, SharedError),
        (Process(0, 2), "mat1 and mat2 shapes cannot be multiplied", RuntimeError),
        (Process(), lost, RuntimeError),
    ):
        with pytest.raises(expected) as caught, distributed.lost_process_in_words(process):
            raise RuntimeError(text)
        assert caught.type is expected


def test_several_machines_without_a_launcher_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nodes is 2.*torchrun"):
        train(training(nodes=2), small_data(), tmp_path)
