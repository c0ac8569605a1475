"""params.yaml: what is right is read, what is wrong gets one sentence with key, value and remedy."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.utils.serialize import load_yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pneumonia.errors import UserError
from pneumonia.params import Params, Training, check_params, load_params, parse_value, parse_yaml

ROOT = Path(__file__).parents[2]


@pytest.fixture
def text() -> str:
    return (ROOT / "params.yaml").read_text(encoding="utf-8")


@pytest.fixture
def values(text: str) -> dict[str, Any]:
    return {**yaml.safe_load(text), "lr": 1e-3}


def test_the_committed_file_is_valid() -> None:
    params = load_params(ROOT / "params.yaml")
    assert params.source.name == "phantom"
    assert set(Training.model_fields) < set(Params.model_fields)


@pytest.mark.parametrize(
    ("written", "meant"), [("1e-4", 1e-4), ("1e-05", 1e-5), ("1E-3", 1e-3), ("1.5e-3", 1.5e-3), ("1", 1.0)]
)
def test_rates_as_dvc_and_people_write_them_are_numbers(
    tmp_path: Path, text: str, written: str, meant: float
) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text.replace("lr: 2e-3", f"lr: {written}"))
    assert load_params(path).lr == meant


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("lr", "fast", "lr is 'fast'; it must be a number, above 0 and at most 10."),
        ("lr", 0, "lr is 0; it must be a number, above 0 and at most 10."),
        ("lr", True, "lr is True; it must be a number"),
        ("lr", float("nan"), "lr is nan; it must be a number"),
        ("epochs", 2.5, "epochs is 2.5; it must be a whole number, at least 1."),
        ("optimizer", "adm", "optimizer is 'adm'; it must be one of sgd, adam, adamw."),
        ("learning_rate", 1, "unknown key 'learning_rate'; did you mean 'lr'?"),
        ("epoch", 1, "unknown key 'epoch'; did you mean 'epochs'?"),
        ("zzz", 1, "unknown key 'zzz'; allowed here: seed, arch"),
        ("split.seeds", 1, "unknown key 'split.seeds'; did you mean 'split.seed'?"),
        ("split", 3, "split is 3; it must be a section of keys."),
        ("source.path", 3, "source.path is 3; it must be text or null."),
        ("source.name", "folder", "source.path is null; with the name folder it must say where your images"),
        (
            "source.name",
            "rnsa",
            "source.name is 'rnsa'; it must be one of phantom, kermany, rsna",
        ),
        ("source.pneumoniamnist_size", 100, "source.pneumoniamnist_size is 100; it must be one of 28, 64, 1"),
        (
            "preprocess.pseudonymise",
            "yes",
            "preprocess.pseudonymise is 'yes'; it must be one of auto, true",
        ),
        ("split.official", 2, "split.official is 2; it must be one of auto, true, false."),
        (
            "augment.scale",
            1.0,
            "augment.scale is 1.0; it must be a list of two numbers, above 0, the smaller first.",
        ),
        (
            "preprocess.percentiles",
            1.0,
            "preprocess.percentiles is 1.0; it must be a list of two numbers, at",
        ),
        ("preprocess.percentiles", [9, 9], "preprocess.percentiles is [9, 9]; the first number must be the"),
        ("augment.scale", [0, 1], "augment.scale[0] is 0; it must be a number, above 0."),
        ("augment.scale", [2, 1], "augment.scale is [2, 1]; the first number must not be the larger."),
        ("warmup_epochs", 100, "warmup_epochs is 100; it must be below epochs, 12."),
        ("pos_weight", 2.0, "pos_weight is 2; it acts with loss bce only, else keep it 1."),
    ],
)
def test_a_mistake_gets_one_sentence(values: dict[str, Any], key: str, value: Any, sentence: str) -> None:
    *sections, name = key.split(".")
    place = values
    for section in sections:
        place = place[section]
    place[name] = value
    with pytest.raises(UserError) as caught:
        check_params(values)
    assert str(caught.value).startswith(f"params.yaml: {sentence}")
    assert "\n" not in str(caught.value)


def test_what_auto_means_goes_by_the_source(values: dict[str, Any]) -> None:
    params = check_params(values)
    sources = ("phantom", "kermany", "rsna", "pneumoniamnist", "folder")
    assert [name for name in sources if params.preprocess.wants_pseudonyms(name)] == ["rsna", "folder"]
    assert [name for name in sources if not params.split.keeps_official(name)] == ["rsna"]
    values["preprocess"]["pseudonymise"], values["split"]["official"] = False, True
    params = check_params(values)
    assert not any(params.preprocess.wants_pseudonyms(name) for name in sources)
    assert all(params.split.keeps_official(name) for name in sources)


def test_names_without_an_order_have_no_first(values: dict[str, Any]) -> None:
    values["split"]["validation"] = "first"
    assert check_params(values).split.validation == "first"
    values["preprocess"]["pseudonymise"] = True
    with pytest.raises(UserError, match=r"^params.yaml: split.validation is first, but pseudonyms have no"):
        check_params(values)


def test_every_mistake_is_named_at_once(values: dict[str, Any]) -> None:
    values["lr"], values["epochs"] = -1, 0
    with pytest.raises(UserError) as caught:
        check_params(values, "recipes/x.yaml")
    assert [line.split(" is ")[0] for line in str(caught.value).splitlines()] == [
        "recipes/x.yaml: epochs",
        "recipes/x.yaml: lr",
    ]


def test_a_missing_key_is_named(values: dict[str, Any]) -> None:
    del values["lr"]
    with pytest.raises(UserError, match="the key 'lr' is missing"):
        check_params(values)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [("lr: [1", "is not valid YAML"), ("lr: 1\nlr: 2", "'lr' is given twice"), ("- 1", "keys and values")],
)
def test_a_file_that_is_no_table_of_keys(tmp_path: Path, content: str, sentence: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(content)
    with pytest.raises(UserError, match=sentence):
        load_params(path)


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ("seed: 0", "1: 2", "a key must be plain text"),
        ("seed: 0", "on: 2", "a key must be plain text"),
        ("split:", "split:\n  1: 2", "a key must be plain text"),
        ("augment:", "augment:\n  2020-01-01: 2", "a key must be plain text"),
        ("lr: 2e-3", '"a\\nb": 1', "a key must be plain text"),
        ("lr: 2e-3", '"\\ud800": 1', "a key must be plain text"),
        ("lr: 2e-3", "lr: {{ lr }}", "a key must be plain text"),
        ("lr: 2e-3", "lr: 2020-99-99", "a value cannot be read as timestamp"),
        ("lr: 2e-3", "lr: !!timestamp x", "a value cannot be read as timestamp"),
        ("lr: 2e-3", "lr: !!int x", "a value cannot be read as int"),
        ("lr: 2e-3", "lr: !!int ''", "a value cannot be read as int"),
        ("lr: 2e-3", "lr: !!bool x", "a value cannot be read as bool"),
        ("lr: 2e-3", "lr: !!map 3", "expected a mapping node, but found scalar"),
        ("lr: 2e-3", "lr: !!map [3]", "expected a mapping node, but found sequence"),
    ],
)
def test_what_yaml_cannot_read_is_named_by_its_line(text: str, before: str, after: str, problem: str) -> None:
    above, _, below = text.partition(f"\n{before}")
    assert below
    line = f"{above}\n{after}".count("\n") + 1
    with pytest.raises(UserError) as caught:
        parse_yaml(f"{above}\n{after}{below}", "params.yaml")
    assert str(caught.value).startswith(f"params.yaml is not valid YAML: {problem}, in line {line}, column ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("[" * 3000, "params.yaml is not valid YAML: it is nested too deeply"),
        (r'lr: "\Uffffffff"', "params.yaml is not valid YAML: "),
        (r'lr: "\U00110000"', "params.yaml is not valid YAML: "),
    ],
)
def test_what_no_yaml_can_hold_is_a_sentence_too(content: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        parse_yaml(content, "params.yaml")


@pytest.mark.parametrize("text", ["12", "-3", "0", "0o14", "0x1F", "1_000", "1:30", "12:30:00", "1e-4"])
def test_a_number_is_the_one_that_dvc_puts_down(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.yaml").write_text(f"a: {text}")
    assert parse_value(text) == load_yaml(str(tmp_path / "a.yaml"))["a"]


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_a_file_in_another_encoding_is_named(tmp_path: Path, text: str, encoding: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(f"# f\u00fcr\n{text}".encode(encoding))
    with pytest.raises(UserError, match=r"params\.yaml is not text in UTF-8; save it in UTF-8\.$"):
        load_params(path)


@pytest.mark.parametrize(
    "text",
    [
        *("2020-99-99", "!!int x", "!!bool x", "!!map 3", "{{ lr }}", "{1: 2}", "[" * 3000),
        *("012", "-007", "[1, 010]", "9" * 5000, "0x" + "f" * 5000),
    ],
)
def test_a_setting_that_yaml_cannot_read_is_named(text: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_value(text)
    assert str(caught.value) == f"the value {text} is not valid YAML; put text with signs in quotes."


WORDS = ["lr", "split", "seed", "1", "2020-99-99", "on", "~", "<<", "=", "&a", "*a"]
TAGS = [f"!!{kind}" for kind in ("int", "bool", "set", "map", "timestamp")]
SIGNS = ["?", ":", "-", "[", "]", "{", "}", ",", '"', "'", r"\U00110000", "#", "%", "\n", "\n "]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(WORDS + TAGS + SIGNS), max_size=12).map(" ".join))
def test_whatever_stands_in_the_file_is_read_or_refused_in_words(content: str) -> None:
    with pytest.raises(UserError) as caught:  # of no such file all keys are there
        check_params(parse_yaml(content, "params.yaml"))
    assert all(line.startswith("params.yaml") for line in str(caught.value).splitlines())


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is missing"):
        load_params(tmp_path / "params.yaml")


def test_every_line_of_the_file_says_what_it_means(text: str) -> None:
    settings = [line for line in text.splitlines() if ":" in line and not line.lstrip().startswith("#")]
    clear_by_name = ("seed:", "epochs:", "batch_size:", "calibration_bins:")
    unexplained = [
        line
        for line in settings
        if "#" not in line and not line.endswith(":") and not line.strip().startswith(clear_by_name)
    ]
    assert unexplained == []
