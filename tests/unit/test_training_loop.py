"""The loop, on a few small images that one can learn."""

import errno
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training_examples import STILL, small_data, training

from pneumonia.errors import UserError
from pneumonia.network.device import choose_compute
from pneumonia.network.predict import predict
from pneumonia.network.weights import load_weights
from pneumonia.training import classifier as classifier_module
from pneumonia.training.callbacks import KeptWeights
from pneumonia.training.loop import Trained, TrainingData, prepare, train
from pneumonia.training.objective import Objective


@pytest.fixture(scope="module")
def data() -> TrainingData:
    return small_data()


def weights_of(trained: Trained) -> dict[str, torch.Tensor]:
    return trained.module.state_dict()


def test_the_last_epoch_is_kept_where_that_is_asked_for(data: TrainingData, tmp_path: Path) -> None:
    kept = {keep: train(training(epochs=4, lr=0.1, keep=keep), data, tmp_path) for keep in ("best", "last")}
    assert kept["best"].history == kept["last"].history
    assert kept["best"].best_epoch < 3  # at such a rate the last is not the best
    assert kept["last"].best_epoch == 3
    first, last = map(weights_of, kept.values())
    assert any(not torch.equal(first[name], last[name]) for name in first)


def test_it_learns_what_can_be_learned_and_keeps_the_best_epoch(data: TrainingData, tmp_path: Path) -> None:
    told: list[int] = []
    trained = train(training(epochs=6), data, tmp_path, on_epoch=lambda epoch, _: told.append(epoch))
    aurocs = [epoch["val_auroc"] for epoch in trained.history]
    assert told == [0, 1, 2, 3, 4, 5]
    assert max(aurocs) > 0.9
    assert trained.best_epoch == int(np.argmax(aurocs))
    probability = predict(
        trained.module,
        trained.description,
        data.images,
        data.val_rows,
        choose_compute("cpu", "fp32", 1, deterministic=True),
    )
    predicted = (probability >= 0.5).astype(int)
    best = trained.history[trained.best_epoch]
    assert (predicted == data.val_labels).mean() == pytest.approx(best["val_accuracy"])
    assert (trained.description.mean, trained.description.std) == (0.3, 0.2)


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(data: TrainingData, tmp_path: Path) -> None:
    first, again, other = (train(training(epochs=1, seed=s), data, tmp_path) for s in (0, 0, 1))
    for name, tensor in weights_of(first).items():
        assert torch.equal(tensor, weights_of(again)[name])
    assert any(not torch.equal(t, weights_of(other)[n]) for n, t in weights_of(first).items())
    assert first.history == again.history


@pytest.mark.parametrize(
    "values",
    [
        {"loss": "bce", "pos_weight": 2.0, "optimizer": "sgd", "schedule": "plateau"},
        {"balance": "oversampling", "schedule": "one_cycle", "optimizer": "adam"},
        {"balance": "class_weights", "label_smoothing": 0.1, "normalise": "imagenet", "precision": "bf16"},
        {"arch": "test_vit", "gradient_clip": 0.0, "schedule": "constant"},
        {"normalise": "image", "mixup": 0.4, "average_weights": 0.9},
    ],
)
def test_every_choice_trains(data: TrainingData, tmp_path: Path, values: dict[str, Any]) -> None:
    trained = train(training(epochs=1, **values), data, tmp_path)
    assert len(trained.history) == 1
    assert all(np.isfinite(list(trained.history[0].values())))


