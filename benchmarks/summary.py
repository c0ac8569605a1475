"""The README's table of what was measured, from the files in benchmarks/results.

`PYTHONPATH=src python -m benchmarks.summary` prints it; it measures nothing.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

RESULTS = Path(__file__).parent / "results"
RSNA = "26684"


class Row(NamedTuple):
    """One question and its answer."""

    what: str
    measured: str
    script: str


def read(name: str) -> Any:
    """One file of results."""
    return json.loads((RESULTS / f"{name}.json").read_text("utf-8"))


def rows() -> Iterator[Row]:
    """All rows."""
    for batch in (32, 256):
        yield Row(f"training, ResNet-18 at 224, batches of {batch}, augmented", _training(batch), "training")
    yield Row("the step alone, time over ours (bf16, channels last)", _step(), "step")
    yield Row("preprocessing DICOM of 1024 x 1024 with JPEG inside", _preprocessing(), "preprocessing")
    yield Row("the same on one core, from bytes to square", _decoding(), "decoding")
    yield Row("memory of preprocessing", _memory(), "memory")
    yield Row("evaluation and gallery of 624 images", _evaluation(), "evaluation")
    yield Row("`dvc repro` with nothing to do", _nothing_to_do(), "overhead")
    yield Row("`dvc exp run --temp`, 26,684 images", _experiment(), "overhead")
    yield Row("growth of time, 10,000 to 100,000 images", _growth(), "growth")


def table() -> str:
    """The rows in Markdown."""
    head = "| what | measured | benchmarks. |\n| --- | --- | --- |\n"
    return head + "".join(f"| {row.what} | {row.measured} | {row.script} |\n" for row in rows())


def _training(batch: int) -> str:
    found = read(f"training-cpu-{batch}")
    rate = found["images_a_second"]["ours"]["median"]
    over = {name: ratio["median"] for name, ratio in found["ours_over"].items()}
    limit = over["limit: the step on a constant batch"]
    small, large = (over[f"published way, {files} JPEG, 0 workers"] for files in ("224 x 224", "1300 x 1000"))
    return (
        f"{rate:.0f} images a second: {limit:.2f} of the bare step; {small:.1f} x the published loop with "
        f"files of 224 x 224, {large:.1f} x with files of 1300 x 1000"
    )


def _step() -> str:
    (found,) = read("step")["results"].values()
    over = {name: ratio["median"] for name, ratio in found["time_over_ours"].items()}
    return (
        f"fp32 {over['fp32, NCHW']:.2f}, torch.compile {over['ours, torch.compile']:.2f}, fused update "
        f"{over['ours, fused optimiser']:.2f}, frozen backbone {over['ours, frozen backbone']:.2f}"
    )


def _preprocessing() -> str:
    found = read("preprocessing")
    rate = found["images_a_second"]["ours, all cores"]["median"]
    over = {name: ratio["median"] for name, ratio in found["ours_over"].items()}
    return (
        f"{rate:.0f} images a second: {over['published loop, one process']:.1f} x the published loop; the "
        f"bare decoder on both cores is {found['limit_over_published']['median']:.1f} x it"
    )


def _decoding() -> str:
    kinds = read("decoding")["results"]
    dicom, jpeg = kinds["DICOM 1024 x 1024, JPEG baseline"], kinds["JPEG 1300 x 1000"]
    with_all = "ours from the archive, with hashes"

    def of(kind: dict[str, Any]) -> str:
        rate, part = kind["images_a_second"]["ours"]["median"], kind["of_the_bare_decoder"]
        return (
            f"{rate:.0f} images a second, {part['ours']:.2f} of the bare decoder ({part[with_all]:.2f} with "
            "reading, checksum and hashes)"
        )

    return f"{of(dicom)}; JPEG of 1300 x 1000 {of(jpeg)}"


def _memory() -> str:
    peaks = read("memory")["peaks"]
    main = ", ".join(f"{peaks[count]['main_mib']:.0f} MiB for {int(count):,} images" for count in peaks)
    return f"{main}; a decoding process {max(peak['decoder_mib'] for peak in peaks.values()):.0f} MiB"


def _evaluation() -> str:
    found = read("evaluation")
    seconds = {name: taken["median"] for name, taken in found["seconds"].items()}
    pages = sum(seconds[name] for name in ("Grad-CAM", "sheets", "report"))
    return (
        f"inference at {found['inference']['of_the_bare_rate']['median']:.2f} of the bare rate; intervals "
        f"for 3,000 {seconds['intervals of 3,000 images']:.2f} s; Grad-CAM, sheets and report {pages:.1f} s"
    )


def _nothing_to_do() -> str:
    sizes = read("overhead")["images"]
    parts = []
    for count, of in sizes.items():
        idle = of["nothing_to_do"]
        ratio = {name: spread["median"] for name, spread in idle["ratios"].items()}
        parts.append(
            f"{int(count):,} images {idle['seconds']['ours']['median']:.2f} s, "
            f"{ratio['ours over three lines']:.2f} x an empty pipeline of one stage, "
            f"{ratio['ours over six stages that do nothing']:.2f} x one of six"
        )
    return "; ".join(parts)


def _experiment() -> str:
    found = read("overhead")["images"][RSNA]["temporary_experiment_seconds"]
    return f"{found['rest']:.1f} s more than its stages"


def _growth() -> str:
    slopes = read("growth")["between_the_two_largest"]
    return "n to the power of " + ", ".join(
        f"{of['exponent_of_time']:.2f} ({name})" for name, of in slopes.items()
    )


if __name__ == "__main__":
    print(table(), end="")
