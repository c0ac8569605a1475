"""`PYTHONPATH=src python -m tests.unprotected` takes each protection away and sees its test fail.

In a copy of the checkout one text is replaced at a time, and one test is run. First all of these tests run in
the copy as it is, and must pass. A test that passes without its protection, or does not get as far as to
fail, ends the script with status 1. With words on the command line, only rows that contain one are run.
"""

import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

CHECKOUT = Path(__file__).parents[1]
LIBRARIES = ["torch", "lightning", "timm", "mlflow", "sklearn.metrics", "torchmetrics", "pandas", "pytest"]
"""Loaded once, not once a test; nothing of ours is."""
SECONDS = 600
"""After which a test counts as failed: some protections are against waiting."""


class Protection(NamedTuple):
    """A text of the code, and the test that must fail with another in its place."""

    name: str
    file: str
    old: str
    new: str
    test: str


LIBRARY, UNIT = "src/pneumonia", "tests/unit"
TOGETHER = f"{UNIT}/test_training_together.py"

PROTECTIONS = {
    "The same bytes": [
        Protection(
            "the number of threads is a parameter's",
            f"{LIBRARY}/network/device.py",
            "    torch.set_num_threads(threads)\n",
            "",
            f"{UNIT}/test_training_repeatable.py::test_the_parameter_fixes_the_threads_not_the_machine",
        ),
        Protection(
            "deterministic algorithms are the parameter's",
            f"{LIBRARY}/network/device.py",
            "torch.use_deterministic_algorithms(deterministic)",
            "torch.use_deterministic_algorithms(False)",
            f"{UNIT}/test_network.py::test_the_parameter_alone_chooses_the_algorithms",
        ),
        Protection(
            "the order of files is sorted away",
            f"{LIBRARY}/imaging/packing.py",
            "records = sorted(records, key=lambda record: pseudonyms.of_file(record.file))",
            "records = list(records)",
            f"{UNIT}/test_imaging_packing.py::test_neither_order_nor_workers_change_a_byte",
        ),
        Protection(
            "metrics hold within the tolerance",
            "tests/reproduced.py",
            '(0 if name == "n" else TOLERANCE)',
            '(0 if name == "n" else 1)',
            f"{UNIT}/test_reproduced.py::test_the_tolerance_holds_either_way",
        ),
    ],
    "Interrupted is not lost": [
        Protection(
            "a training resumes",
            f"{LIBRARY}/training/loop.py",
            "ckpt_path=found.file if found else None",
            "ckpt_path=None",
            f"{UNIT}/test_training_resume.py::"
            "test_interrupted_before_the_outputs_were_written_nothing_is_trained_again",
        ),
        Protection(
            "a damaged state is noticed",
            f"{LIBRARY}/training/state_file.py",
            "if hashlib.sha256(content).digest() != digest:",
            "if not digest:",
            f"{UNIT}/test_training_resume.py::test_of_a_damaged_state_one_hears_and_the_one_before_serves",
        ),
        Protection(
            "other parameters are another training",
            f"{LIBRARY}/training/resume.py",
            '        "params": params.model_dump(),\n',
            "",
            f"{UNIT}/test_training_resume.py::test_a_training_with_other_parameters_does_not_take_the_state",
        ),
        Protection(
            "other data are another training",
            f"{LIBRARY}/training/resume.py",
            "for name, array in [*arrays.items(), *tensors.items()]:",
            "for name, array in tensors.items():",
            f"{UNIT}/test_training_resume.py::test_a_training_with_other_data_does_not_take_the_state",
        ),
        Protection(
            "other code is another training",
            f"{LIBRARY}/training/resume.py",
            "for name, content in _code():",
            "for name, content in ():",
            f"{UNIT}/test_training_resume.py::"
            "test_with_other_code_libraries_or_devices_the_state_is_not_taken",
        ),
        Protection(
            "bytes are on the disk before the rename",
            f"{LIBRARY}/atomic.py",
            "        to_disk(part)\n        part.replace(target)\n",
            "        part.replace(target)\n",
            f"{UNIT}/test_atomic.py::test_the_bytes_are_on_the_disk_before_the_rename_and_the_name_after_it",
        ),
    ],
    "Starved": [
        Protection(
            "an unfinished file has another name",
            f"{LIBRARY}/atomic.py",
            'part = target.with_name(f"{target.name}{PART}")',
            "part = target",
            f"{UNIT}/test_atomic.py::test_a_full_disk_leaves_the_old_file",
        ),
        Protection(
            "a full disk is a sentence",
            f"{LIBRARY}/atomic.py",
            "if error.errno in FULL:",
            "if error.errno is None:",
            f"{UNIT}/test_atomic.py::test_disk_errors_become_sentences",
        ),
        Protection(
            "a web page is no download",
            f"{LIBRARY}/sources/downloading.py",
            'if kind in ("text/html", "application/xhtml+xml") or start.startswith(',
            "if False and start.startswith(",
            f"{UNIT}/test_sources_downloading.py::test_a_redirect_to_a_web_page_is_noticed_and_destroys_nothing",
        ),
        Protection(
            "a corrupted download is noticed",
            f"{LIBRARY}/sources/downloading.py",
            "                if digest != published:\n",
            "                if not digest:\n",
            f"{UNIT}/test_sources_downloading.py::test_a_wrong_digest_removes_what_came",
        ),
        Protection(
            "nothing is half uploaded",
            f"{LIBRARY}/tracking/model.py",
            'key=lambda file: file == local / "MLmodel"',
            'key=lambda file: file != local / "MLmodel"',
            f"{UNIT}/test_tracking.py::test_what_could_not_be_uploaded_whole_is_not_there",
        ),
    ],
    "Raced": [
        Protection(
            "a stage runs once at a time",
            "stages/entry.py",
            "    with lock:\n        yield\n",
            "    lock.release()\n    yield\n",
            f"{UNIT}/test_stages_entry.py::test_a_stage_does_not_run_twice_at_once_and_runs_again_afterwards",
        ),
        Protection(
            "one process sets up the MLflow store",
            f"{LIBRARY}/tracking/store.py",
            'return FileLock(f"{path}.lock", timeout=LOCK_SECONDS) if path else nullcontext()',
            "return nullcontext()",
            f"{UNIT}/test_tracking.py::test_processes_that_race_for_a_new_store_lose_nothing_and_say_nothing",
        ),
        Protection(
            "what MLflow does not take is kept",
            f"{LIBRARY}/tracking/record.py",
            "        unsent.keep(root, checkout, origin, last)\n",
            "        pass\n",
            f"{UNIT}/test_tracking_unsent.py::test_the_next_run_sends_what_is_kept",
        ),
        Protection(
            "a slow server costs its share and no more",
            f"{LIBRARY}/tracking/record.py",
            "        self._spent += time.monotonic() - now\n",
            "",
            f"{UNIT}/test_tracking_unsent.py::test_a_slow_server_is_left_alone_when_it_has_cost_its_share",
        ),
    ],
    "The tracking is complete": [
        Protection(
            "the tags name data and code",
            f"{LIBRARY}/tracking/provenance.py",
            "        **{name: file_md5(checkout / path) for name, path in DATA.items()},\n",
            "",
            f"{UNIT}/test_tracking.py::test_tags_lead_back_to_the_data_and_say_nothing_of_the_user",
        ),
        Protection(
            "a killed training's run is ended",
            f"{LIBRARY}/tracking/alive.py",
            'found.info.status == "RUNNING"',
            'found.info.status == "FAILED"',
            f"{UNIT}/test_tracking.py::"
            "test_any_later_run_ends_that_of_a_training_that_was_killed_outright_and_of_no_other",
        ),
        Protection(
            "a living training's run is not",
            f"{LIBRARY}/tracking/alive.py",
            "        return [note for note in notes if _is_free(_lock(note))]\n",
            "        return notes\n",
            f"{UNIT}/test_tracking.py::"
            "test_any_later_run_ends_that_of_a_training_that_was_killed_outright_and_of_no_other",
        ),
        Protection(
            "verify compares outputs with dvc.lock",
            f"{LIBRARY}/verification/lock.py",
            "if digest(path) not in (md5, ABSENT):",
            "if not digest(path):",
            f"{UNIT}/test_verification_lock.py::test_what_changed_is_named_with_the_remedy",
        ),
        Protection(
            "verify recomputes the metrics",
            f"{LIBRARY}/verification/results.py",
            "        metrics = evaluate(predictions, threshold, settings)\n",
            "        metrics = read_results(root / paths.EVALUATE_METRICS)\n",
            f"{UNIT}/test_verification_results.py::test_a_metric_that_was_made_better",
        ),
        Protection(
            "verify compares with MLflow",
            f"{LIBRARY}/verification/mlflow_run.py",
            "        differences += _results(run, ",
            "        differences += () and _results(run, ",
            f"{UNIT}/test_verify.py::test_a_run_of_the_checkout_agrees_until_one_of_the_two_changes",
        ),
        Protection(
            "verify validates the recipes",
            f"{LIBRARY}/verification/recipes.py",
            "            recipe_params(name, root)\n",
            "            pass\n",
            f"{UNIT}/test_verify.py::test_a_recipe_that_the_schema_refuses_is_named",
        ),
    ],
    "Safe to open": [
        Protection(
            "films that show name and date are set aside",
            f"{LIBRARY}/imaging/acceptance.py",
            "if not burned_in and code(",
            "if burned_in and code(",
            f"{UNIT}/test_imaging_reasons.py::test_films_that_show_who_it_is_are_kept_where_they_are_asked_for",
        ),
        Protection(
            "nothing unpickles",
            f"{LIBRARY}/store.py",
            "allow_pickle=False",
            "allow_pickle=True",
            f"{UNIT}/test_safe_to_open.py::test_nothing_unpickles_or_runs_what_it_reads",
        ),
        Protection(
            "no path leads out of an archive",
            f"{LIBRARY}/sources/archive.py",
            '".." in name.split("/")',
            "not name",
            f"{UNIT}/test_sources_archive.py::test_names_that_lead_out_are_refused",
        ),
        Protection(
            "no links in an archive",
            f"{LIBRARY}/sources/archive.py",
            "if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):",
            "if stat.S_IFMT(info.external_attr >> 16) < 0:",
            f"{UNIT}/test_sources_archive.py::test_links_and_special_files_are_refused",
        ),
        Protection(
            "no bombs",
            f"{LIBRARY}/sources/archive.py",
            "if unpacked > max(MIN_BOMB_BYTES, MAX_RATIO * size):",
            "if unpacked < 0:",
            f"{UNIT}/test_sources_archive.py::test_a_bomb_of_many_members_is_refused",
        ),
        Protection(
            "the report escapes every text",
            f"{LIBRARY}/gallery/report.py",
            "autoescape=True",
            "autoescape=False",
            f"{UNIT}/test_gallery_report.py::test_every_text_that_a_user_can_choose_stays_text",
        ),
        Protection(
            "the documented server is local",
            f"{LIBRARY}/summary.py",
            "mlflow ui --backend",
            "mlflow ui --host 0.0.0.0 --backend",
            f"{UNIT}/test_safe_to_open.py"
            "::test_the_documented_server_listens_to_this_machine_alone_and_reports_to_nobody",
        ),
        Protection(
            "licences are checked",
            "tests/licences.py",
            "        if not is_agreed(name, says)\n",
            "        if not name\n",
            f"{UNIT}/test_licences.py::test_a_package_under_the_gpl_is_refused_by_name",
        ),
        Protection(
            "CI runs on the lowest and highest Python",
            ".github/workflows/test.yaml",
            'python: ["3.11", "3.14"]',
            'python: ["3.12", "3.14"]',
            f"{UNIT}/test_audit.py::test_ci_runs_on_the_lowest_and_the_highest_supported_python",
        ),
    ],
    "Together": [
        Protection(
            "no image is in two parts of a batch",
            f"{LIBRARY}/training/parts.py",
            "part = batch[rank::world]",
            "part = batch[0::world]",
            f"{UNIT}/test_training_parts.py::test_the_parts_of_a_batch_are_disjoint_and_together_it",
        ),
        Protection(
            "a part weighs what it is of its batch",
            f"{LIBRARY}/training/classifier.py",
            "return loss if share.factor == 1 else loss * share.factor",
            "return loss",
            f"{TOGETHER}::test_they_end_with_the_same_weights_as_each_other_and_as_one_with_whole_batches",
        ),
        Protection(
            "no image counts twice",
            f"{LIBRARY}/training/classifier.py",
            "if share.own:",
            "if share:",
            f"{TOGETHER}::test_their_metrics_are_those_of_one_process",
        ),
        Protection(
            "a loss that is not finite in one process stops all",
            f"{LIBRARY}/training/seen.py",
            "gather(self._first_here())",
            "[self._first_here()]",
            f"{TOGETHER}::test_a_loss_that_is_not_finite_in_one_ends_both_and_the_first_says_it",
        ),
        Protection(
            "the statistics of batch norm are the same in all",
            f"{LIBRARY}/training/distributed.py",
            "if buffer.is_floating_point():",
            "if buffer is None:",
            f"{TOGETHER}::test_one_that_is_killed_ends_the_other_and_they_go_on_together_with_the_same_bytes",
        ),
        Protection(
            "a full disk in the first does not part them",
            f"{LIBRARY}/training/resume.py",
            "            trainer.strategy.barrier()  # where the other processes wait until it is written\n",
            "",
            f"{TOGETHER}::test_a_full_disk_costs_the_state_and_not_the_training",
        ),
        Protection(
            "a process ends with the one that started it",
            f"{LIBRARY}/processes.py",
            "        os._exit(1)",
            "        pass",
            f"{UNIT}/test_processes.py::test_a_child_ends_when_its_parent_is_gone",
        ),
    ],
    "Not fooled": [
        Protection(
            "a loss that is not finite stops the training",
            f"{LIBRARY}/training/seen.py",
            "if not math.isfinite(loss):",
            "if loss is None:",
            f"{UNIT}/test_training_loop.py::test_a_loss_that_is_not_finite_in_validation_stops_too",
        ),
        Protection(
            "a full disk does not hide why",
            f"{LIBRARY}/training/loop.py",
            "    except (UserError, OSError) as error:\n        return",
            "    except KeyError as error:\n        return",
            f"{UNIT}/test_training_loop.py::test_a_disk_that_is_full_then_does_not_hide_the_divergence",
        ),
        Protection(
            "one class has no AUROC",
            f"{LIBRARY}/evaluation/metrics.py",
            "if tp + fn and tn + fp:",
            "if tp + fn or tn + fp:",
            f"{UNIT}/test_evaluation_metrics.py::test_normal_images_alone",
        ),
        Protection(
            "no NaN in a metrics file",
            f"{LIBRARY}/writing.py",
            "if isinstance(value, numbers.Real) and math.isfinite(value):",
            "if isinstance(value, numbers.Real):",
            f"{UNIT}/test_writing.py::test_what_dvc_cannot_compare_is_refused_and_named",
        ),
        Protection(
            "a split whose patients overlap is refused",
            f"{LIBRARY}/split_table.py",
            "    require_disjoint(index, split)\n    return split\n",
            "    return split\n",
            f"{UNIT}/test_split_table.py::test_a_table_that_a_user_brings_is_checked",
        ),
    ],
}
"""By the paragraphs of what is promised: bytes, interruptions, ..."""


