"""Recipes: each passes the schema, states all of its training, trains, and runs as one plain DVC line."""

import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from dvc.utils.hydra import apply_overrides
from safetensors.torch import save_file

from pneumonia import recipes
from pneumonia.errors import UserError
from pneumonia.nested import leaves
from pneumonia.params import Training, read_yaml
from pneumonia.recipes import (
    catalogue,
    experiment_command,
    experiment_name,
    main,
    read_recipe,
    recipe_names,
    recipe_params,
    recipe_settings,
)
from pneumonia.results.matching import parameters_that_matter
from pneumonia.training.loop import Trained, TrainingData, train

ROOT = Path(__file__).parents[2]
NAMES = recipe_names(ROOT)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A checkout with two recipes of its own."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    write(
        tmp_path, "plain", "# Nothing.\nlr: 0.5\nepochs: 3\naugment: {rotation: 0}\nsource: {name: kermany}\n"
    )
    write(tmp_path, "turned", "# Turned.\nbase: plain\nlr: 1e-4\naugment: {scale: [1.0, 1.5]}\n")
    return tmp_path


def write(root: Path, name: str, text: str) -> None:
    (root / "recipes").mkdir(exist_ok=True)
    (root / f"recipes/{name}.yaml").write_text(text, encoding="utf-8")


# --- the recipes of the repository --------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_it_passes_the_schema_and_states_all_that_its_result_depends_on(name: str) -> None:
    overlay = read_recipe(name, ROOT)
    assert set(dict(leaves(overlay))) == set(dict(leaves(parameters_that_matter(recipe_params(name, ROOT)))))


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"plain"}))
def test_its_comment_says_where_it_is_from_and_what_was_reported(name: str) -> None:
    text = (ROOT / f"recipes/{name}.yaml").read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert "\n# Source: " in text
    assert "\n# Reported: " in text


def test_every_published_set_up_is_there() -> None:
    published = {"khodagholi-scratch", "khodagholi-finetune", "singh-baseline", "singh-augmented"}
    published |= {"singh-pretrained", "damannagari-two-stage", "adeolujoseph-rsna", "aimi-lab1-resnext50"}
    assert published <= set(NAMES)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "khodagholi-scratch",
            {"optimizer": "sgd", "lr": 0.001, "momentum": 0.9, "epochs": 20, "batch_size": 32},
        ),
        ("khodagholi-finetune", {"optimizer": "sgd", "finetune": "head", "pretrained": "hub", "epochs": 20}),
        ("singh-baseline-15", {"optimizer": "adam", "lr": 0.001, "weight_decay": 0.0, "epochs": 15}),
        ("singh-augmented", {"optimizer": "adam", "lr": 0.001, "weight_decay": 1e-4, "epochs": 5}),
        ("singh-pretrained", {"optimizer": "adam", "lr": 1e-4, "weight_decay": 0.0, "finetune": "all"}),
        ("adeolujoseph-rsna-weighted", {"loss": "bce", "pos_weight": 4.44, "schedule": "plateau"}),
        ("aimi-lab1-densenet161", {"arch": "densenet161.tv_in1k", "normalise": "imagenet"}),
    ],
)
def test_bases_give_and_recipes_take_precedence(name: str, expected: dict[str, Any]) -> None:
    values = recipe_params(name, ROOT).model_dump()
    assert {key: values[key] for key in expected} == expected
    assert values["augment"]["flip_horizontal"] == (0.5 if name in FLIPPED else 0.0)


FLIPPED = ("khodagholi-finetune", "singh-augmented", "singh-pretrained", "damannagari-two-stage")


@pytest.fixture(scope="module")
def data() -> TrainingData:
    rng = np.random.default_rng(0)
    labels = np.arange(24) % 2
    images = rng.integers(0, 256, (24, 32, 32), dtype=np.uint8)
    rows = np.arange(24)
    return TrainingData(images, rows[:16], labels[:16], rows[16:], labels[16:], mean=0.5, std=0.3)


def two_steps(name: str, data: TrainingData, root: Path, **changes: Any) -> Trained:
    """Train a recipe for two batches an epoch; one epoch, or one of each stage."""
    training = recipe_params(name, ROOT).training
    two_stages = training.finetune == "head_then_all"
    values = {
        "pretrained": "none",
        "epochs": 2 if two_stages else 1,
        "head_epochs": 1,
        "warmup_epochs": 0,
        "batch_size": 8,
        "precision": "fp32",
        "device": "cpu",
        "threads": 1,
    }
    return train(Training.model_validate(training.model_dump() | values | changes), data, root)


@pytest.mark.parametrize("name", NAMES)
def test_it_trains(name: str, data: TrainingData, tmp_path: Path) -> None:
    trained = two_steps(name, data, tmp_path)
    assert trained.description.arch == recipe_params(name, ROOT).arch
    assert np.isfinite([epoch["train_loss"] for epoch in trained.history]).all()
    assert trained.history[-1]["lr"] > 0


