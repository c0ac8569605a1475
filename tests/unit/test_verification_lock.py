"""dvc.lock against the checkout: what is missing, what changed, and what to do about it."""

from pathlib import Path

import pytest
import yaml

from pneumonia.errors import UserError
from pneumonia.verification.lock import check_lock, path_md5

PIPELINE = """
stages:
  make:
    cmd: python make.py
    deps: [code]
    params: [lr, augment, source.name]
    outs: [data/table.csv]
    metrics:
      - metrics.json: {cache: false}
  show:
    cmd: python show.py
    deps: [code, data/table.csv]
    outs: [page.html]
"""
PARAMS = (
    "lr: 1e-4\naugment: {rotation: 10, scale: [0.9, 1.1], flip: true}\nsource: {name: phantom, path: null}\n"
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A checkout in which two stages have run."""
    contents = {
        "dvc.yaml": PIPELINE,
        "params.yaml": PARAMS,
        ".dvcignore": "__pycache__\n*.pyc\n",
        "code/a.py": "x = 1\n",
        "data/table.csv": "a,b\n",
        "metrics.json": "{}\n",
        "page.html": "<p>\n",
    }
    for name, text in contents.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    stages = yaml.safe_load(PIPELINE)["stages"]
    values = {
        "lr": 0.0001,
        "augment": {"rotation": 10, "scale": [0.9, 1.1], "flip": True},
        "source.name": "phantom",
    }
    record = {
        name: {
            "cmd": stages[name]["cmd"],
            "deps": [{"path": path, "md5": path_md5(tmp_path, path)} for path in stages[name]["deps"]],
            "outs": [{"path": path, "md5": path_md5(tmp_path, path)} for path in outs],
        }
        for name, outs in {"make": ["data/table.csv", "metrics.json"], "show": ["page.html"]}.items()
    }
    record["make"]["params"] = {"params.yaml": values}
    write_lock(tmp_path, {"schema": "2.0", "stages": record})
    return tmp_path


def write_lock(root: Path, lock: dict[str, object]) -> None:
    (root / "dvc.lock").write_text(yaml.safe_dump(lock), encoding="utf-8")


def test_a_checkout_as_it_was_run_differs_in_nothing(root: Path) -> None:
    outcome = check_lock(root)
    assert outcome.differences == ()
    assert outcome.note == "4 files and folders of 2 stages"


def test_a_fresh_clone_is_told_what_is_not_there_yet(root: Path) -> None:
    (root / "data/table.csv").unlink()
    (root / "page.html").unlink()
    assert check_lock(root).differences == (
        "not here yet: data/table.csv, page.html; run `dvc repro`, or `dvc pull` where a remote has them",
    )


@pytest.mark.parametrize(
    ("path", "text", "sentence"),
    [
        (
            "metrics.json",
            '{"a": 1}',
            "metrics.json is not what make wrote; `dvc repro make` makes it anew, `git checkout "
            "metrics.json` brings back what was recorded",
        ),
        (
            "data/table.csv",
            "a,c\n",
            "data/table.csv is not what make wrote; `dvc repro make` makes it anew, `dvc checkout "
            "data/table.csv` brings back what was recorded",
        ),
        (
            "code/a.py",
            "x = 2\n",
            "code has changed since make, show ran; run `dvc repro`, or restore it from git",
        ),
        ("code/new.py", "", "code has changed since make, show ran; run `dvc repro`, or restore it from git"),
        (
            "params.yaml",
            PARAMS.replace("1e-4", "1e-3"),
            "lr is 0.001 in params.yaml; make ran with 0.0001; run `dvc repro`",
        ),
        (
            "params.yaml",
            PARAMS.replace("1e-4", "1.0000001e-4"),
            "lr is 0.00010000001 in params.yaml; make ran with 0.0001; run `dvc repro`",
        ),
        (
            "params.yaml",
            PARAMS.replace("rotation: 10", "turn: 5"),
            "augment.rotation is null in params.yaml; make ran with 10; run `dvc repro`",
        ),
        (
            "params.yaml",
            PARAMS.replace("flip: true", "flip: 1"),
            "augment.flip is 1 in params.yaml; make ran with True; run `dvc repro`",
        ),
        (
            "dvc.yaml",
            PIPELINE.replace("python show.py", "python other.py"),
            "show has changed in dvc.yaml since it was run; run `dvc repro`",
        ),
        (
            "dvc.yaml",
            PIPELINE + "  last: {cmd: echo}\n",
            "last has not been run: dvc.lock does not know it; run `dvc repro`",
        ),
    ],
)
def test_what_changed_is_named_with_the_remedy(root: Path, path: str, text: str, sentence: str) -> None:
    (root / path).write_text(text, encoding="utf-8")
    assert sentence in check_lock(root).differences


def test_a_parameter_that_no_stage_reads_may_change(root: Path) -> None:
    (root / "params.yaml").write_text(PARAMS.replace("path: null", "path: x"), encoding="utf-8")
    assert check_lock(root).differences == ()


def test_a_missing_folder_of_code_is_named(root: Path) -> None:
    (root / "code/a.py").unlink()
    (root / "code").rmdir()
    (sentence,) = check_lock(root).differences
    assert sentence.startswith("code is missing since make, show ran")


def test_stages_that_ran_with_different_versions_of_a_file_do_not_fit_together(root: Path) -> None:
    lock = yaml.safe_load((root / "dvc.lock").read_text("utf-8"))
    lock["stages"]["show"]["deps"][1]["md5"] = "0" * 32
    write_lock(root, lock)
    assert check_lock(root).differences == (
        "show was run with another data/table.csv than make wrote; run `dvc repro`",
    )


@pytest.mark.parametrize(
    ("lock", "sentence"),
    [
        (None, "dvc.lock is missing, so nothing was ever run here; run `dvc repro`"),
        ("<<<<<<< HEAD\n", "dvc.lock must hold keys and values"),
        ("schema: '2.0'\n", "dvc.lock has no stages"),
        ("a: [", "dvc.lock is not valid YAML"),
    ],
)
def test_no_usable_lock(root: Path, lock: str | None, sentence: str) -> None:
    (root / "dvc.lock").unlink()
    if lock is not None:
        (root / "dvc.lock").write_text(lock, encoding="utf-8")
    with pytest.raises(UserError, match=sentence):
        check_lock(root)


def test_a_folder_has_the_digest_that_dvc_gives_it(tmp_path: Path) -> None:
    contents = {
        "b/x.txt": "one\n",
        "b-c/y.txt": "two\n",
        "z.txt": "three\n",
        "__pycache__/n.txt": "no\n",
        "b/m.pyc": "no\n",
    }
    for name, text in contents.items():
        (tmp_path / "folder" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "folder" / name).write_bytes(text.encode())
    (tmp_path / ".dvcignore").write_text("__pycache__\n*.pyc\n")
    # By `dvc add folder` of DVC 3.67.
    assert path_md5(tmp_path, "folder") == "2e1a428661fb683d0f172949eff28d21.dir"
