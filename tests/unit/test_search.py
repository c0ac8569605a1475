"""The guided search: its space, what it proposes, how it goes on, and that it never looks at the test set."""

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pneumonia import search as search_module
from pneumonia.errors import UserError
from pneumonia.params import load_params
from pneumonia.search import Search, main, metric_of, open_study, prepare, run_experiment, run_search, table
from pneumonia.search_space import read_space

ROOT = Path(__file__).parents[2]
PARAMS = load_params(ROOT / "params.yaml")
SPACE = """
lr: {low: 1e-4, high: 1e-2, log: true}
epochs: {low: 2, high: 5}
augment.rotation: {low: 0, high: 20}
optimizer: {choices: [sgd, adamw]}
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A checkout with a space of its own."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    (tmp_path / "quick.yaml").write_text(SPACE, encoding="utf-8")
    return tmp_path


def the_search(root: Path, *arguments: str) -> Search:
    return prepare(["--space", "quick.yaml", *arguments], root)[0]


def searched(
    root: Path, trials: int, run: Any = lambda name, values: values["lr"], *arguments: str
) -> list[Any]:
    """Make trials; return what Optuna has of all."""
    search = the_search(root, *arguments)
    study = open_study(search, root)
    run_search(search, study, trials, run)
    return study.get_trials()


# --- the space ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted((ROOT / "recipes/search").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_spaces_of_the_repository_pass_the_schema(path: Path) -> None:
    assert read_space(path, PARAMS)
    assert path.read_text("utf-8").startswith("# ")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("lrr: {low: 1, high: 2}", r"space.yaml: unknown key 'lrr'; did you mean 'lr'"),
        ("split.sed: {low: 1, high: 2}", r"unknown key 'split.sed'; did you mean 'split.seed'"),
        ("lr: {low: 1e-4, high: 100}", r"lr is 100.0; it must be a number, above 0 and at most 10"),
        ("batch_size: {low: 1.5, high: 4}", r"batch_size is 1.5; it must be a whole number"),
        ("optimizer: {choices: [sgd, lion]}", r"optimizer is 'lion'; it must be one of sgd, adam, adamw"),
        ("epochs: {low: 1, high: 4}", r"warmup_epochs is 1; it must be below epochs, 1"),
        ("lr: {low: 1e-2, high: 1e-4}", r"lr takes .*; low must be below high"),
        ("lr: {low: 0, high: 1, log: true}", r"with log, low must be above 0"),
        ("lr: {low: 1e-3}", r"lr takes \{low: .*; it is neither of the two"),
        ("lr: {choices: [1e-3]}", r"lr takes .*neither of the two"),
        ("lr: {low: 1e-3, high: 1, steps: 3}", r"lr takes .*neither of the two"),
        ("lr: 3", r"lr takes .*neither of the two"),
        ("{}", r"names no key"),
        ("- lr", r"must hold keys and values"),
        ("optimizer: {low: 0, high: 1}", r"optimizer is 0.0; it must be one of"),
    ],
)
def test_a_wrong_space_is_a_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "space.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=sentence):
        read_space(tmp_path / "space.yaml", PARAMS)


# --- the proposals ------------------------------------------------------------------------------------------


def test_proposals_lie_in_the_space_and_have_the_types_of_the_keys(root: Path) -> None:
    trials = searched(root, 30)
    assert len(trials) == 30
    for trial in trials:
        values = trial.params
        assert 1e-4 <= values["lr"] <= 1e-2
        assert values["epochs"] in (2, 3, 4, 5)
        assert isinstance(values["epochs"], int)
        assert 0 <= values["augment.rotation"] <= 20
        assert isinstance(values["augment.rotation"], float)
        assert values["optimizer"] in ("sgd", "adamw")
    assert {trial.params["optimizer"] for trial in trials} == {"sgd", "adamw"}


def test_a_search_that_goes_on_proposes_what_one_in_one_go_does(root: Path, tmp_path: Path) -> None:
    whole = [trial.params for trial in searched(root, 14, lambda _, v: v["lr"], "--name", "whole")]
    names: list[str] = []

    def noted(name: str, values: Mapping[str, Any]) -> float:
        names.append(name)
        return values["lr"]

    searched(root, 5, noted)
    parts = [trial.params for trial in searched(root, 14, noted)]
    assert parts == whole
    assert len({json.dumps(values) for values in parts}) == 14
    assert names == [f"quick-{number}" for number in range(14)]
    other = searched(root, 3, lambda _, v: v["lr"], "--seed", "1", "--name", "other")
    assert other[0].params != whole[0]


def test_an_interrupted_trial_is_made_first_and_finished_ones_are_not_repeated(root: Path) -> None:
    made: list[tuple[str, Any]] = []

    def interrupted(name: str, values: Mapping[str, Any]) -> float:
        if name == "quick-2" and ("quick-2", values) not in made:
            made.append((name, values))
            raise KeyboardInterrupt
        made.append((name, values))
        return values["lr"]

    with pytest.raises(KeyboardInterrupt):
        searched(root, 4, interrupted)
    trials = searched(root, 4, interrupted)
    assert [name for name, _ in made] == ["quick-0", "quick-1", "quick-2", "quick-2", "quick-3"]
    assert made[2][1] == made[3][1]
    assert [trial.value for trial in trials] == [trial.params["lr"] for trial in trials]


def test_a_failed_trial_is_told_as_failed_and_the_search_goes_on(root: Path) -> None:
    trials = searched(root, 3, lambda name, values: None if name == "quick-1" else values["lr"])
    assert [trial.state.name for trial in trials] == ["COMPLETE", "FAIL", "COMPLETE"]
    shown = table(the_search(root), open_study(the_search(root), root)).splitlines()
    assert shown[0].split() == ["trial", "val_auroc", "lr", "epochs", "augment.rotation", "optimizer"]
    assert shown[3].split()[:2] == ["quick-1", "failed"]
    best = max((0, 2), key=lambda number: trials[number].value)
    assert shown[1].split()[0] == f"quick-{best}"
    assert shown[-1] == f"dvc exp apply quick-{best}"


def test_the_lowest_loss_is_the_best(root: Path) -> None:
    trials = searched(root, 4, lambda _, v: v["lr"], "--metric", "val_loss")
    search = the_search(root, "--metric", "val_loss")
    best = min(trials, key=lambda trial: trial.value)
    assert table(search, open_study(search, root)).endswith(f"dvc exp apply quick-{best.number}")


def test_values_that_were_tried_are_not_tried_again(root: Path) -> None:
    (root / "quick.yaml").write_text("optimizer: {choices: [sgd, adamw]}", "utf-8")
    made: list[str] = []

    def run(name: str, values: Mapping[str, Any]) -> float | None:
        made.append(values["optimizer"])
        return {"sgd": 0.5, "adamw": None}[values["optimizer"]]

    trials = searched(root, 8, run)
    assert sorted(made) == ["adamw", "sgd"]
    assert {trial.params["optimizer"]: trial.value for trial in trials} == {"sgd": 0.5, "adamw": None}


def test_values_that_do_not_go_together_fail_without_being_run(root: Path) -> None:
    (root / "quick.yaml").write_text(
        "epochs: {choices: [2, 6]}\nwarmup_epochs: {choices: [1, 5]}", encoding="utf-8"
    )
    made: list[Mapping[str, Any]] = []
    trials = searched(root, 12, lambda name, values: made.append(values) or 0.5)
    assert {"epochs": 2, "warmup_epochs": 5} in [trial.params for trial in trials]
    assert {"epochs": 2, "warmup_epochs": 5} not in made


# --- the command --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", ["test.auroc", "test_accuracy", "TEST"])
def test_a_metric_of_the_test_set_is_refused(root: Path, metric: str) -> None:
    with pytest.raises(
        UserError, match=r"the test set is looked at once, at the end, and no search may; take"
    ):
        the_search(root, "--metric", metric)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--metric", "train_loss"], "--metric train_loss: unknown; take one of validation: val_auroc"),
        (["--trials", "0"], "--trials 0 --seed 0: at least one trial"),
        (["--name", "a/b"], "--name a/b: letters, digits"),
        (["-S", "lr=1e-3"], "-S lr: quick.yaml searches this key"),
        (["-S", "epochs"], "-S epochs: a setting is key=value"),
        (["plian"], "the recipe plian is not in recipes"),
        (["--space", "none.yaml"], "none.yaml is missing"),
    ],
)
def test_wrong_options_are_a_sentence(root: Path, arguments: list[str], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        the_search(root, *arguments)


def test_it_watches_what_params_yaml_monitors_and_is_named_by_recipe_and_space(root: Path) -> None:
    search = the_search(root, "plain", "-S", "seed=3")
    assert (search.name, search.metric) == ("plain-quick", "val_accuracy")
    assert search.settings["seed"] == "3"
    assert search.settings["arch"] == "resnet18"
    assert not {"lr", "epochs", "optimizer"} & search.settings.keys()


def test_another_search_of_the_same_name_is_refused(root: Path) -> None:
    searched(root, 1)
    for arguments in (["--seed", "1"], ["--metric", "val_loss"], ["-S", "seed=1"]):
        with pytest.raises(UserError, match=r"quick.db holds a search of this name with another"):
            open_study(the_search(root, *arguments), root)
    (root / "quick.yaml").write_text(SPACE.replace("1e-2", "1e-3"), "utf-8")
    with pytest.raises(UserError, match=r"quick.db holds a search of this name with another"):
        open_study(the_search(root), root)


def test_a_trial_is_a_dvc_experiment_in_a_temporary_directory(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here another program stands for dvc; tests/pipeline runs the real one."""
    subprocess.run(["git", "init", "--quiet"], cwd=root, check=True)
    git = ["git", "-c", "user.name=T", "-c", "user.email=t@example.org"]
    subprocess.run([*git, "commit", "--quiet", "--allow-empty", "-m", "one"], cwd=root, check=True)
    ran: list[list[str]] = []
    git_run = subprocess.run

    def run(command: list[str], **options: Any) -> Any:
        if command[0] == "git":
            return git_run(command, **options)
        ran.append(command[1:])
        return subprocess.CompletedProcess(command, 1)

    monkeypatch.setattr(search_module.subprocess, "run", run)
    search = the_search(root, "-S", "seed=1")
    assert run_experiment(search, root, "quick-0", {"lr": 1e-3, "optimizer": "sgd"}) is None
    settings = ["-S", "seed=1", "-S", "lr=0.001", "-S", "optimizer=sgd"]
    assert ran == [["-m", "dvc", "exp", "run", "--temp", "--name", "quick-0", *settings]]


def test_an_experiment_that_is_there_is_not_made_again(root: Path) -> None:
    git = ["git", "-c", "user.name=T", "-c", "user.email=t@example.org"]
    (root / "metrics").mkdir()
    (root / "metrics/train.json").write_text('{"val_auroc": 0.75}', "utf-8")
    for command in (["init", "--quiet"], ["add", "metrics"], ["commit", "--quiet", "-m", "one"]):
        subprocess.run([*git, *command], cwd=root, check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=True)
    sha = head.stdout.strip()
    assert metric_of("quick-0", "val_auroc", root) is None
    ref = f"refs/exps/{sha[:2]}/{sha[2:]}/quick-0"
    subprocess.run([*git, "update-ref", ref, "HEAD"], cwd=root, check=True)
    assert run_experiment(the_search(root), root, "quick-0", {"lr": 1e-3}) == 0.75


def test_without_a_commit_it_says_so(root: Path) -> None:
    subprocess.run(["git", "init", "--quiet"], cwd=root, check=True)
    with pytest.raises(UserError, match="no commit yet"):
        main(["--space", "quick.yaml", "--trials", "1"], root)
