"""The command: a line a check, MLflow among them, and an exit status."""

import json
import shutil
from pathlib import Path

import pytest
from verification_examples import change_json, write_checkout

from pneumonia import paths
from pneumonia.params import load_params
from pneumonia.tracking import provenance
from pneumonia.tracking.origin import milliseconds
from pneumonia.tracking.run import Run, flatten_params
from pneumonia.tracking.store import find_store, open_store
from pneumonia.verification.mlflow_run import check_mlflow
from pneumonia.verification.outcome import Outcome
from pneumonia.verification.recipes import check_recipes
from pneumonia.verify import CHECKS, describe, main, verify


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with the store's database set up, which takes seconds, and no run in it."""
    root = tmp_path_factory.mktemp("checkout")
    write_checkout(root)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "DVC_ROOT"):
            patch.delenv(name, raising=False)
        open_store(root.resolve())
    return root


@pytest.fixture
def root(written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "DVC_ROOT"):
        monkeypatch.delenv(name, raising=False)
    return shutil.copytree(written, tmp_path / "copy")


def record_run(root: Path, **changed_params: str) -> Run:
    """A run of the checkout, as the stages record it."""
    params = flatten_params(load_params(root / "params.yaml").model_dump()) | changed_params
    tags = {name: provenance.file_md5(root / path) for name, path in provenance.DATA.items()}
    tags[provenance.WEIGHTS] = provenance.file_md5(root / paths.WEIGHTS)
    run = Run.create(open_store(root.resolve()), "tepid-hoke", tags, milliseconds())
    run.log_params(params)
    run.log_results(root / paths.TRAIN_METRICS, milliseconds(), "train.")
    run.log_results(root / paths.DATA_REPORT, milliseconds(), "data.")
    run.log_results(root / paths.EVALUATE_METRICS, milliseconds())
    run.log_results(root / paths.SUBGROUPS, milliseconds(), "subgroups.")
    run.finish(milliseconds())
    return run


def only(outcome: Outcome) -> str:
    (sentence,) = outcome.differences
    return sentence


def test_a_clone_without_a_store_gets_a_note_and_no_store(root: Path) -> None:
    (root / "mlflow.db").unlink()
    outcome = check_mlflow(root)
    assert outcome.differences == ()
    assert not outcome.compared
    assert outcome.note.endswith("mlflow.db yet; a fresh clone has none")
    assert not (root / "mlflow.db").exists()


def test_a_run_of_the_checkout_agrees_until_one_of_the_two_changes(root: Path) -> None:
    run = record_run(root)
    assert check_mlflow(root) == Outcome(note=f"run tepid-hoke ({run.id})")

    auroc = json.loads((root / paths.EVALUATE_METRICS).read_text("utf-8"))["test"]["auroc"]
    run.log_metrics({"test.auroc": 0.99}, milliseconds(), step=1)
    assert only(check_mlflow(root)) == (
        f"run tepid-hoke ({run.id}): test.auroc is 0.99 in MLflow, {auroc:.6g} in metrics/evaluate.json"
    )
    run.log_metrics({"test.auroc": auroc}, milliseconds(), step=2)
    change_json(root / paths.TRAIN_METRICS, lambda values: values.update(device="gpu"))
    assert only(check_mlflow(root)).endswith("train.device is cpu in MLflow, gpu in metrics/train.json")
    change_json(root / paths.TRAIN_METRICS, lambda values: values.update(device="cpu"))
    (root / paths.SPLIT).write_text((root / paths.SPLIT).read_text("utf-8").replace("train", "val"), "utf-8")
    assert "the MD5 of data/split/split.csv is " in only(check_mlflow(root))


def test_other_weights_have_no_run(root: Path) -> None:
    record_run(root)
    (root / paths.WEIGHTS).write_bytes(b"other weights")
    outcome = check_mlflow(root)
    assert "has no run of these weights (tag md5.weights = " in outcome.note
    assert not outcome.compared


