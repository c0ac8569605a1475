"""The guided search: its space, what it proposes, how it goes on, and that it never looks at the test set."""

import json
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from results_examples import EXAMPLE, add_experiment, git, make_checkout

from pneumonia import search as search_module
from pneumonia.errors import UserError
from pneumonia.params import load_params
from pneumonia.search import Search, alone, main, open_study, prepare, run_experiment, run_search, table
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
    add_code(tmp_path)
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", "--all")
    return tmp_path


def add_code(root: Path) -> None:
    """Stages, a file that one depends on, and one that none does."""
    stages = "stages: {split: {}, train: {deps: [src/code.py, data/images.npy]}, evaluate: {}}"
    (root / "dvc.yaml").write_text(stages, "utf-8")
    (root / "src").mkdir()
    for name in ("code", "other"):
        (root / "src" / f"{name}.py").write_text("x = 1\n", "utf-8")


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
    assert [trial.value is None for trial in trials] == [False, True, False]
    shown = table(the_search(root), open_study(the_search(root), root)).splitlines()
    assert shown[0].split() == ["trial", "val_auroc", "lr", "epochs", "augment.rotation", "optimizer"]
    assert shown[3].split()[:2] == ["quick-1", "failed"]
    best = max((0, 2), key=lambda number: trials[number].value)
    assert shown[1].split()[0] == f"quick-{best}"
    assert shown[-1] == f"dvc exp apply quick-{best}"


def test_the_same_command_tries_what_failed_once_more_and_under_its_name(root: Path) -> None:
    made: list[tuple[str, Any]] = []

    def failing(*failed: str) -> Callable[[str, Mapping[str, Any]], float | None]:
        def run(name: str, values: Mapping[str, Any]) -> float | None:
            made.append((name, values))
            return None if name in failed else values["lr"]

        return run

    first = searched(root, 3, failing("quick-0", "quick-1"))
    searched(root, 3, failing("quick-1"))
    trials = searched(root, 4, failing())
    names = [name for name, _ in made]
    assert names == ["quick-0", "quick-1", "quick-2", "quick-0", "quick-1", "quick-1", "quick-3"]
    assert [values for _, values in made[3:6]] == [first[number].params for number in (0, 1, 1)]
    assert [trial.value for trial in trials] == [trial.params["lr"] for trial in trials]


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
    with pytest.raises(UserError, match=r"no search may look at the test set; take"):
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


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text("utf-8")
    assert old in text
    file.write_text(text.replace(old, new), "utf-8")


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["--seed", "1"], "another seed"),
        (["--metric", "val_loss"], "another metric"),
        (["-S", "seed=1"], r"other parameters \(seed is 0 instead of 1\)"),
        (
            ["-S", "seed=1", "-S", "mixup=0.5", "-S", "split.seed=7", "-S", "patience=99"],
            r"other parameters \(seed is 0 instead of 1; .*; .*; and 1 more\)",
        ),
    ],
)
def test_another_search_of_the_same_name_is_refused(root: Path, arguments: list[str], what: str) -> None:
    searched(root, 1)
    with pytest.raises(UserError, match=rf"quick.db holds a search of this name with {what}; give this one"):
        open_study(the_search(root, *arguments), root)


@pytest.mark.parametrize(
    ("file", "old", "new", "what"),
    [
        ("quick.yaml", "1e-2", "1e-3", "another space"),
        (
            "params.yaml",
            "  size: 224",
            "  size: 128",
            r"other parameters \(preprocess.size is 224 instead of 128\)",
        ),
        ("src/code.py", "1", "2", "other code"),
    ],
)
def test_a_search_does_not_go_on_with_files_that_make_another_result(
    root: Path, file: str, old: str, new: str, what: str
) -> None:
    searched(root, 1)
    change(root / file, old, new)
    with pytest.raises(UserError, match=rf"quick.db holds a search of this name with {what}; give this one"):
        searched(root, 2)


