"""Result files: read from the experiments' commits, of the recipe's parameters only, and kept."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from results_examples import add_experiment, git, made_up, make_checkout

from pneumonia.errors import UserError
from pneumonia.recipes import recipe_params, recipe_settings
from pneumonia.results.collect import collect, is_of, recipe_of
from pneumonia.results.record import read_result, read_results, write_result

RECIPE = "singh-augmented"
FILE = Path(f"docs/results/{RECIPE}/seed-1.json")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    return make_checkout(tmp_path)


def settings(root: Path, **further: object) -> dict[str, object]:
    """Those of the recipe, as `make exp` sets them, and further ones on top."""
    values = recipe_params(RECIPE, root).model_dump()
    flat: dict[str, object] = {}
    for key in recipe_settings(RECIPE, root):
        section, _, last = key.rpartition(".")
        flat[key] = values[section][last] if section else values[key]
    return flat | further


def test_a_finished_experiment_becomes_a_file(checkout: Path) -> None:
    add_experiment(
        checkout, f"{RECIPE}-s1", settings(checkout, seed=1, threads=1, **{"source.path": "../a.zip"})
    )
    assert not (checkout / "metrics").exists()  # it is read from git
    collected = collect(checkout)
    assert collected == ([FILE], [], [])
    result = read_result(checkout, RECIPE, 1)
    assert result is not None
    assert result.baseline == git(checkout, "rev-parse", "HEAD")
    assert (result.test.n, result.test.accuracy, result.val.auroc) == (624, 0.842949, 0.992254)
    assert result.test.accuracy_ci95 is not None
    assert result.test.accuracy_ci95.low == 0.809363
    assert (result.training.best_epoch, result.training.threads) == (5, 1)
    assert result.archive_sha256 == "12ab"
    assert result.history["epoch"] == [0, 1, 2, 3, 4, 5]
    assert len(result.history["val_auroc"]) == 6
    assert result.groups["test"]["viral"]["n"] == 148
    assert result.parameters["augment"]["rotation"] == 25
    text = (checkout / FILE).read_text("utf-8")
    assert '"epoch": [0, 1, 2, 3, 4, 5]' in text
    assert "../a.zip" not in text


def test_the_same_bytes_each_time(checkout: Path) -> None:
    add_experiment(checkout, f"{RECIPE}-s1", settings(checkout, seed=1))
    collect(checkout)
    first = (checkout / FILE).read_bytes()
    (checkout / FILE).unlink()
    collect(checkout)
    assert (checkout / FILE).read_bytes() == first


def test_a_kept_file_stays_until_the_recipe_is_another(checkout: Path) -> None:
    add_experiment(checkout, f"{RECIPE}-s1", settings(checkout, seed=1))
    collect(checkout)
    first = read_result(checkout, RECIPE, 1)
    assert first is not None
    kept = first.model_copy(update={"baseline": "kept"})
    write_result(checkout, kept)
    assert collect(checkout).written == []
    other = kept.model_copy(update={"parameters": {**kept.parameters, "lr": 0.5}})
    write_result(checkout, other)
    assert not is_of(other, recipe_params(RECIPE, checkout), checkout)
    assert collect(checkout).written == [FILE]
    assert read_result(checkout, RECIPE, 1) == first


@pytest.mark.parametrize(
    ("changes", "leave_out", "reason"),
    [
        ({"lr": 0.5}, (), "lr is 0.5 instead of 0.001"),
        ({"seed": 2}, (), "seed is 2 instead of 1"),
        ({"preprocess.size": 64}, (), "preprocess.size is 64 instead of 224"),
        ({"source.name": "phantom"}, (), "source.name is phantom instead of kermany"),
        ({"rate": 0.5}, (), "unknown key 'rate'"),
        ({}, ("metrics/evaluate.json",), "it has no metrics/evaluate.json"),
    ],
)
def test_what_is_not_the_recipes_result_is_refused(
    checkout: Path, changes: dict[str, object], leave_out: tuple[str, ...], reason: str
) -> None:
    add_experiment(checkout, f"{RECIPE}-s1", settings(checkout, seed=1) | changes, leave_out)
    written, (refused,), _ = collect(checkout)
    assert written == []
    assert refused.startswith(f"{RECIPE}-s1 is not collected: ")
    assert reason in refused


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        # `dvc exp save` of a params.yaml that was changed after the run
        (
            lambda stages: stages["train"]["params"]["params.yaml"].update(lr=0.1),
            "lr is 0.001 in its params.yaml, train ran with 0.1",
        ),
        (
            lambda stages: stages["train"]["params"]["params.yaml"].update(lr=0.001 + 1e-9),
            "lr is 0.001 in its params.yaml, train ran with 0.001000001",
        ),
        # `dvc exp run train`: evaluate stayed what it was
        (
            lambda stages: stages["train"]["outs"][0].update(md5="0" * 32),
            "evaluate did not run on the models/model.safetensors that train wrote",
        ),
        (
            lambda stages: stages["split"]["outs"][0].update(md5="0" * 32),
            "train did not run on the data/split/split.csv that split wrote",
        ),
        (
            lambda stages: stages["evaluate"]["outs"][0].update(md5="0" * 32),
            "its metrics/evaluate.json is not what evaluate wrote",
        ),
        (lambda stages: stages.pop("evaluate"), "no stage in its dvc.lock wrote metrics/evaluate.json"),
    ],
)
def test_results_that_do_not_come_from_the_parameters_are_refused(
    checkout: Path, change: Callable[[dict[str, Any]], None], reason: str
) -> None:
    add_experiment(checkout, f"{RECIPE}-s1", settings(checkout, seed=1), change=change)
    written, (refused,), _ = collect(checkout)
    assert written == []
    assert reason in refused


def test_a_stage_that_is_no_more_does_not_count(checkout: Path) -> None:
    old = {"outs": [{"path": "metrics/train.json", "md5": "0"}, {"path": "plots/history.csv", "md5": "0"}]}
    add_experiment(
        checkout, f"{RECIPE}-s1", settings(checkout, seed=1), change=lambda lock: lock.update(old=old)
    )
    assert collect(checkout).written == [FILE]


def test_a_stage_that_the_results_do_not_need_may_be_older(checkout: Path) -> None:
    report = {"params": {"params.yaml": {"lr": 5}}, "outs": [{"path": "report.html", "md5": "0"}]}
    add_experiment(
        checkout, f"{RECIPE}-s1", settings(checkout, seed=1), change=lambda lock: lock.update(gallery=report)
    )
    assert collect(checkout).written == [FILE]


def test_a_result_of_other_code_is_remarked_on(checkout: Path) -> None:
    (checkout / "dvc.yaml").write_text(
        "stages: {split: {}, train: {deps: [src/loop.py]}, evaluate: {}, gallery: {}}"
    )
    (checkout / "src").mkdir()
    (checkout / "src/loop.py").write_text("1")
    git(checkout, "add", "--all")
    git(checkout, "commit", "--quiet", "--message", "code")
    add_experiment(checkout, f"{RECIPE}-s1", settings(checkout, seed=1))
    assert collect(checkout) == ([FILE], [], [])
    (checkout / FILE).unlink()
    (checkout / "src/loop.py").write_text("2")
    (remark,) = collect(checkout).remarks
    assert remark.startswith(
        f"{RECIPE}-s1 was run with other code than is checked out (src/loop.py ...): `git "
    )


def test_a_result_of_unknown_patients_gives_way_to_one_of_known_patients(checkout: Path) -> None:
    add_experiment(checkout, f"{RECIPE}-s1", settings(checkout, seed=1))
    collect(checkout)
    known = read_result(checkout, RECIPE, 1)
    assert known is not None
    write_result(checkout, known.model_copy(update={"patients_unknown": 5}))
    assert collect(checkout).written == [FILE]
    assert read_result(checkout, RECIPE, 1) == known


def test_a_checkout_in_a_subfolder_of_a_larger_repository_is_read(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    root = make_checkout(tmp_path / "project")
    (root / ".git").rename(tmp_path / ".git")
    git(tmp_path, "add", "--all")
    git(tmp_path, "commit", "--quiet", "--message", "one level down")
    add_experiment(root, f"{RECIPE}-s1", settings(root, seed=1))
    assert collect(root).written == [FILE]


def test_a_key_younger_than_the_experiment_counts_as_switched_off(checkout: Path) -> None:
    add_experiment(checkout, f"{RECIPE}-s1", settings(checkout, seed=1) | {"label_smoothing": None})
    add_experiment(checkout, f"{RECIPE}-s2", settings(checkout, seed=2) | {"weight_decay": None})
    written, (refused,), _ = collect(checkout)
    assert written == [FILE]  # plain.yaml has no smoothing, and neither has the recipe
    assert "weight_decay is 0.0 instead of 0.0001" in refused


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a", ("a", None)),
        ("a-s0", ("a", 0)),
        ("a-s12", ("a", 12)),
        ("a-s1-lr0.1", None),
        ("a-s", None),
        ("b-s1", None),
        ("a-s1-s2", ("a-s1", 2)),
    ],
)
def test_names_of_experiments(name: str, expected: tuple[str, int | None] | None) -> None:
    assert recipe_of(name, ["a", "a-s1"] if "s2" in name else ["a"]) == expected


def test_an_experiment_named_after_the_recipe_alone_has_the_seed_of_its_parameters(checkout: Path) -> None:
    add_experiment(checkout, RECIPE, settings(checkout, seed=7))
    assert collect(checkout).written == [Path(f"docs/results/{RECIPE}/seed-7.json")]


def test_other_experiments_are_nobodys_business(checkout: Path) -> None:
    add_experiment(checkout, f"{RECIPE}-s1-lr0.5", settings(checkout, seed=1, lr=0.5))
    add_experiment(checkout, "grumpy-cat", settings(checkout))
    assert collect(checkout) == ([], [], [])


def test_results_come_by_seed_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    for seed in (10, 2):
        write_result(tmp_path, made_up("r", seed, 0.8, 0.9))
    assert [result.seed for result in read_results(tmp_path, "r")] == [2, 10]
    (tmp_path / "docs/results/r/seed-10.json").write_text('{"recipe": "r"}', "utf-8")
    with pytest.raises(UserError, match=r"docs/results/r/seed-10.json is not a result file"):
        read_results(tmp_path, "r")
    (tmp_path / "docs/results/r/seed-2.json").rename(tmp_path / "docs/results/r/seed-10.json")
    with pytest.raises(UserError, match="holds r with seed 2"):
        read_results(tmp_path, "r")
