"""A training that is interrupted and goes on ends with the bytes of one that never was."""

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from training_examples import small_data, training

from pneumonia.network import build as build_module
from pneumonia.params import Training
from pneumonia.training import batches, loop, resume, state_file
from pneumonia.training.loop import Trained, TrainingData, train
from pneumonia.training.resume import FOLDER, KEPT_TRAININGS, States


@pytest.fixture(scope="module")
def data() -> TrainingData:
    return small_data()


def interrupt(params: Training, data: TrainingData, root: Path, epoch: int = 2) -> None:
    """Train until an epoch, counted from 0, is nearly over."""

    def stop(here: int, metrics: dict[str, float]) -> None:
        if here == epoch:
            raise KeyboardInterrupt

    with pytest.raises(SystemExit):  # which the trainer makes of it
        train(params, data, root, on_epoch=stop)


def epochs_told(params: Training, data: TrainingData, root: Path) -> tuple[Trained, list[int]]:
    told: list[int] = []
    return train(params, data, root, on_epoch=lambda epoch, _: told.append(epoch)), told


def states(root: Path) -> list[Path]:
    return sorted((root / FOLDER).glob("*/*.state"))


def require_same_end(trained: Trained, reference: Trained) -> None:
    """The last state holds weights, best weights, optimiser, schedule, history and counters."""
    epochs = len(reference.history)
    assert len(trained.history) == epochs
    assert trained.states.file(epochs).read_bytes() == reference.states.file(epochs).read_bytes()
    assert trained.history == reference.history
    assert trained.best_epoch == reference.best_epoch
    for name, tensor in reference.module.state_dict().items():
        assert torch.equal(trained.module.state_dict()[name], tensor)


