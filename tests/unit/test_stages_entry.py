"""How a stage ends: a sentence for what a person can mend, a traceback for an error of our own."""

import errno
import os
import shutil
import tempfile
from pathlib import Path

import pytest

from pneumonia.errors import SharedError, UserError
from pneumonia.params import Params
from pneumonia.processes import Process
from stages.entry import repository_root, run

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _in_a_checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("signal.signal", lambda *_: None)


def raising(error: BaseException) -> int | str | None:
    """Exit status or message of a stage that ends with the error."""

    def stage(params: Params) -> None:
        raise error

    with pytest.raises(SystemExit) as caught:
        run(stage)
    return caught.value.code


def test_a_stage_gets_the_checked_parameters() -> None:
    seen: list[Params] = []
    run(seen.append)
    assert seen[0].source.name == "phantom"


def test_what_a_user_can_mend_is_a_sentence() -> None:
    assert raising(UserError("Bring images.")) == "error: Bring images."


def test_a_full_disk_and_a_missing_right_are_sentences() -> None:
    full = OSError(errno.ENOSPC, "No space left on device", "metrics/data.json")
    assert raising(full) == "error: There is no space left in metrics for data.json; free some and run again."
    assert raising(PermissionError(errno.EACCES, "Permission denied", "x")) == (
        "error: x cannot be opened or written: Permission denied; change its permissions, or those of its "
        "folder, and run again."
    )


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_that_nobody_names_is_a_sentence_too(number: int) -> None:
    sentence = str(raising(OSError(number, os.strerror(number))))
    assert sentence.startswith(f"error: There is no space left in {tempfile.gettempdir()} for temporary")


def test_a_stage_does_not_run_twice_at_once_and_runs_again_afterwards() -> None:
    def train(params: Params) -> None:
        with pytest.raises(SystemExit) as caught:
            run(train)
        refusals.append(str(caught.value.code))

    refusals: list[str] = []
    run(train)
    run(train)
    expected = f"error: The stage train is already running in {Path.cwd()}; wait for its end and run again."
    assert refusals == [expected, expected]


@pytest.fixture
def _second_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.entry.this_process", lambda devices, nodes: Process(1, 2, 1, "torchrun"))


@pytest.mark.usefixtures("_second_of_two")
def test_the_second_process_of_a_training_runs_beside_the_first() -> None:
    def train(params: Params) -> None:
        run(seen.append, together=True)

    seen: list[Params] = []
    run(train)  # holds the lock
    assert len(seen) == 1


@pytest.mark.usefixtures("_second_of_two")
def test_what_all_processes_end_with_the_first_one_says(capsys: pytest.CaptureFixture[str]) -> None:
    def ending(error: UserError, *, together: bool) -> int | str | None:
        def stage(params: Params) -> None:
            raise error

        with pytest.raises(SystemExit) as caught:
            run(stage, together=together)
        return caught.value.code

    assert ending(SharedError("Diverged."), together=True) == 0
    assert ending(SharedError("Diverged."), together=False) == "error: Diverged."
    assert ending(UserError("No file here."), together=True) == "error: No file here."
    assert capsys.readouterr().err == ""


def test_two_stages_may_run_at_once() -> None:
    seen: list[Params] = []
    run(lambda _: run(seen.append))
    assert len(seen) == 1


def test_an_interruption_is_the_status_of_one() -> None:
    assert raising(KeyboardInterrupt()) == 130


def test_an_error_of_ours_keeps_its_traceback() -> None:
    def stage(params: Params) -> None:
        raise OSError(errno.EBADF, "ours")

    with pytest.raises(OSError, match="ours"):
        run(stage)


def test_relative_paths_hang_on_the_repository_that_dvc_names(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    assert repository_root() == tmp_path.resolve()
    monkeypatch.delenv("DVC_ROOT")
    monkeypatch.chdir(ROOT)
    assert repository_root() == ROOT


PIPELINE = """
stages:
  stage:
    deps: [src/loop.py, src/folder, data/images.npy]
    params: [lr, augment]
"""


@pytest.mark.parametrize(
    ("file", "old", "new", "named"),
    [
        ("params.yaml", "\nlr:", "\nlr: 0.123 #", "lr in params.yaml"),
        ("params.yaml", "\n  rotation:", "\n  rotation: 44 #", "augment.rotation in params.yaml"),
        ("src/loop.py", "1", "2", "src/loop.py"),
        ("src/folder/a.py", "1", "2", "src/folder/a.py"),
        ("src/folder/page.html.jinja", "1", "2", "src/folder/page.html.jinja"),
        ("src/folder/a.pyc", "1", "2", None),
        ("dvc.yaml", "[lr, augment]", "[lr, augment, seed]", None),
        ("params.yaml", "\nepochs:", "\nepochs: 77 #", None),
        ("params.yaml", "\n", "\n# a comment\n", None),
        ("src/other.py", "1", "2", None),
        ("data/images.npy", "1", "2", None),
    ],
)
def test_what_changes_while_a_stage_runs_is_not_put_down_as_what_it_ran_with(
    tmp_path: Path, file: str, old: str, new: str, named: str | None
) -> None:
    (tmp_path / "dvc.yaml").write_text(PIPELINE)
    folder = [f"src/folder/{name}" for name in ("a.py", "a.pyc", "page.html.jinja")]
    for name in ("src/loop.py", *folder, "src/other.py", "data/images.npy"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1")

    def stage(params: Params) -> None:
        text = Path(file).read_text("utf-8")
        assert old in text
        Path(file).write_text(text.replace(old, new, 1), "utf-8")

    if named is None:
        run(stage)
    else:
        with pytest.raises(SystemExit, match=f"error: {named} changed while the stage stage ran, and DVC"):
            run(stage)


def test_a_file_that_comes_or_goes_is_a_change_too(tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").write_text(PIPELINE)
    (tmp_path / "src/folder").mkdir(parents=True)

    def stage(params: Params) -> None:
        Path("src/folder/new.py").touch()
        Path("src/loop.py").touch()

    with pytest.raises(SystemExit, match=r"src/\S+ and 1 more changed"):
        run(stage)
