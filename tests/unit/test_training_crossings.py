"""A step does not wait for the device.

The device here is PyTorch's `meta`, which computes shapes but holds no numbers: whoever asks it for one gets
an error, and so does a copy that a GPU would wait for.
"""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from training_examples import small_data, training

from pneumonia.network.build import build
from pneumonia.network.description import NetworkDescription
from pneumonia.training import classifier as classifier_module
from pneumonia.training.batches import PackedImages
from pneumonia.training.callbacks import ProgressBar
from pneumonia.training.classifier import LOOK_EVERY, Classifier, DivergedError
from pneumonia.training.objective import Objective, outputs_of
from pneumonia.training.parts import whole
from pneumonia.training.seen import Seen

META = torch.device("meta")

EVERYTHING = training().augment.model_copy(
    update={
        "crop_area": [0.5, 1.0],
        "equalise": 0.5,
        "gamma": 0.2,
        "blur": 0.5,
        "sharpen": 0.5,
        "noise": 0.1,
        "collimate": 0.5,
        "erase": 0.5,
    }
)


class NoBlockingCopies(TorchDispatchMode):
    """Refuses copies to the device that wait for it."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.ops.aten._to_copy.default:
            crosses = kwargs.get("device", args[0].device) != args[0].device
            assert not crosses or kwargs.get("non_blocking"), "a copy that waits for the device"
        return func(*args, **kwargs)


def classifier_on_meta(**values: Any) -> Classifier:
    params = training(**values)
    description = NetworkDescription(arch=params.arch, outputs=outputs_of(params), size=32, mean=0.3, std=0.2)
    network = build(params.arch, description.outputs, 32)
    classifier = Classifier(params, network, Objective(params, np.arange(8) % 2), description).to(META)
    optimizer = SimpleNamespace(param_groups=[{"lr": 0.1}])
    classifier._trainer = SimpleNamespace(optimizers=[optimizer], current_epoch=0, max_epochs=1)  # type: ignore[assignment]
    return classifier


def packed_on_meta() -> PackedImages:
    data = small_data()
    return PackedImages(torch.from_numpy(data.images).to(META), data.train_rows, data.train_labels)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"augment": EVERYTHING},
        {"loss": "bce", "pos_weight": 2.0, "balance": "class_weights", "label_smoothing": 0.1},
        {"loss": "bce", "mixup": 0.4, "label_smoothing": 0.1},
        {"mixup": 0.4, "balance": "class_weights", "normalise": "image"},
    ],
    ids=str,
)
def test_steps_of_training_and_validation_ask_the_device_for_nothing(values: dict[str, Any]) -> None:
    classifier, images = classifier_on_meta(**values), packed_on_meta()
    with NoBlockingCopies():
        for index in range(3):
            classifier.training_step(images[[1, 2, 3, 4]], index).backward()
        classifier.validation_step(images[[5, 6]], 0)
    assert {tensor.device for tensor in [*classifier.seen.losses, *classifier.seen.logits]} == {META}


def test_now_and_then_and_at_the_end_the_losses_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """That it is looked at on `meta` is an error; so the test above can fail."""
    monkeypatch.setattr(classifier_module, "LOOK_EVERY", 3)
    classifier, images = classifier_on_meta(), packed_on_meta()
    for index in range(2):
        classifier.training_step(images[[1, 2]], index)
    with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
        classifier.training_step(images[[1, 2]], 2)
    with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
        classifier.on_validation_epoch_start()


def test_the_progress_bar_reads_the_loss_only_when_it_is_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    class Loss:
        read = 0

        def __float__(self) -> float:
            Loss.read += 1
            return 0.25

    trainer: Any = SimpleNamespace(
        estimated_stepping_batches=1000, global_step=0, current_epoch=0, max_epochs=1
    )
    bar, classifier = ProgressBar(), classifier_on_meta()
    bar.on_train_start(trainer, classifier)
    bar.bar.mininterval = 1e9  # however slow the machine is
    for index in range(500):
        bar.on_train_batch_end(trainer, classifier, {"loss": Loss()}, None, index)
    assert Loss.read == 0
    bar.bar.mininterval = 0
    bar.on_train_batch_end(trainer, classifier, {"loss": Loss()}, None, 500)
    assert Loss.read == 1
    trainer.current_epoch = 1
    bar.on_train_end(trainer, classifier)
    assert "501/1000" in (shown := capsys.readouterr().err)
    assert "epoch 1/1, loss 0.250" in shown
    assert "epoch 2" not in shown


def one_each(labels: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.ones(len(labels))


def test_a_late_look_names_the_first_batch_with_its_loss_and_rate() -> None:
    classifier = classifier_on_meta()
    outputs, labels = torch.zeros(2, 2), torch.tensor([0, 1])
    for batch in range(LOOK_EVERY):
        classifier.rate = batch / 1000
        loss = torch.tensor({40: torch.inf, 41: torch.nan}.get(batch, 1.0))
        classifier.seen.add(outputs, labels, loss, whole(batch), classifier.rate)
    with pytest.raises(DivergedError, match=r"the loss became inf in epoch 0, batch 40, .* rate of 0\.04\."):
        classifier.require_finite("loss")


def test_each_loss_is_looked_at_once() -> None:
    seen, outputs = Seen(one_each), torch.zeros(2, 2)
    losses = [1.0, 2.0, torch.nan]
    for batch, loss in enumerate(losses):
        seen.add(outputs, torch.tensor([0, 1]), torch.tensor(loss), whole(batch), 0.1)
        found = seen.first_not_finite()
        assert (found is None) == (batch < 2)
    assert found is not None
    assert found.batch == 2
    assert Seen(one_each).first_not_finite() is None


def test_the_loss_of_an_epoch_is_the_mean_over_its_images() -> None:
    seen = Seen(one_each)
    for batch, (count, loss) in enumerate([(3, 1.0), (1, 5.0)]):
        logits: Tensor = torch.zeros(count, 1)
        seen.add(logits, torch.arange(count) % 2, torch.tensor(loss), whole(batch), 0.1)
    assert seen.summarise()["loss"] == 2.0


@pytest.mark.parametrize("loss", ["cross_entropy", "bce"])
@pytest.mark.parametrize("balance", ["none", "class_weights"])
def test_the_loss_of_an_epoch_does_not_depend_on_which_images_share_a_batch(loss: str, balance: str) -> None:
    labels = torch.tensor([0] * 4 + [1] * 12)
    objective = Objective(training(loss=loss, balance=balance), labels.numpy())
    outputs = torch.linspace(-2, 2, 16)[:, None] * torch.tensor([1.0] if loss == "bce" else [1.0, 0.5])
    found = []
    for order in (torch.arange(16), torch.randperm(16, generator=torch.Generator().manual_seed(0))):
        for batches in (order.split(4), order.split(16)):
            seen = Seen(objective.weights)
            for number, batch in enumerate(batches):
                mean = objective(outputs[batch], labels[batch])
                seen.add(outputs[batch], labels[batch], mean, whole(number), 0.1)
            found.append(seen.summarise()["loss"])
    assert found == pytest.approx([found[0]] * 4, rel=1e-6)