def drop_half(patch: pytest.MonkeyPatch) -> None:
    """Build networks with dropout before the last layer, which timm leaves out by default."""

    def build(arch: str, outputs: int, size: int) -> nn.Module:
        module: Any = build_module.build(arch, outputs, size)
        module.drop_rate = 0.5
        return module

    patch.setattr(loop, "build", build)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"optimizer": "sgd", "schedule": "plateau", "plateau_patience": 0, "lr": 0.5},
        {"optimizer": "adam", "schedule": "one_cycle"},
        {"schedule": "constant", "warmup_epochs": 3, "loss": "bce"},
        {"finetune": "head_then_all", "head_epochs": 1},
        {"finetune": "head_then_all", "head_epochs": 2},
        {"finetune": "head_then_all", "head_epochs": 3},
        {"patience": 2, "epochs": 6, "optimizer": "sgd", "lr": 1e-9},
        {"balance": "oversampling"},
        {"precision": "bf16", "arch": "test_efficientnet"},
        {"arch": "test_vit"},
        {"average_weights": 0.9},
        {"mixup": 0.4},
        {"average_weights": 0.9, "finetune": "head_then_all", "head_epochs": 2},
    ],
    ids=str,
)
def test_the_same_bytes_after_an_interruption(
    data: TrainingData, tmp_path: Path, values: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    params = training(**{"epochs": 4, "monitor": "val_loss", **values})
    reference = train(params, data, tmp_path / "whole")
    assert "resuming" not in capsys.readouterr().err
    interrupt(params, data, tmp_path / "cut")
    trained, told = epochs_told(params, data, tmp_path / "cut")
    assert f"resuming after epoch 2 of {params.epochs}\n" in capsys.readouterr().err
    assert told == list(range(len(reference.history)))
    require_same_end(trained, reference)


def test_the_same_bytes_with_dropout(
    data: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop_half(monkeypatch)
    reference = train(training(), data, tmp_path / "whole")
    interrupt(training(), data, tmp_path / "cut", epoch=1)
    require_same_end(train(training(), data, tmp_path / "cut"), reference)
    monkeypatch.setattr(loop, "build", build_module.build)
    assert train(training(), data, tmp_path / "no dropout").history != reference.history


def test_the_same_bytes_where_a_process_reads_the_batches_ahead(
    data: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU that the images do not fit on."""
    monkeypatch.setattr(loop, "make_loader", lambda *a, ahead: batches.make_loader(*a, ahead=True))
    reference = train(training(), data, tmp_path / "whole")
    interrupt(training(), data, tmp_path / "cut", epoch=1)
    require_same_end(train(training(), data, tmp_path / "cut"), reference)


@pytest.mark.parametrize("values", [{}, {"patience": 1, "lr": 1e-9, "optimizer": "sgd", "epochs": 5}])
def test_interrupted_before_the_outputs_were_written_nothing_is_trained_again(
    data: TrainingData, tmp_path: Path, values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = train(training(**values), data, tmp_path)
    monkeypatch.setattr(loop.Classifier, "training_step", lambda *_: pytest.fail("trained"))
    require_same_end(train(training(**values), data, tmp_path), reference)


def test_interrupted_in_the_first_epoch_it_starts_anew(data: TrainingData, tmp_path: Path) -> None:
    interrupt(training(), data, tmp_path / "cut", epoch=0)
    assert states(tmp_path / "cut") == []
    require_same_end(train(training(), data, tmp_path / "cut"), train(training(), data, tmp_path / "whole"))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [truncate, empty, flip])
def test_of_a_damaged_state_one_hears_and_the_one_before_serves(
    data: TrainingData,
    tmp_path: Path,
    damage: Callable[[Path], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    interrupt(training(epochs=4), data, tmp_path / "cut", epoch=3)
    newest = states(tmp_path / "cut")[-1]
    assert [path.name for path in states(tmp_path / "cut")] == ["epoch-000002.state", "epoch-000003.state"]
    damage(newest)
    capsys.readouterr()
    trained = train(training(epochs=4), data, tmp_path / "cut")
    said = capsys.readouterr().err
    assert f"warning: {newest} is damaged; the state before it is taken.\n" in said
    assert "resuming after epoch 2 of 4\n" in said
    require_same_end(trained, train(training(epochs=4), data, tmp_path / "whole"))


def test_with_every_state_damaged_it_starts_anew(
    data: TrainingData, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    interrupt(training(epochs=4), data, tmp_path / "cut", epoch=3)
    for path in states(tmp_path / "cut"):
        truncate(path)
    interrupt(training(epochs=4), data, tmp_path / "cut", epoch=1)
    assert "resuming" not in capsys.readouterr().err
    assert [path.name for path in states(tmp_path / "cut")] == ["epoch-000001.state"]


@pytest.mark.parametrize("values", [{"lr": 2e-3}, {"epochs": 4}, {"seed": 1}, {"precision": "bf16"}])
def test_a_training_with_other_parameters_does_not_take_the_state(
    data: TrainingData, tmp_path: Path, values: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    interrupt(training(), data, tmp_path, epoch=1)
    interrupt(training(**values), data, tmp_path, epoch=0)
    assert "resuming" not in capsys.readouterr().err


def other_pixel(data: TrainingData) -> TrainingData:
    images = data.images.copy()
    images[0, 0, 0] ^= 1
    return replace(data, images=images)


@pytest.mark.parametrize(
    "change",
    [
        other_pixel,
        lambda data: replace(data, train_labels=1 - data.train_labels),
        lambda data: replace(data, val_rows=data.val_rows[::-1].copy()),
        lambda data: replace(data, mean=0.31),
    ],
)
def test_a_training_with_other_data_does_not_take_the_state(
    data: TrainingData,
    tmp_path: Path,
    change: Callable[[TrainingData], TrainingData],
    capsys: pytest.CaptureFixture[str],
) -> None:
    interrupt(training(), data, tmp_path, epoch=1)
    interrupt(training(), change(data), tmp_path, epoch=0)
    assert "resuming" not in capsys.readouterr().err


def other_code(patch: pytest.MonkeyPatch) -> None:
    code = list(resume._code())
    patch.setattr(resume, "_code", lambda: [*code[:-1], (code[-1][0], code[-1][1] + b"#")])


def other_library(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(resume, "version", lambda name: f"{name} 0.0")


def other_python(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("platform.python_version", lambda: "0.0")


def other_device(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(resume, "_device_name", lambda device: "another")


@pytest.mark.parametrize("change", [other_code, other_library, other_python, other_device])
def test_with_other_code_libraries_or_devices_the_state_is_not_taken(
    data: TrainingData,
    tmp_path: Path,
    change: Callable[[pytest.MonkeyPatch], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    interrupt(training(), data, tmp_path, epoch=1)
    change(monkeypatch)
    interrupt(training(), data, tmp_path, epoch=0)
    assert "resuming" not in capsys.readouterr().err


def test_the_code_is_all_of_the_librarys() -> None:
    names = [Path(name).as_posix() for name, _ in resume._code()]
    assert {"params.py", "training/loop.py", "network/build.py"} <= set(names)
    assert names == sorted(names)


def test_pretrained_weights_of_the_same_name_and_other_values_are_another_training(
    data: TrainingData, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    params = training(pretrained="weights.safetensors", finetune="head")
    weights = {
        name: tensor.contiguous()
        for name, tensor in build_module.build("test_resnet", 1000, 32).state_dict().items()
    }
    save_file(weights, tmp_path / "weights.safetensors")
    interrupt(params, data, tmp_path, epoch=1)
    save_file({name: tensor * 2 for name, tensor in weights.items()}, tmp_path / "weights.safetensors")
    interrupt(params, data, tmp_path, epoch=0)
    assert "resuming" not in capsys.readouterr().err


def test_removed_states_leave_nothing_behind(data: TrainingData, tmp_path: Path) -> None:
    trained = train(training(epochs=1), data, tmp_path)
    assert len(states(tmp_path)) == 1
    trained.states.remove()
    assert list((tmp_path / FOLDER).iterdir()) == []


def test_of_unfinished_trainings_only_the_newest_stay(tmp_path: Path) -> None:
    for number in range(KEPT_TRAININGS + 3):
        folder = States(tmp_path, f"{number:032}").folder
        folder.mkdir(parents=True)
        os.utime(folder, (number, number))
    (tmp_path / FOLDER / "a file").touch()
    States(tmp_path, "f" * 32).folder.mkdir()
    kept = sorted(path.name for path in (tmp_path / FOLDER).iterdir() if path.is_dir())
    newest = [f"{number:032}" for number in range(KEPT_TRAININGS + 3)][-KEPT_TRAININGS + 1 :]
    assert kept == [*newest, "f" * 32]


def test_a_full_disk_costs_the_state_and_one_warning_not_the_training(
    data: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reference = train(training(), data, tmp_path / "whole")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    capsys.readouterr()
    trained = train(training(), data, tmp_path / "full")
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning")]
    assert len(warnings) == 1
    assert "No space left on device" in warnings[0]
    assert trained.history == reference.history
    assert [path for path in (tmp_path / "full").rglob("*") if path.is_file()] == []


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    weight = torch.randn(3, 2, 4, 4).to(memory_format=torch.channels_last)
    state = {
        "weight": weight,
        "half": torch.ones(2, dtype=torch.bfloat16),
        "scalar": torch.tensor(3.0),
        "shared": [weight, weight[:1]],
        "numbers": {0: (0.9, 0.999), 1: [-np.inf, 1 / 3, 7, True, None, "text"]},
        "none": {},
    }
    path = tmp_path / "new" / "a.state"
    state_file.write_state(path, state)
    loaded = state_file.read_state(path)
    assert list(loaded) == list(state)
    assert torch.equal(loaded["weight"], weight)
    assert loaded["weight"].stride() == weight.stride()
    assert torch.equal(loaded["half"], state["half"])  # type: ignore[arg-type]
    assert loaded["scalar"].shape == ()
    assert loaded["numbers"] == state["numbers"]
    assert loaded["none"] == {}


def test_what_could_not_be_read_back_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="ndarray has no place"):
        state_file.write_state(tmp_path / "a.state", {"array": np.zeros(1)})
    assert list(tmp_path.iterdir()) == []


def test_the_bytes_are_on_the_disk_before_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.state"
    named: list[bool] = []
    monkeypatch.setattr(os, "fsync", lambda _: named.append(path.exists()))
    state_file.write_state(path, {"a": 1})
    assert named == [False, True]  # the file, then its name in the folder
