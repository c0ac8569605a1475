"""Building, keeping and applying a network."""

import json
import os
import warnings
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import timm
import torch
from safetensors.torch import save_file

from pneumonia.errors import UserError
from pneumonia.network import predict as predict_module
from pneumonia.network.build import build, build_pretrained, head_of, imagenet_statistics, require_size
from pneumonia.network.description import NetworkDescription
from pneumonia.network.device import choose_compute, limits_in_words
from pneumonia.network.predict import normalise, pneumonia_logit, predict, predict_logits
from pneumonia.network.reading import Calibration, Reading
from pneumonia.network.weights import load_weights, save_weights

DESCRIPTION = NetworkDescription(arch="test_resnet", outputs=2, size=32, mean=0.4, std=0.2)

OF_IMAGE = DESCRIPTION.model_copy(update={"mean": None, "std": None})


@pytest.mark.parametrize("arch", ["test_resnet", "test_vit", "test_efficientnet"])
@pytest.mark.parametrize("outputs", [1, 2])
def test_any_architecture_takes_one_channel_and_the_size_asked_for(arch: str, outputs: int) -> None:
    assert build(arch, outputs, 64)(torch.zeros(2, 1, 64, 64)).shape == (2, outputs)


def test_an_unknown_architecture_is_named_with_its_neighbours() -> None:
    with pytest.raises(UserError, match=r"arch is 'resnet1'.*resnet18"):
        build("resnet1", 2, 32)


def test_an_unknown_tag_is_named_with_those_there_are() -> None:
    with pytest.raises(
        UserError, match=r"arch is 'resnet18\.tv_in1'.*no such weights, but .*resnet18\.tv_in1k"
    ):
        imagenet_statistics("resnet18.tv_in1")
    with pytest.raises(UserError, match=r"arch is 'resnet1', which timm does not know"):
        imagenet_statistics("resnet1")


@pytest.mark.parametrize(
    ("arch", "size", "takes"),
    [
        ("test_vit", 100, False),
        ("test_vit", 96, True),
        ("test_resnet", 16, True),
        ("inception_v3", 64, False),
        ("mvitv2_tiny", 100, False),
        ("xcit_nano_12_p16_224", 100, False),
    ],
)
def test_a_size_that_an_architecture_cannot_take_is_one_sentence(arch: str, size: int, takes: bool) -> None:
    refused = pytest.raises(
        UserError, match=rf"arch {arch} cannot take images of preprocess\.size {size}: \S"
    )
    with nullcontext() if takes else refused:
        module = build(arch, 2, size)
        require_size(module, arch, size)
        assert module.training


def test_weights_survive_the_file_and_describe_themselves(tmp_path: Path) -> None:
    module = build("test_resnet", 2, 32).eval()
    save_weights(tmp_path / "model.safetensors", module, DESCRIPTION)
    again, description = load_weights(tmp_path / "model.safetensors")
    batch = torch.rand(3, 1, 32, 32)
    assert description == DESCRIPTION
    assert not again.training
    torch.testing.assert_close(again(batch), module(batch), rtol=0, atol=0)


def test_the_same_weights_give_the_same_bytes(tmp_path: Path) -> None:
    module = build("test_resnet", 2, 32)
    for name in ("a", "b"):
        save_weights(tmp_path / name, module, DESCRIPTION)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_damaged_or_foreign_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with pytest.raises(UserError, match="is missing"):
        load_weights(path)
    path.write_bytes(b"\x80\x04no pickle is ever opened")
    with pytest.raises(UserError, match="damaged"):
        load_weights(path)
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(UserError, match="damaged or not of this pipeline"):
        load_weights(path)