def outcome(folder: Path, *tests: str) -> int | None:
    """Exit status of pytest in a folder: 0 passed, 1 failed, more: it did not get that far; None: stalled."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(LIBRARIES)
    process = context.Process(target=_run, args=(folder, tests))
    process.start()
    process.join(SECONDS)
    if process.is_alive():
        process.kill()
        process.join()
        return None
    return process.exitcode


def _run(folder: Path, tests: tuple[str, ...]) -> None:
    import pytest  # noqa: PLC0415  in the server of the forks

    os.chdir(folder)
    sys.path[:] = [
        place for place in sys.path if not Path(place or ".").resolve().is_relative_to(CHECKOUT / "src")
    ]
    sys.dont_write_bytecode = True
    with (folder.parent / "log").open("wb") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    sys.exit(int(pytest.main(["-n", "0", "-p", "no:cacheprovider", f"--rootdir={folder}", *tests])))


@contextmanager
def without(protection: Protection, folder: Path) -> Iterator[None]:
    """The copy without the protection."""
    file = folder / protection.file
    text = file.read_text(encoding="utf-8")
    assert text.count(protection.old) == 1, protection
    file.write_text(text.replace(protection.old, protection.new), encoding="utf-8")
    try:
        yield
    finally:
        file.write_text(text, encoding="utf-8")


def copy_of_checkout(target: Path) -> None:
    """The files that git tracks or would track."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout
    for name in listed.splitlines():
        if (CHECKOUT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(CHECKOUT / name, target / name)


def main(words: list[str]) -> int:
    """Run all, or those with one of the words, and print a table; return the exit status."""
    rows = [(paragraph, row) for paragraph, rows in PROTECTIONS.items() for row in rows]
    rows = [row for row in rows if not words or any(word in str(row) for word in words)]
    bad = 0
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "checkout")
        copy_of_checkout(folder)
        if outcome(folder, *sorted({row.test for _, row in rows})) != 0:
            print((folder.parent / "log").read_text("utf-8"))
            print("The tests fail with all protections in place.")
            return 1
        for paragraph, row in rows:
            with without(row, folder):
                status = outcome(folder, row.test)
            seen = {0: "PASSES", 1: "fails", None: "stalls"}.get(
                status, f"BROKEN, pytest ended with {status}"
            )
            bad += status not in (1, None)
            print(f"{seen:8}{paragraph:26}{row.name:50}{row.test.rpartition('/')[2]}", flush=True)
    print(f"{len(rows)} protections, {bad} of them not seen to fail when removed")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
