"""The loss, against the formulas written out."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from pneumonia.params import Training, load_params
from pneumonia.training.objective import Objective, outputs_of

LABELS = np.array([0, 1, 1, 1])
OUTPUTS = torch.tensor([[0.2, -0.3], [1.0, 0.5], [-0.7, 0.9], [0.0, 0.0]])


def training(**values: object) -> Training:
    return load_params(Path(__file__).parents[2] / "params.yaml").training.model_copy(update=values)


def loss(outputs: torch.Tensor, **values: object) -> float:
    return Objective(training(**values), LABELS)(outputs, torch.from_numpy(LABELS)).item()


def test_cross_entropy_is_the_formula() -> None:
    log_probability = OUTPUTS.log_softmax(1).numpy()
    expected = -np.mean([row[label] for row, label in zip(log_probability, LABELS, strict=True)])
    assert loss(OUTPUTS) == pytest.approx(expected)


def test_class_weights_are_balanced() -> None:
    log_probability = OUTPUTS.log_softmax(1).numpy()
    weights = np.array([4 / 2, 4 / 6])[LABELS]
    chosen = np.array([row[label] for row, label in zip(log_probability, LABELS, strict=True)])
    expected = -(weights * chosen).sum() / weights.sum()
    assert loss(OUTPUTS, balance="class_weights") == pytest.approx(expected)


def test_label_smoothing_moves_half_of_s_to_the_other_class() -> None:
    log_probability = OUTPUTS.log_softmax(1).numpy()
    targets = np.where(np.arange(2) == LABELS[:, None], 1 - 0.1, 0.1)
    expected = -(targets * log_probability).sum(1).mean()
    assert loss(OUTPUTS, label_smoothing=0.2) == pytest.approx(expected)


def test_smoothing_leaves_each_image_the_weight_of_its_class() -> None:
    log_probability = OUTPUTS.log_softmax(1).numpy()
    targets = np.where(np.arange(2) == LABELS[:, None], 1 - 0.1, 0.1)
    weights = np.array([4 / 2, 4 / 6])[LABELS]
    expected = -(weights * (targets * log_probability).sum(1)).sum() / weights.sum()
    assert loss(OUTPUTS, label_smoothing=0.2, balance="class_weights") == pytest.approx(expected)


def test_a_rare_class_does_not_raise_what_a_normal_film_is_taught() -> None:
    """The loss of normal films alone is lowest at s/2, whatever pneumonia weighs."""
    objective = Objective(
        training(label_smoothing=0.1, balance="class_weights"), np.array([0] * 95 + [1] * 5)
    )
    outputs = torch.tensor([[0.0, math.log(0.05 / 0.95)]] * 3, requires_grad=True)
    objective(outputs, torch.zeros(3, dtype=torch.int64)).backward()
    torch.testing.assert_close(outputs.grad, torch.zeros(3, 2))


@pytest.mark.parametrize(("smoothing", "balance"), [(0.0, "none"), (0.0, "class_weights"), (0.1, "none")])
def test_without_both_at_once_it_is_pytorchs_own_to_the_last_bit(smoothing: float, balance: str) -> None:
    labels = torch.from_numpy(LABELS).repeat(9)[:33]
    objective = Objective(training(label_smoothing=smoothing, balance=balance), LABELS)
    found = []
    for way in (
        objective,
        lambda outputs, labels: functional.cross_entropy(
            outputs, labels, weight=objective.class_weights, label_smoothing=smoothing
        ),
    ):
        outputs = torch.randn(33, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
        value = way(outputs, labels)
        value.backward()
        found.append((value, outputs.grad))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])


def test_one_logit_with_pos_weight_is_the_formula() -> None:
    logits = OUTPUTS[:, 1:]
    p = 1 / (1 + np.exp(-logits[:, 0].numpy()))
    targets = LABELS * 0.8 + 0.1
    expected = -(3 * targets * np.log(p) + (1 - targets) * np.log(1 - p)).mean()
    value = loss(logits, loss="bce", pos_weight=3.0, label_smoothing=0.2)
    assert value == pytest.approx(expected, rel=1e-5)


def test_both_losses_agree_where_they_say_the_same() -> None:
    difference = (OUTPUTS[:, 1] - OUTPUTS[:, 0])[:, None]
    assert loss(OUTPUTS) == pytest.approx(loss(difference, loss="bce"), rel=1e-5)
    assert [outputs_of(training(loss=name)) for name in ("cross_entropy", "bce")] == [2, 1]


CHOICES = [
    {"loss": loss, "label_smoothing": smoothing, "balance": balance, **more}
    for loss, smoothing, balance in itertools.product(
        ("cross_entropy", "bce"), (0.0, 0.2), ("none", "class_weights")
    )
    for more in ([{"pos_weight": 3.0}, {}] if loss == "bce" else [{}])
]


def outputs_for(values: dict[str, object]) -> torch.Tensor:
    return OUTPUTS[:, 1:] if values["loss"] == "bce" else OUTPUTS


@pytest.mark.parametrize("values", CHOICES, ids=str)
def test_a_blend_of_one_class_alone_loses_what_the_class_does(values: dict[str, object]) -> None:
    objective, outputs = Objective(training(**values), LABELS), outputs_for(values)
    labels = torch.from_numpy(LABELS)
    torch.testing.assert_close(objective(outputs, labels.float()), objective(outputs, labels))


@pytest.mark.parametrize("values", CHOICES, ids=str)
def test_the_half_precision_of_a_step_costs_the_loss_of_blends_no_digits(values: dict[str, object]) -> None:
    objective, outputs = Objective(training(**values), LABELS), outputs_for(values)
    parts = torch.tensor([0.1, 0.9, 0.7, 0.3])
    plain = objective(outputs, parts)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(objective(outputs, parts), plain)


@pytest.mark.parametrize("values", CHOICES, ids=str)
def test_a_blend_loses_the_blend_of_what_its_classes_do(values: dict[str, object]) -> None:
    """A batch of one class each: there cross entropy divides by the weight of that class."""
    objective, outputs = Objective(training(**values), LABELS), outputs_for(values)
    normal, pneumonia = (objective(outputs, torch.full((4,), label)) for label in (0, 1))
    weights = np.array([2, 2 / 3]) if values["balance"] == "class_weights" else np.ones(2)
    if values["loss"] == "bce":
        expected = 0.7 * normal + 0.3 * pneumonia
    else:
        shares = np.array([0.7, 0.3]) * weights
        expected = (shares[0] * normal + shares[1] * pneumonia) / shares.sum()
    torch.testing.assert_close(objective(outputs, torch.full((4,), 0.3)), expected, check_dtype=False)
