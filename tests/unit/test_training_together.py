"""Two real processes that train together, on the CPU, against one that trains alone."""

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from pneumonia import processes

SCRIPT = Path(__file__).with_name("training_together.py")
SECONDS = 300
"""After which processes that wait for each other are a failed test."""

ODD = {
    "arch": "test_vit",
    "still": True,
    "epochs": 2,
    "batch_size": 12,
    "images": 61,
    "val": 31,
    "patience": 2,
}
"""No batch norm and no augmentation. The last batch has one image; of the three of validation one process has
two, and the last is smaller."""
AS_USUAL = {"epochs": 3}
"""Batch norm and augmentation."""

VARIABLES = (
    "LOCAL_RANK",
    "RANK",
    "WORLD_SIZE",
    "MASTER_",
    "NODE_RANK",
    "GROUP_RANK",
    "TORCHELASTIC",
    "SLURM_",
)
OURS = {"PYTHONPATH": str(Path(processes.__file__).parents[1]), "LOCAL_RANK": "0"}
"""With a variable that something else has left."""


@dataclass(frozen=True)
class Start:
    """One command that somebody starts, and what is set for it."""

    module: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)


def start(root: Path, starts: list[Start], values: dict[str, Any]) -> tuple[list[int], str]:
    """Run the script by all of these at once; their exit statuses, and what all processes said."""
    root.mkdir(exist_ok=True)
    clean = {k: v for k, v in os.environ.items() if not k.startswith(VARIABLES)}
    with (root / "output").open("w", encoding="utf-8") as output:
        started = [
            subprocess.Popen(
                [sys.executable, *one.module, str(SCRIPT), str(root), json.dumps(values)],
                env=clean | OURS | one.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            for one in starts
        ]
        try:
            statuses = [process.wait(SECONDS) for process in started]
        except subprocess.TimeoutExpired:
            pytest.fail(f"the processes wait for each other:\n{(root / 'output').read_text('utf-8')}")
        finally:
            for process in started:
                with suppress(ProcessLookupError):  # nothing of it is left
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    return statuses, (root / "output").read_text("utf-8")


def run(root: Path, *starts: Start, **values: Any) -> dict[int, dict[str, Any]]:
    """What each process found, by rank."""
    statuses, output = start(root, list(starts) or [Start()], values)
    assert not any(statuses), output
    return results(root)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


def results(root: Path) -> dict[int, dict[str, Any]]:
    return {int(file.stem): json.loads(file.read_text("utf-8")) for file in sorted(root.glob("*.json"))}


def assert_close(one: Path, other: Path) -> None:
    """The same weights to rounding."""
    expected = load_file(other)
    for name, weights in load_file(one).items():
        np.testing.assert_allclose(weights, expected[name], rtol=1e-3, atol=2e-5, err_msg=name)


def assert_same_bytes(one: Path, other: Path) -> None:
    assert one.read_bytes() == other.read_bytes()


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two have trained, and one alone, with weighted classes."""
    root = tmp_path_factory.mktemp("odd")
    assert list(run(root / "two", devices=2, balance="class_weights", **ODD)) == [0, 1]
    assert list(run(root / "one", devices=1, balance="class_weights", **ODD)) == [0]
    return root


def test_they_see_disjoint_halves_of_each_batch_that_together_are_the_batch(odd: Path) -> None:
    two, one = results(odd / "two"), results(odd / "one")
    whole = {(epoch, batch): means for epoch, batch, means in one[0]["seen"]}
    parts = {rank: {(e, b): means for e, b, means in two[rank]["seen"]} for rank in (0, 1)}
    assert len(whole) == 2 * 6
    for key, means in whole.items():
        first, second = (parts[rank].get(key, []) for rank in (0, 1))
        assert sorted(first + second) == sorted(means)
        assert not set(first) & set(second)
        assert 0 <= len(first) - len(second) <= 1
    assert sum(len(means) for means in whole.values()) == 2 * 61


def test_they_end_with_the_same_weights_as_each_other_and_as_one_with_whole_batches(odd: Path) -> None:
    assert_same_bytes(odd / "two" / "0.safetensors", odd / "two" / "1.safetensors")
    assert_close(odd / "two" / "0.safetensors", odd / "one" / "0.safetensors")


def test_their_metrics_are_those_of_one_process(odd: Path) -> None:
    two, one = results(odd / "two"), results(odd / "one")
    assert two[0]["history"] == two[1]["history"]
    for epoch, expected in zip(two[0]["history"], one[0]["history"], strict=True):
        assert epoch == pytest.approx(expected, rel=1e-4)
    assert two[0]["best_epoch"] == one[0]["best_epoch"]


def test_only_the_first_tells_of_its_epochs(odd: Path) -> None:
    two = results(odd / "two")
    assert (two[0]["told"], two[1]["told"]) == ([0, 1], [])


def test_torchrun_on_two_machines_gives_the_same_as_our_trainer_on_one(odd: Path, tmp_path: Path) -> None:
    """Two machines as far as torchrun knows; the line is that of docs/distributed.md."""
    line = "-m torch.distributed.run --nnodes 2 --nproc-per-node 1 --rdzv-backend c10d --rdzv-endpoint"
    machine = Start(module=(*line.split(), f"localhost:{free_port()}"))
    found = run(tmp_path, machine, machine, devices=1, nodes=2, balance="class_weights", **ODD)
    assert [found[rank]["told"] for rank in (0, 1)] == [[0, 1], []]
    assert_same_bytes(tmp_path / "1.safetensors", odd / "two" / "0.safetensors")


def test_tasks_of_slurm_give_the_same_as_our_trainer(odd: Path, tmp_path: Path) -> None:
    """With the variables that srun would set; there is no SLURM here."""
    job = {
        "SLURM_JOB_ID": "4711",
        "SLURM_JOB_NAME": "train",
        "SLURM_NODELIST": "127.0.0.1",
        "SLURM_NNODES": "1",
        "SLURM_NTASKS": "2",
        "SLURM_NTASKS_PER_NODE": "2",
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_NODEID": "0",
        "MASTER_PORT": str(free_port()),
    }
    tasks = [
        Start(environment={**job, "SLURM_PROCID": f"{rank}", "SLURM_LOCALID": f"{rank}"}) for rank in (0, 1)
    ]
    found = run(tmp_path, *tasks, devices=2, balance="class_weights", **ODD)
    assert [found[rank]["told"] for rank in (0, 1)] == [[0, 1], []]
    assert_same_bytes(tmp_path / "1.safetensors", odd / "two" / "0.safetensors")


def test_a_full_disk_costs_the_state_and_not_the_training(odd: Path, tmp_path: Path) -> None:
    run(tmp_path, full=True, devices=2, balance="class_weights", **ODD)
    assert "the state of the training cannot be kept" in (tmp_path / "output").read_text("utf-8")
    assert_same_bytes(tmp_path / "1.safetensors", odd / "two" / "0.safetensors")


def test_one_that_is_killed_ends_the_other_and_they_go_on_together_with_the_same_bytes(
    tmp_path: Path,
) -> None:
    values = {"devices": 2, "average_weights": 0.9, "finetune": "head_then_all", "head_epochs": 1, **AS_USUAL}
    run(tmp_path / "whole", **values)
    start(tmp_path / "cut", [Start()], {**values, "die": 1})
    (left,) = results(tmp_path / "cut").values()
    assert left["error"].startswith("Another process of the training has ended")
    resumed = run(tmp_path / "cut", **values)
    assert [epoch for epoch, _, _ in resumed[1]["seen"]] == [1] * 4 + [2] * 4
    for name in ("whole", "cut"):  # the statistics of batch norm among them
        for rank in (0, 1):
            assert_same_bytes(tmp_path / name / f"{rank}.safetensors", tmp_path / "whole" / "0.safetensors")
    assert resumed[0]["history"] == results(tmp_path / "whole")[1]["history"]


def test_a_loss_that_is_not_finite_in_one_ends_both_and_the_first_says_it(tmp_path: Path) -> None:
    found = run(tmp_path, devices=2, diverge=1, **AS_USUAL)
    sentence = "Training diverged: the loss became inf in epoch 1, batch 0, at a learning rate of "
    assert found[0]["error"].startswith(sentence)
    assert found[1]["error"].startswith(sentence)
    assert "The best weights until then, of epoch 0, are in " in found[0]["error"]
    assert len(list(tmp_path.rglob("best.safetensors"))) == 1


def test_the_first_alone_prints_and_no_more_than_one_process_does(odd: Path) -> None:
    for name in ("one", "two"):
        said = (odd / name / "output").read_text("utf-8").splitlines()
        lines = [line for line in said if line.strip() and "LeafSpec" not in line]
        assert lines
        assert all(line.startswith("train: ") for line in lines), lines
        assert sum("100%" in line for line in lines) == 1
