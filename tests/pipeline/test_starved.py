"""A full or forbidden disk: a stage says so in one sentence, leaves nothing half-written, and runs again."""

import hashlib
import json
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import CHECKOUT, Repository

pytestmark = pytest.mark.pipeline

FAULTS = Path(__file__).with_name("faults")


def outputs_of_stages() -> dict[str, list[str]]:
    """The files that each stage writes."""
    stages = yaml.safe_load((CHECKOUT / "dvc.yaml").read_text("utf-8"))["stages"]
    entries = {
        stage: [*body["outs"], *body.get("metrics", []), *body.get("plots", [])]
        for stage, body in stages.items()
    }
    outputs = {
        stage: [e if isinstance(e, str) else next(iter(e)) for e in entries[stage]] for stage in stages
    }
    outputs["gallery"].remove("plots/gallery")
    sheets = ("false_negatives", "false_positives", "borderline")
    outputs["gallery"] += [f"plots/gallery/{sheet}.png" for sheet in sheets]
    return outputs


OUTPUTS = outputs_of_stages()


def cases_of(stage: str, size: dict[str, int]) -> list[dict[str, Any]]:
    """The disk full at each output: halfway, at its last byte and at its first, in turn; a forbidden folder.

    At last a run without any of these.
    """
    outputs = OUTPUTS[stage]
    rooms = [(size[name] // 2, size[name] - 1, 0)[number % 3] for number, name in enumerate(outputs)]
    cases: list[dict[str, Any]] = [
        {"starved": True, "full": Path(name).name, "room": room, "meant": name}
        for name, room in zip(outputs, rooms, strict=True)
    ]
    cases += [{"forbidden": str(Path(outputs[0]).parent), "meant": outputs[0]}, {"again": True}]
    if stage == "evaluate":  # room for its outputs, none for MLflow's database
        cases.append({"tracking": True, "full": "", "room": 64 * 1024})
    return [{"stage": stage, "outputs": outputs, **case} for case in cases]


@dataclass(frozen=True)
class Starved:
    """What became of the cases of every stage, one after the other."""

    cases: list[dict[str, Any]]
    whole: dict[str, str]
    """SHA-256 of every output as it should be."""

    def having(self, key: str) -> list[dict[str, Any]]:
        found = [case for case in self.cases if key in case]
        assert {case["stage"] for case in found} == ({"evaluate"} if key == "tracking" else set(OUTPUTS))
        return found


@pytest.fixture(scope="module")
def starved(rebuilt: Repository, tmp_path_factory: pytest.TempPathFactory) -> Starved:
    root = tmp_path_factory.mktemp("starved") / "copy"
    shutil.copytree(rebuilt.root, root, symlinks=True, ignore=shutil.ignore_patterns("cache", ".git"))
    files = {name: (root / name).read_bytes() for names in OUTPUTS.values() for name in names}
    size = {name: len(content) for name, content in files.items()}
    cases = [case for stage in OUTPUTS for case in cases_of(stage, size)]
    said = Repository(root).run(sys.executable, str(FAULTS / "starve.py"), stdin=json.dumps(cases))
    outcomes = json.loads(said.splitlines()[-1])
    return Starved(
        [case | outcome for case, outcome in zip(cases, outcomes, strict=True)],
        {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
    )


def sentences(case: dict[str, Any]) -> list[str]:
    """What a failed stage says of the end; it is the last thing, and there is no traceback."""
    assert case["status"] == 1, case
    assert "Traceback" not in case["said"], case["said"]
    assert "UserWarning" not in case["said"], case["said"]
    lines = [line for line in case["said"].splitlines() if line.startswith("error: ")]
    assert case["said"].splitlines()[-1:] == lines
    return lines


def test_a_full_disk_is_one_sentence(starved: Starved) -> None:
    for case in starved.having("starved"):
        meant = Path(case["meant"])
        # The images are written while their index is.
        name = r"(index\.csv|images\.npy)" if meant.name == "index.csv" else re.escape(meant.name)
        expected = f"error: There is no space left in {meant.parent} for {name}; free some and run again."
        (sentence,) = sentences(case)
        assert re.fullmatch(expected, sentence)


def test_a_forbidden_folder_is_one_sentence(starved: Starved) -> None:
    for case in starved.having("forbidden"):
        (sentence,) = sentences(case)
        assert re.match(f"error: {case['forbidden']}/[^/]+ cannot be opened or written: ", sentence)
        assert sentence.endswith("change its permissions, or those of its folder, and run again.")


def test_nothing_is_left_that_could_be_taken_for_whole(starved: Starved) -> None:
    for case in starved.having("starved") + starved.having("forbidden"):
        assert case["meant"] not in case["left"]
        assert not [name for name in case["left"] if name.endswith(".part")]
        written = {name: digest for name, digest in case["left"].items() if name in case["outputs"]}
        assert written.items() <= starved.whole.items(), case["stage"]


def test_the_next_run_gives_the_same_bytes(starved: Starved) -> None:
    for case in starved.having("again") + starved.having("tracking"):
        assert case["status"] == 0, case["said"]
        expected = {name: starved.whole[name] for name in case["outputs"]}
        assert expected.items() <= case["left"].items(), case["stage"]


def test_a_full_disk_of_the_tracking_fails_no_stage(starved: Starved) -> None:
    (case,) = starved.having("tracking")
    assert "warning: MLflow at sqlite:///" in case["said"]
    assert "Traceback" not in case["said"], case["said"]


def test_dvc_takes_a_starved_stage_for_failed_and_the_next_repro_succeeds(
    repository: Repository, rebuilt: Repository
) -> None:
    again = ("repro", "--force", "--single-item", "split")
    output = repository.dvc(*again, fails=True, PYTHONPATH=str(FAULTS), FAULT="fill statistics.json 20")
    assert "error: There is no space left in data/split for statistics.json; free some and run" in output
    assert "failed to reproduce 'split'" in output
    assert "Traceback" not in output
    assert not (repository.root / "data/split/statistics.json").exists()
    assert "up to date" not in repository.dvc("status")
    repository.dvc(*again)
    assert (repository.root / "dvc.lock").read_bytes() == (rebuilt.root / "dvc.lock").read_bytes()
    assert "up to date" in repository.dvc("status")