def test_pretrained_from_a_file_sums_the_colours_and_leaves_the_head_new(tmp_path: Path) -> None:
    coloured = timm.create_model("test_resnet", num_classes=1000)
    path = tmp_path / "imagenet.safetensors"
    save_file(coloured.state_dict(), path)
    grey = build_pretrained("test_resnet", 2, 32, path.name, tmp_path)
    first = next(name for name, p in coloured.named_parameters() if p.ndim == 4)
    torch.testing.assert_close(grey.state_dict()[first], coloured.state_dict()[first].sum(1, keepdim=True))
    assert grey.get_classifier().out_features == 2


def test_both_last_layers_of_a_distilled_network_are_its_head_and_new(tmp_path: Path) -> None:
    arch = "deit_tiny_distilled_patch16_224"
    coloured = timm.create_model(arch, img_size=32)
    save_file(coloured.state_dict(), tmp_path / "imagenet.safetensors")
    grey = build_pretrained(arch, 2, 32, "imagenet.safetensors", tmp_path)
    assert [layer.out_features for layer in head_of(grey).children()] == [2, 2]
    assert {name for name, _ in head_of(grey).named_parameters()} == {
        "0.weight",
        "0.bias",
        "1.weight",
        "1.bias",
    }
    torch.testing.assert_close(grey.cls_token, coloured.cls_token)


@pytest.mark.parametrize("left_out", ["bn1.running_mean", "bn1.running_var"])
def test_weights_without_the_statistics_of_batch_normalisation_are_refused(
    tmp_path: Path, left_out: str
) -> None:
    weights = timm.create_model("test_resnet").state_dict()
    del weights[left_out]
    save_file(weights, tmp_path / "part.safetensors")
    with pytest.raises(UserError, match=rf"1 of \d+ tensors are missing, the first is {left_out}\."):
        build_pretrained("test_resnet", 2, 32, "part.safetensors", tmp_path)


def test_weights_without_counts_of_batches_are_taken(tmp_path: Path) -> None:
    weights = timm.create_model("test_resnet").state_dict()
    learned = {name: tensor for name, tensor in weights.items() if "num_batches" not in name}
    assert len(learned) < len(weights)
    save_file(learned, tmp_path / "imagenet.safetensors")
    build_pretrained("test_resnet", 2, 32, "imagenet.safetensors", tmp_path)


@pytest.mark.parametrize(
    ("pretrained", "sentence"),
    [
        ("weights.pth", "path of a .safetensors file"),
        ("none.safetensors", r"does not exist\. Fetch https://\S+resnet18\S+model.safetensors"),
        ("other.safetensors", "does not hold timm's weights of resnet18"),
    ],
)
def test_a_wrong_weights_file_is_a_sentence(tmp_path: Path, pretrained: str, sentence: str) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(UserError, match=sentence):
        build_pretrained("resnet18", 2, 32, pretrained, tmp_path)


def test_without_a_network_the_hub_is_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise requests.ConnectionError

    monkeypatch.setattr(requests, "head", unreachable)
    monkeypatch.setattr("pneumonia.network.build.try_to_load_from_cache", lambda *_: None)
    with pytest.raises(UserError, match=r"hub cannot be reached.*model.safetensors"):
        build_pretrained("resnet18", 2, 32, "hub", tmp_path)


def test_normalise_is_the_formula() -> None:
    images = torch.tensor([[[0, 255], [51, 102]]], dtype=torch.uint8)
    expected = (torch.tensor([[[[0.0, 1.0], [0.2, 0.4]]]]) - 0.4) / 0.2
    torch.testing.assert_close(normalise(images, DESCRIPTION), expected)
    assert images[0, 0, 1] == 255  # the caller's batch is left alone
    floats = images.float()
    normalise(floats, DESCRIPTION)
    torch.testing.assert_close(floats, images.float())