def test_of_several_runs_of_the_weights_that_with_the_parameters_counts(root: Path) -> None:
    run = record_run(root)
    other = record_run(root, lr="0.5")
    assert check_mlflow(root).note == f"run tepid-hoke ({run.id})"
    run.store.client.delete_run(run.id)
    assert (
        only(check_mlflow(root)) == f"run tepid-hoke ({other.id}): lr is 0.5 in MLflow, 0.002 in params.yaml"
    )


def test_a_run_without_an_evaluation_is_named_with_the_remedy(root: Path) -> None:
    run = record_run(root)
    change_json(root / paths.EVALUATE_METRICS, lambda values: values.update(extra={"a": 1, "b": 2}))
    assert only(check_mlflow(root)) == (
        f"run tepid-hoke ({run.id}): 2 values of metrics/evaluate.json are not in MLflow, the first is "
        "extra.a; `dvc repro -f -s gallery` records the checkout"
    )


@pytest.mark.parametrize("uri", ["http://jane:secret@127.0.0.1:9", "sqlite:///params.yaml", "unknown://x"])
def test_a_store_that_does_not_answer_is_a_note(
    root: Path, monkeypatch: pytest.MonkeyPatch, uri: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    outcome = check_mlflow(root)
    assert outcome.differences == ()
    assert " does not answer (" in outcome.note
    assert "secret" not in outcome.note.partition(" does not answer")[0]


def test_finding_a_store_makes_no_experiment(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_store(root.resolve()) is not None
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "other")
    assert find_store(root.resolve()) is None
    assert find_store(root.resolve()) is None


def test_missing_files_skip_checks_and_only_dvc_lock_fails(root: Path) -> None:
    (root / paths.PREDICTIONS).unlink()
    (root / paths.WEIGHTS).unlink()
    outcomes = dict(verify(root))
    assert list(outcomes) == list(CHECKS)
    failed = [title for title, outcome in outcomes.items() if outcome.differences]
    skipped = [title for title, outcome in outcomes.items() if not outcome.compared]
    assert failed == ["dvc.lock"]  # which the made-up checkout lacks
    assert skipped == ["predictions", "metrics/evaluate.json", "plots/curves", "MLflow"]
    assert outcomes["predictions"].note == "predictions.csv is not here"


def test_one_failure_does_not_hide_another(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CHECKS, "dvc.lock", lambda _: Outcome(note="all"))
    assert main(root) == 0
    change_json(root / paths.EVALUATE_METRICS, lambda values: values["test"].update(n=1, accuracy=2))
    (root / paths.SPLIT).write_text("file,split\n", encoding="utf-8")
    capsys.readouterr()
    assert main(root) == 1
    lines = capsys.readouterr().out.splitlines()
    titles = [line for line in lines if not line.startswith(" ")]
    assert [line.split()[0] for line in titles] == [
        "same",
        "DIFFERS",
        "DIFFERS",
        "same",
        "DIFFERS",
        "DIFFERS",
        "same",
        "same",
        "skipped",
    ]
    assert len([line for line in lines if "metrics/evaluate.json," in line]) == 2


def test_a_recipe_that_the_schema_refuses_is_named(root: Path) -> None:
    (root / "recipes").mkdir()
    (root / "recipes/good.yaml").write_text("lr: 1e-4\n", encoding="utf-8")
    assert check_recipes(root) == Outcome(note="1 files")
    (root / "recipes/bad.yaml").write_text("lrr: 1e-4\nepochs: 0\n", encoding="utf-8")
    (root / "recipes/worse.yaml").write_text("base: goof\n", encoding="utf-8")
    assert check_recipes(root).differences == (
        "recipes/bad.yaml: epochs is 0; it must be a whole number, at least 1.",
        "recipes/bad.yaml: unknown key 'lrr'; did you mean 'lr'?",
        "recipes/worse.yaml: its base goof is not in recipes; did you mean good?",
    )


def test_every_line_of_a_sentence_is_indented() -> None:
    assert describe("x", Outcome(("a\nb", "c"))).splitlines() == [
        "DIFFERS  x",
        "           a",
        "           b",
        "           c",
    ]