def test_a_search_goes_on_where_only_files_gallery_or_what_is_searched_are_others(root: Path) -> None:
    searched(root, 1)
    change(root / "params.yaml", "lr: 2e-3", "lr: 1e-3")
    change(root / "src/other.py", "1", "2")
    (root / "src/new.py").touch()
    elsewhere = ("-S", "gallery.worst=3", "-S", "source.path=a.zip")
    assert len(searched(root, 2, lambda _, v: v["lr"], *elsewhere)) == 2


@pytest.mark.parametrize(
    ("first", "then", "what"),
    [
        (
            ("source.name=folder", "source.path=a.zip"),
            ("source.name=folder", "source.path=b.zip"),
            "source.path is a.zip instead of b.zip",
        ),
        (
            ("source.name=rsna",),
            ("source.name=rsna", "source.patients=map.json"),
            "source.patients is not given instead of given",
        ),
    ],
)
def test_a_search_does_not_go_on_with_other_data(
    root: Path, first: tuple[str, ...], then: tuple[str, ...], what: str
) -> None:
    before, after = ([part for setting in given for part in ("-S", setting)] for given in (first, then))
    searched(root, 1, lambda _, v: v["lr"], *before)
    with pytest.raises(UserError, match=rf"with other parameters \({what}\)"):
        searched(root, 2, lambda _, v: v["lr"], *after)


def test_code_that_changes_while_a_search_is_at_work_ends_it(committed: Path) -> None:
    add_experiment(committed, "quick-0", VALUES)
    search = the_search(committed)
    change(committed / "src/code.py", "1", "2")
    with pytest.raises(UserError, match=r"code was changed while quick was at work\. Put it back"):
        run_experiment(search, committed, "quick-0", VALUES)
    change(committed / "src/code.py", "2", "1")
    assert run_experiment(search, committed, "quick-0", VALUES) == TRAINED["val_auroc"]


def test_a_search_that_an_earlier_version_kept_is_refused(root: Path) -> None:
    search = the_search(root)
    kept = json.loads(search.kept_as())
    del kept["code"], kept["parameters"]
    open_study(search, root).set_user_attr("search", json.dumps(kept))
    with pytest.raises(UserError, match=r"quick.db holds a search of this name with other code; give"):
        open_study(search, root)


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


VALUES = {"lr": 1e-3, "epochs": 3}
TRAINED = json.loads((EXAMPLE / "train.json").read_text("utf-8"))