def test_an_image_of_its_own_mean_and_deviation_looks_the_same_in_any_light() -> None:
    images = torch.randint(0, 100, (3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    expected = np.stack([(image - image.mean()) / image.std() for image in images.numpy().astype(float)])
    plain = normalise(images, OF_IMAGE)
    np.testing.assert_allclose(plain[:, 0], expected, atol=1e-5)
    torch.testing.assert_close(normalise(2 * images + 20, OF_IMAGE), plain)
    torch.testing.assert_close(normalise(images[1:2], OF_IMAGE), plain[1:2])  # whatever the batch
    assert plain.is_contiguous(memory_format=torch.channels_last)


def test_an_image_of_one_grey_is_nothing_and_a_nearly_blank_one_is_not_blown_up() -> None:
    blank = torch.full((1, 32, 32), 200, dtype=torch.uint8)
    assert normalise(blank, OF_IMAGE).abs().max() < 1e-3
    blank[0, 0, 0] = 201
    assert normalise(blank, OF_IMAGE).max() <= 1


def test_the_description_travels_with_or_without_mean_and_std(tmp_path: Path) -> None:
    module = build("test_resnet", 2, 32)
    save_weights(tmp_path / "model.safetensors", module, OF_IMAGE)
    assert load_weights(tmp_path / "model.safetensors")[1] == OF_IMAGE
    as_ever = (
        '{"arch":"test_resnet","outputs":2,"size":32,"mean":0.4,"std":0.2,"classes":["normal","pneumonia"]}'
    )
    assert DESCRIPTION.model_dump_json() == as_ever
    with pytest.raises(ValueError, match="both given or both left to the image"):
        NetworkDescription(arch="test_resnet", outputs=2, size=32, mean=None, std=0.2)


def test_two_outputs_and_one_logit_agree() -> None:
    two = torch.tensor([[0.3, 1.5], [2.0, -1.0]])
    torch.testing.assert_close(pneumonia_logit(two).sigmoid(), two.softmax(1)[:, 1])
    torch.testing.assert_close(pneumonia_logit(two[:, 1:]), two[:, 1])


def test_predict_takes_the_rows_asked_for_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    compute = choose_compute("cpu", "fp32", 1, deterministic=True)
    module = build("test_resnet", 2, 32).eval()
    images = np.random.default_rng(0).integers(0, 256, (7, 32, 32), dtype=np.uint8)
    whole = predict(module, DESCRIPTION, images, np.arange(7), compute)
    some = predict(module, DESCRIPTION, images, np.array([5, 1]), compute)
    assert whole.shape == (7,)
    assert ((whole > 0) & (whole < 1)).all()
    np.testing.assert_allclose(some, whole[[5, 1]], rtol=1e-5)
    monkeypatch.setattr(predict_module, "BATCH_SIZE", 3)
    logits = predict_logits(module, DESCRIPTION, images, np.arange(7), compute)
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), whole, rtol=1e-5)
    assert predict(module, DESCRIPTION, images, np.array([], int), compute).shape == (0,)


def test_a_reading_takes_the_mean_with_the_mirror_image_and_puts_it_through_a_line() -> None:
    compute = choose_compute("cpu", "fp32", 1, deterministic=True)
    module = build("test_resnet", 2, 32).eval()
    images, rows = np.random.default_rng(0).integers(0, 256, (7, 32, 32), dtype=np.uint8), np.arange(7)
    plain = predict_logits(module, DESCRIPTION, images, rows, compute)
    mirrored = predict_logits(module, DESCRIPTION, images[:, :, ::-1].copy(), rows, compute)
    assert np.abs(plain - mirrored).max() > 1e-3
    both = predict_logits(module, DESCRIPTION, images, rows, compute, flips=True)
    np.testing.assert_allclose(both, (plain + mirrored) / 2, atol=1e-6)
    reading = Reading(flips=True, calibration=Calibration(slope=0.5, intercept=-1.0))
    found = predict(module, DESCRIPTION, images, rows, compute, reading)
    np.testing.assert_allclose(found, 1 / (1 + np.exp(1 - both / 2)), atol=1e-6)