def test_images_normalised_by_themselves_are_so_in_training_validation_and_use(
    data: TrainingData, tmp_path: Path
) -> None:
    params = training(epochs=2, normalise="image", augment=STILL)
    trained = train(params, data, tmp_path / "a")
    assert (trained.description.mean, trained.description.std) == (None, None)
    probability = predict(trained.module, trained.description, data.images, data.val_rows, trained.compute)
    accuracy = ((probability >= 0.5) == data.val_labels).mean()
    assert accuracy == pytest.approx(trained.history[trained.best_epoch]["val_accuracy"])
    # Brighter and with more contrast by any factor: the same numbers all the way.
    lit = train(params, replace(data, images=data.images // 4 * 4), tmp_path / "b")
    dim = train(params, replace(data, images=data.images // 4), tmp_path / "c")
    for one, other in zip(lit.history, dim.history, strict=True):
        assert one["train_loss"] == pytest.approx(other["train_loss"], rel=1e-3)
        assert one["val_loss"] == pytest.approx(other["val_loss"], rel=1e-3)


@pytest.mark.parametrize(("arch", "expected"), [("resnet18", (0.449, 0.226)), ("test_resnet", (0.5, 0.5))])
def test_imagenets_mean_and_deviation_are_the_architectures(
    data: TrainingData, tmp_path: Path, arch: str, expected: tuple[float, float]
) -> None:
    _, description, _ = prepare(training(arch=arch, normalise="imagenet"), data, tmp_path)
    assert (description.mean, description.std) == expected


@pytest.mark.parametrize(
    ("arch", "heads"), [("test_resnet", {"fc"}), ("deit_tiny_distilled_patch16_224", {"head", "head_dist"})]
)
def test_head_alone_leaves_the_backbone_as_it_was(
    data: TrainingData, tmp_path: Path, arch: str, heads: set[str]
) -> None:
    values = {"arch": arch, "epochs": 1, "finetune": "head"}
    before = weights_of(train(training(**values, lr=1e-8), data, tmp_path))
    after = weights_of(train(training(**values), data, tmp_path))
    moved = {name for name in before if not torch.allclose(before[name], after[name], atol=1e-6)}
    assert moved == {f"{head}.{kind}" for head in heads for kind in ("weight", "bias")}


def test_head_then_all_thaws_the_backbone(data: TrainingData, tmp_path: Path) -> None:
    values = {"finetune": "head_then_all", "head_epochs": 1, "epochs": 2, "monitor": "val_loss"}
    frozen: list[bool] = []
    parameters: list[torch.nn.Parameter] = []

    def look(epoch: int, metrics: dict[str, float]) -> None:
        frozen.append(not parameters[0].requires_grad)

    build = classifier_module.Classifier.on_train_epoch_start

    def spy(self: classifier_module.Classifier) -> None:
        build(self)
        parameters[:] = [next(self.network.parameters())]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classifier_module.Classifier, "on_train_epoch_start", spy)
        train(training(**values), data, tmp_path, on_epoch=look)
    assert frozen == [True, False]


def test_early_stopping_stops(data: TrainingData, tmp_path: Path) -> None:
    trained = train(training(epochs=30, lr=1e-9, patience=2, optimizer="sgd"), data, tmp_path)
    assert len(trained.history) < 30


def test_a_loss_that_is_not_finite_stops_with_where_and_why(data: TrainingData, tmp_path: Path) -> None:
    diverging = training(lr=10.0, optimizer="sgd", gradient_clip=0.0, arch="test_vit", epochs=20)
    with pytest.raises(UserError, match=r"diverged: the loss.*epoch \d+, batch \d+, at.*\d\. Lower lr"):
        train(diverging, data, tmp_path)


def diverge(patch: pytest.MonkeyPatch, *, epoch: int, training: bool) -> None:
    """Make the loss infinite from an epoch on, in training or in validation."""
    finite = Objective.forward
    calls = [0]

    def forward(self: Objective, outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        calls[0] += outputs.requires_grad == training
        batches = 4 if training else 2
        return finite(self, outputs, labels) * (
            torch.inf if outputs.requires_grad == training and calls[0] > epoch * batches else 1
        )

    patch.setattr(Objective, "forward", forward)


def test_the_best_weights_until_then_are_kept_and_the_sentence_says_where(
    data: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = train(training(epochs=3, schedule="constant"), data, tmp_path / "other")
    diverge(monkeypatch, epoch=2, training=True)
    values = training(epochs=5, schedule="constant")
    with pytest.raises(UserError, match=r"epoch 2, batch 0.*are in .*safetensors\.$") as caught:
        train(values, data, tmp_path)
    path = Path(str(caught.value).split(" are in ")[1].rstrip("."))
    module, _ = load_weights(path)
    best = max(expected.history[:2], key=lambda epoch: epoch["val_auroc"])
    assert f"of epoch {best['epoch']}" in str(caught.value)
    probability = predict(module, expected.description, data.images, data.val_rows, expected.compute)
    accuracy = ((probability >= 0.5) == data.val_labels).mean()
    assert accuracy == pytest.approx(best["val_accuracy"])


def test_a_disk_that_is_full_then_does_not_hide_the_divergence(
    data: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    diverge(monkeypatch, epoch=2, training=True)
    expected = (
        r"diverged: .* epoch 2, batch 0, at .*\. The best weights until then, of epoch [01], "
        r"could not be kept: There is no space left in .* for best\.safetensors"
    )
    with pytest.raises(UserError, match=expected):
        train(training(epochs=5, schedule="constant"), data, tmp_path)
    assert not list(tmp_path.rglob("best*"))


def test_a_loss_that_is_not_finite_in_validation_stops_too(
    data: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    diverge(monkeypatch, epoch=0, training=False)
    with pytest.raises(UserError, match=r"diverged: the validation loss became inf in epoch 0.*clip\.$"):
        train(training(epochs=1), data, tmp_path)


def test_a_split_of_one_class_is_refused(data: TrainingData, tmp_path: Path) -> None:
    one_class = TrainingData(
        data.images, data.train_rows, data.train_labels, data.val_rows[::2], data.val_labels[::2], 0.3, 0.2
    )
    with pytest.raises(UserError, match="validation split holds one class only"):
        train(training(), one_class, tmp_path)


def test_of_equal_epochs_the_first_is_kept() -> None:
    class Module(classifier_module.Classifier):
        def __init__(self) -> None:
            torch.nn.Module.__init__(self)
            self.network = torch.nn.Linear(1, 1)

    class Trainer:
        current_epoch = 0

    best, module, trainer = KeptWeights("val_loss", "best"), Module(), Trainer()
    for epoch, value in enumerate([0.5, 0.3, 0.3, 0.4]):
        trainer.current_epoch = epoch
        module.epoch_metrics = {"val_loss": value}
        best.on_validation_end(trainer, module)  # type: ignore[arg-type]
    assert best.epoch == 1