@pytest.fixture
def committed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with a commit, in which dvc may not be run."""
    (tmp_path / "quick.yaml").write_text(SPACE, encoding="utf-8")
    add_code(tmp_path)
    make_checkout(tmp_path)
    no_dvc(monkeypatch, lambda: pytest.fail("dvc was run"))
    return tmp_path


def no_dvc(monkeypatch: pytest.MonkeyPatch, instead: Callable[[], Any]) -> None:
    """Something else in the place of dvc, which then fails."""
    git_run = subprocess.run

    def run(command: list[str], **options: Any) -> Any:
        if command[0] == "git":
            return git_run(command, **options)
        instead()
        return subprocess.CompletedProcess(command, 255)

    monkeypatch.setattr(search_module.subprocess, "run", run)


def with_code(lock: dict[str, Any]) -> None:
    lock["train"]["deps"].append({"path": "src/code.py", "md5": "0"})


def test_an_experiment_that_is_there_is_not_made_again(committed: Path) -> None:
    elsewhere = {"source.path": "../images.zip", "gallery.worst": 3}
    add_experiment(committed, "quick-0", VALUES | elsewhere, change=with_code)
    (committed / "src/new.py").write_text("", "utf-8")  # git does not know it, and so the trial did not
    value = run_experiment(the_search(committed), committed, "quick-0", VALUES)
    assert value == TRAINED["val_auroc"]


def test_an_experiment_of_another_commit_is_none_of_this_one(
    committed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_experiment(committed, "quick-0", VALUES)
    git(committed, "commit", "--quiet", "--allow-empty", "-m", "two")
    ran: list[int] = []
    no_dvc(monkeypatch, lambda: ran.append(1))
    assert run_experiment(the_search(committed), committed, "quick-0", VALUES) is None
    assert ran == [1]


def not_its_own(lock: dict[str, Any]) -> None:
    lock["train"]["params"]["params.yaml"]["lr"] = 0.5


@pytest.mark.parametrize(
    ("settings", "spoil", "reason"),
    [
        ({"epochs": 40}, with_code, "epochs is 40 instead of 3"),
        (
            {"seed": 5, "threads": 7},
            with_code,
            f"seed is 5 instead of 0; threads is 7 instead of {PARAMS.threads}",
        ),
        ({"augment.scale": [0.5, 1.5]}, with_code, r"augment.scale is \[0.5, 1.5\] instead of \[0.9, 1.1\]"),
        ({"source.phantom_seed": 9}, with_code, "source.phantom_seed is 9 instead of 0"),
        ({"arch": 5}, with_code, "params.yaml: arch is 5; it must be text."),
        ({}, not_its_own, "lr is 0.001 in its params.yaml, train ran with 0.5"),
    ],
)
def test_an_experiment_that_is_not_the_trial_is_not_taken_for_it(
    committed: Path, settings: dict[str, Any], spoil: Callable[[dict[str, Any]], None], reason: str
) -> None:
    add_experiment(committed, "quick-0", VALUES | settings, change=spoil)
    sentence = (
        rf"The experiment quick-0 is not this trial \({reason}\); `dvc exp remove quick-0` frees the name"
    )
    with pytest.raises(UserError, match=sentence):
        run_experiment(the_search(committed), committed, "quick-0", VALUES)


def test_an_experiment_of_other_code_is_not_taken_for_the_trial(committed: Path) -> None:
    add_experiment(committed, "quick-0", VALUES, change=with_code)
    change(committed / "src/code.py", "1", "2")
    with pytest.raises(UserError, match=r"quick-0 is not this trial \(src/code.py has changed since\); `dvc"):
        run_experiment(the_search(committed), committed, "quick-0", VALUES)


def test_what_a_killed_search_had_started_and_ends_first_is_the_result(
    committed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    no_dvc(monkeypatch, lambda: add_experiment(committed, "quick-0", VALUES))
    value = run_experiment(the_search(committed), committed, "quick-0", VALUES)
    assert value == TRAINED["val_auroc"]
    assert "failed" not in capsys.readouterr().err


def test_a_search_is_worked_on_by_one_command_at_a_time(
    committed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = ["--space", "quick.yaml", "--trials", "1"]
    sentences: list[str] = []
    busy = "The search quick is already at work in this checkout; let it end first, or give this one another"

    def second() -> None:
        with pytest.raises(UserError) as refused:
            main(line, committed)
        sentences.append(str(refused.value))
        with alone(the_search(committed, "--name", "other"), committed):
            pass

    no_dvc(monkeypatch, second)
    for _ in range(2):  # the lock of the first is free again
        with pytest.raises(UserError, match="No trial of quick has a result"):
            main(line, committed)
    assert sentences == [f"{busy} --name."] * 2


def test_a_search_without_any_result_says_so_below_its_table(
    committed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    no_dvc(monkeypatch, lambda: None)
    for _ in range(2):
        with pytest.raises(UserError, match=r"No trial of quick has a result; .* tries them again"):
            main(["--space", "quick.yaml", "--trials", "2"], committed)
        printed = capsys.readouterr()
        assert printed.out.count("dvc exp run --temp --name quick-") == 2
        assert [line.split()[:2] for line in printed.out.splitlines()[-2:]] == [
            ["quick-0", "failed"],
            ["quick-1", "failed"],
        ]
        assert printed.err.count("failed; the search goes on") == 2


def test_without_a_commit_it_says_so(root: Path) -> None:
    subprocess.run(["git", "init", "--quiet"], cwd=root, check=True)
    with pytest.raises(UserError, match="no commit yet"):
        main(["--space", "quick.yaml", "--trials", "1"], root)