def test_a_card_says_how_to_read_and_says_nothing_of_the_plain_way() -> None:
    def card(reading: Reading) -> dict[str, Any]:
        read: dict[str, Any] = json.loads(DESCRIPTION.card(reading, 0.25, "youden"))
        return read

    plain = card(Reading())
    assert list(plain) == [*DESCRIPTION.model_dump(), "threshold", "threshold_rule"]
    reading = Reading(flips=True, calibration=Calibration(slope=0.5, intercept=-1.0))
    assert Reading.model_validate(card(reading)) == reading
    assert Reading.model_validate(plain) == Reading()
    with pytest.raises(ValueError, match="greater than 0"):
        Calibration(slope=0, intercept=0)


@pytest.fixture
def settings() -> Iterator[None]:
    """Puts back what `choose_compute` sets for the whole process."""
    yield
    choose_compute("cpu", "fp32", 1, deterministic=True)


@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize("deterministic", [True, False])
def test_the_parameter_alone_chooses_the_algorithms(
    monkeypatch: pytest.MonkeyPatch, deterministic: bool
) -> None:
    # What a shell or a run before may have left.
    torch.use_deterministic_algorithms(not deterministic)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", deterministic)
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":0:0")
    choose_compute("cpu", "fp32", 1, deterministic=deterministic)
    assert torch.are_deterministic_algorithms_enabled() == deterministic
    assert torch.backends.cudnn.benchmark != deterministic
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == (":4096:8" if deterministic else ":0:0")


@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize(("built_with_it", "chosen"), [(True, "bf16"), (False, "fp32")])
def test_bf16_is_chosen_where_pytorch_has_what_makes_it_fast(
    monkeypatch: pytest.MonkeyPatch, built_with_it: bool, chosen: str
) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: built_with_it)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, "avx512_bf16": True})
    assert choose_compute("cpu", "auto", 1, deterministic=True).precision == chosen


def test_float32_is_no_tf32_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        choose_compute("cpu", "fp32", 1, deterministic=True)
    assert not torch.backends.cudnn.allow_tf32
    assert torch.backends.cudnn.conv.fp32_precision != "tf32"
    assert torch.get_float32_matmul_precision() == "highest"


def test_the_workspace_is_fixed_before_anybody_asks_for_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    found: list[str | None] = []

    def is_available() -> bool:
        found.append(os.environ.get("CUBLAS_WORKSPACE_CONFIG"))
        return False

    monkeypatch.setattr(torch.cuda, "is_available", is_available)
    choose_compute("auto", "fp32", 1, deterministic=True)
    assert set(found) == {":4096:8"}


def test_an_operation_without_a_deterministic_algorithm_is_a_sentence() -> None:
    choose_compute("cpu", "fp32", 1, deterministic=True)
    message = "odd_net uses put_, .*deterministic: false"
    with pytest.raises(UserError, match=message), limits_in_words("odd_net"):
        torch.zeros(2).put_(torch.tensor([0]), torch.ones(1))
    with pytest.raises(RuntimeError, match="elsewhere"), limits_in_words("odd_net"):
        raise RuntimeError("elsewhere")


def test_a_batch_that_batch_normalisation_cannot_take_is_a_sentence() -> None:
    network = build("resnet18", 2, 32).train()
    message = "one image alone, of which resnet18 leaves one pixel.*another batch_size"
    with pytest.raises(UserError, match=message), limits_in_words("resnet18"):
        network(torch.zeros(1, 1, 32, 32))
    with pytest.raises(ValueError, match="elsewhere"), limits_in_words("resnet18"):
        raise ValueError("elsewhere")


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without a GPU")
def test_a_gpu_that_is_not_there_is_a_sentence() -> None:
    with pytest.raises(UserError, match="device is gpu"):
        choose_compute("gpu", "auto", 1, deterministic=True)
    with pytest.raises(UserError, match="fp16 needs a GPU"):
        choose_compute("auto", "fp16", 1, deterministic=True)
