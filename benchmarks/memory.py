"""Peak memory of preprocessing, which is not to grow with the number of images.

`PYTHONPATH=src python -m benchmarks.memory` packs 2,000 and 20,000 small images into squares of the default
size, each in a process of its own, and writes benchmarks/results/memory.json (about a minute; Linux, macOS).
"""

import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np

from benchmarks.machine import machine, report
from benchmarks.peak import peak_mib
from pneumonia.imaging import isolation, packing
from pneumonia.params import load_params
from pneumonia.sources.archive import Archive
from pneumonia.sources.record import Record

RESULTS = Path(__file__).parent / "results" / "memory.json"
COUNTS = (2_000, 20_000)
WORKERS = 2


def name(number: int) -> str:
    """A file's name, about as long as they are."""
    return f"stage_2_train_images/{number:08x}-0123-4567-89ab-cdef01234567.png"


def write_archive(path: Path, count: int) -> None:
    """Write so many small images, 64 x 64, each different."""
    dice = np.random.default_rng(0)
    with zipfile.ZipFile(path, "w") as zip_file:
        for number in range(count):
            picture = dice.integers(0, 256, (64, 64), dtype=np.uint8)
            zip_file.writestr(name(number), cv2.imencode(".png", picture)[1].tobytes())


def peaks(archive: Path) -> dict[str, float]:
    """Pack them; return the peak memory of this process, and of the largest decoding process, in MiB."""
    names = Archive(archive).names()
    records = [Record(n, "pneumonia" if i % 2 else "normal", f"patient {i}") for i, n in enumerate(names)]
    preprocess = load_params(Path(__file__).parents[1] / "params.yaml").preprocess
    outputs = (archive.with_name(output) for output in ("images.npy", "index.csv", "rejected.csv"))
    decoders: list[float] = []

    def close_idle() -> None:
        while isolation._idle:
            decoder = isolation._idle.pop()
            decoders.append(decoder.call(peak_mib))
            decoder.close()

    with patch.object(packing, "close_idle", close_idle):
        packing.pack(Archive(archive), records, preprocess, *outputs, workers=WORKERS)
    return {"main_mib": round(peak_mib(), 1), "decoder_mib": round(max(decoders), 1)}


def measure(counts: tuple[int, ...]) -> dict[str, Any]:
    """Measure each count in a process of its own."""
    found = {}
    for count in counts:
        with tempfile.TemporaryDirectory() as place:
            archive = Path(place, "images.zip")
            write_archive(archive, count)
            command = [sys.executable, "-m", "benchmarks.memory", str(archive)]
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True)  # noqa: S603  ourselves
        found[str(count)] = json.loads(done.stdout)
    first, last = (found[str(count)] for count in (counts[0], counts[-1]))
    return {
        "what": "peak resident memory in MiB, by number of images",
        **machine("imagecodecs", "opencv-python-headless", "pydicom", "numpy"),
        "workers": WORKERS,
        "peaks": found,
        "growth": {key: round(last[key] / first[key] - 1, 3) for key in first},
    }


def main() -> None:
    """Measure, print and write; with a path, pack that archive."""
    if len(sys.argv) == 2:
        print(json.dumps(peaks(Path(sys.argv[1]))))
        return
    report(measure(COUNTS), RESULTS)


if __name__ == "__main__":
    main()