def test_only_the_head_of_pretrained_weights_learns_where_the_recipe_says_so(
    data: TrainingData, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    imagenet = timm.create_model("resnet18", pretrained=False).state_dict()
    save_file(
        {name: tensor.contiguous() for name, tensor in imagenet.items()}, tmp_path / "resnet18.safetensors"
    )
    moved = {}
    for name in ("khodagholi-finetune", "singh-pretrained"):
        trained = two_steps(name, data, tmp_path, pretrained="resnet18.safetensors")
        weights = trained.module.state_dict()
        moved[name] = not torch.equal(weights["layer4.1.conv2.weight"], imagenet["layer4.1.conv2.weight"])
    assert moved == {"khodagholi-finetune": False, "singh-pretrained": True}


# --- the line that is run -----------------------------------------------------------------------------------


def test_the_line_sets_what_differs_from_params_yaml_and_no_more(root: Path) -> None:
    assert shlex.join(experiment_command("turned", [], root)) == (
        "dvc exp run --name turned -S epochs=3 -S lr=0.0001 -S augment.rotation=0.0 "
        "-S 'augment.scale=[1.0,1.5]' -S source.name=kermany"
    )


def test_settings_on_top_win_and_name_the_experiment(root: Path) -> None:
    command = experiment_command("turned", ["seed=1", "lr=1e-3", "source.path=../a b.zip"], root)
    assert shlex.join(command) == (
        "dvc exp run --name turned-s1-lr1e-3 -S epochs=3 -S augment.rotation=0.0 "
        "-S 'augment.scale=[1.0,1.5]' -S source.name=kermany -S seed=1 -S lr=1e-3 -S 'source.path=../a b.zip'"
    )
    assert experiment_command("turned", ["seed=1"], root, "mine")[:5] == [
        "dvc",
        "exp",
        "run",
        "--name",
        "mine",
    ]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], "r"),
        (["seed=2"], "r-s2"),
        (["split.seed=2"], "r-seed2"),
        (["augment.scale=[0.8,1.2]"], "r-scale-0.8-1.2"),
        (["lr=1e-3,3e-3", "optimizer=sgd,adam", "seed=0,1"], "r-lr-optimizer-s"),
        (["augment.scale=[0.8,1.2],[1,1]"], "r-scale"),
        (['pretrained="a,b"'], "r-pretrained-a-b"),
        (["device=cpu", "threads=4", "source.labels=x.csv"], "r"),
        (["pretrained=../weights/a.safetensors"], "r-pretrained-weights-a.safetensors"),
    ],
)
def test_names_of_experiments(given: list[str], expected: str) -> None:
    assert experiment_name("r", given) == expected


@pytest.mark.parametrize(
    ("value", "setting"),
    [
        (0.0001, "0.0001"),
        (1e-5, "1e-05"),
        (True, "true"),
        (None, "null"),
        ([0.35, 1.0], "[0.35,1.0]"),
        ("resnet18.tv_in1k", "resnet18.tv_in1k"),
        ("a b,c", '"a b,c"'),
        ("/data/R\u00f6ntgen/a.zip", '"/data/R\u00f6ntgen/a.zip"'),
        (r"C:\new\a.zip", r'"C:\new\a.zip"'),
        ("C:\\", '"C:\\\\"'),
        (r"a\"b", r'"a\\\"b"'),
    ],
)
def test_values_are_written_as_dvc_reads_them(tmp_path: Path, value: object, setting: str) -> None:
    assert recipes.as_setting(value) == setting
    (tmp_path / "params.yaml").write_text("key: 0")
    apply_overrides(tmp_path / "params.yaml", [f"key={setting}"])
    assert read_yaml(tmp_path / "params.yaml") == {"key": value}


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("turnd", "the recipe turnd is not in recipes; did you mean turned?"),
        ("zzzzzzz", "the recipe zzzzzzz is not in recipes; there are: plain, turned."),
        ("../params", "the recipe ../params is not in recipes"),
        ("orphan", "recipes/orphan.yaml: its base plan is not in recipes; did you mean plain?"),
        ("ring", "recipes/ring.yaml: its bases go in a circle: ring, rung, ring."),
        ("wrong", "recipes/wrong.yaml: unknown key 'augment.rotate'; did you mean 'augment.rotation'?"),
        ("typed", "recipes/typed.yaml: augment is 3; it must be a section of keys."),
    ],
)
def test_a_mistake_is_one_sentence(root: Path, name: str, sentence: str) -> None:
    if name == "orphan":
        write(root, name, "base: plan\n")
    elif name == "ring":
        write(root, name, "base: rung\n")
        write(root, "rung", "base: ring\n")
    elif name == "wrong":
        write(root, name, "augment: {rotate: 3}\n")
    elif name == "typed":
        write(root, name, "augment: 3\n")
    with pytest.raises(UserError) as caught:
        experiment_command(name, [], root)
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)


def test_a_mistake_in_params_yaml_is_not_the_recipes(root: Path) -> None:
    text = (root / "params.yaml").read_text("utf-8")
    (root / "params.yaml").write_text(text.replace("epochs: 12", "epochs: 0"), "utf-8")
    with pytest.raises(UserError, match=r"params.yaml: epochs is 0"):
        recipe_settings("plain", root)


def test_a_setting_without_a_value_is_refused(root: Path) -> None:
    with pytest.raises(UserError, match="-S seed: a setting is key=value"):
        experiment_command("plain", ["seed"], root)


def test_the_line_is_printed_and_run_and_its_status_passed_on(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[list[str]] = []

    class Done:
        returncode = 3

    def run(command: list[str], **_: object) -> Done:
        ran.append(command)
        return Done()

    monkeypatch.setattr(recipes.subprocess, "run", run)
    assert main(["turned", "-S", "seed=1", "--queue"], root) == 3
    printed = capsys.readouterr().out
    assert printed.startswith("dvc exp run --name turned-s1 -S epochs=3")
    assert printed.endswith("-S seed=1 --queue\n")
    assert ran[0][1:] == ["-m", *shlex.split(printed)]


def test_without_a_name_the_recipes_are_listed(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([], root) == 0
    assert capsys.readouterr().out == "plain   Nothing.\nturned  Turned.\n"
    assert len(catalogue(ROOT).splitlines()) == len(NAMES)
