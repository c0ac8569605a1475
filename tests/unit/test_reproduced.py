"""The check of CI that a fresh clone gives the committed metrics."""

import copy
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pneumonia.paths import EVALUATE_METRICS
from tests import reproduced
from tests.reproduced import HELD, compare

ROOT = Path(__file__).parents[2]
COMMITTED: dict[str, Any] = json.loads((ROOT / EVALUATE_METRICS).read_text(encoding="utf-8"))


def changed(split: str, name: str, change: float) -> dict[str, Any]:
    found = copy.deepcopy(COMMITTED)
    found[split][name] += change
    return found


@pytest.mark.parametrize("split", ["val", "test"])
@pytest.mark.parametrize("name", HELD)
@pytest.mark.parametrize("sign", [1, -1])
def test_the_tolerance_holds_either_way(split: str, name: str, sign: int) -> None:
    assert compare(COMMITTED, changed(split, name, 0.0499 * sign))[1] == []
    (line,) = compare(COMMITTED, changed(split, name, 0.0501 * sign))[1]
    assert line.startswith(f"{split}.{name} ")


def test_another_number_of_images_is_another_split() -> None:
    assert len(compare(COMMITTED, changed("test", "n", 1))[1]) == 1


def test_a_metric_that_is_gone_is_noticed() -> None:
    found = copy.deepcopy(COMMITTED)
    del found["test"]["auroc"]
    assert len(compare(COMMITTED, found)[1]) == 1


def test_it_compares_the_working_tree_with_the_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    EVALUATE_METRICS.parent.mkdir()
    EVALUATE_METRICS.write_text(json.dumps(COMMITTED), encoding="utf-8")
    author = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
    for command in (["init", "-q"], ["add", "."], [*author, "commit", "-q", "-m", "default run"]):
        subprocess.run(["git", *command], check=True)
    reproduced.main()
    assert str(COMMITTED["test"]["auroc"]) in capsys.readouterr().out
    EVALUATE_METRICS.write_text(json.dumps(changed("test", "auroc", -0.2)), encoding="utf-8")
    with pytest.raises(SystemExit, match=r"error: more than 0.05 apart:\ntest\.auroc .*\d$"):
        reproduced.main()


def test_ci_asks_it_after_the_run() -> None:
    steps = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert steps.index("make repro") < steps.index("make reproduced")
