"""The commands themselves are run by the tests of the pipeline; here what the benchmark makes of them."""

import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from benchmarks.overhead import EMPTY, STAGES, Repository, timed, write_noise


def test_the_noise_is_as_many_different_images_of_both_classes(tmp_path: Path) -> None:
    write_noise(tmp_path / "noise.zip", 6)
    with zipfile.ZipFile(tmp_path / "noise.zip") as archive:
        names = archive.namelist()
        assert len({archive.read(name) for name in names}) == 6
    assert [name.split("/")[0] for name in names] == ["normal", "pneumonia"] * 3


def test_the_rest_is_what_the_stages_do_not_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stages = tmp_path / "stages"
    stages.mkdir()
    for name in ("__init__", "split", "train"):
        (stages / f"{name}.py").write_text("import json\n")
    monkeypatch.setattr("benchmarks.overhead.seconds", lambda work: work() or 100.0)

    def dvc(self: Repository, *arguments: str, **environment: Any) -> None:
        for stage in arguments:
            self.run(sys.executable, "-m", f"stages.{stage}", **environment)
        self.run(sys.executable, "-c", "pass", **environment)  # no stage

    monkeypatch.setattr(Repository, "dvc", dvc)
    found = timed(Repository(tmp_path), "split", "train")
    assert list(found) == ["split", "train", "rest"]
    assert 0 < found["split"] < 100
    assert found["rest"] == 100 - found["split"] - found["train"]


def test_the_empty_pipeline_has_three_lines_and_ours_six_stages() -> None:
    assert len(EMPTY.splitlines()) == 3
    assert len(STAGES) == 6
