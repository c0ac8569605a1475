"""Preprocessing of DICOM files: images a second of our packing against the loop that is published everywhere.

`PYTHONPATH=src python -m benchmarks.preprocessing` writes benchmarks/results/preprocessing.json in three
minutes; with `--quick` it takes seconds and writes nothing.

The files are 1024 x 1024, 8-bit, JPEG baseline, as those of RSNA. The published loop reads a file of a folder
with pydicom's default decoder, scales it to 8 bits, squares it with OpenCV and writes a PNG, in one process.
Ours packs the same files out of an archive, with all that it checks and records, on all cores. The limit is
what the cores can do at all: the frames lie in memory, the bare decoder turns each into an array, in as many
processes as there are cores, and nothing else is done. All take turns within one run; each block of the first
two counts from the first file to the written end, the start of our processes among it.
"""

import argparse
import multiprocessing
import tempfile
import zipfile
from multiprocessing.pool import Pool
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import joblib
import numpy as np
import pydicom
from pydicom.uid import JPEGBaseline8Bit

from benchmarks.decoding import films, jpeg
from benchmarks.machine import machine, report
from benchmarks.turns import ratios, seconds, spread, take_turns
from pneumonia.classes import CLASSES
from pneumonia.imaging.packing import pack
from pneumonia.params import load_params
from pneumonia.sources.archive import Archive
from pneumonia.sources.record import Record
from tests.unit.imaging_files import dicom

RESULTS = Path(__file__).parent / "results" / "preprocessing.json"
PREPROCESS = load_params(Path(__file__).parents[1] / "params.yaml").preprocess
OURS, PUBLISHED = "ours, all cores", "published loop, one process"
LIMIT = "limit: the bare decoder, all cores"
DRAWN = 24
"""Different films; reading one costs the same the second time."""


def write_files(folder: Path, frames: list[bytes], count: int, side: int) -> list[str]:
    """Write so many DICOM files into the folder, and the same into images.zip there; return their names."""
    pictures = [
        dicom([frame], syntax=JPEGBaseline8Bit, shape=(side, side), ViewPosition="PA") for frame in frames
    ]
    names = [f"{number:06d}.dcm" for number in range(count)]
    with zipfile.ZipFile(folder / "images.zip", "w") as archive:
        for number, name in enumerate(names):
            content = pictures[number % len(pictures)]
            (folder / name).write_bytes(content)
            archive.writestr(name, content)
    return names


def published(folder: Path, names: list[str], target: Path) -> None:
    """Write a square PNG of each file."""
    for name in names:
        pixels = pydicom.dcmread(folder / name).pixel_array.astype(np.float32)
        grey = ((pixels - pixels.min()) / max(1.0, np.ptp(pixels)) * 255).astype(np.uint8)
        square = cv2.resize(grey, (PREPROCESS.size, PREPROCESS.size))
        cv2.imwrite(str(target / f"{name}.png"), square)


def ours(folder: Path, names: list[str], target: Path) -> None:
    """Pack them."""
    # By the film: one under both labels would be refused.
    labels = [CLASSES[number % DRAWN % 2] for number in range(len(names))]
    records = [Record(name, label, name) for name, label in zip(names, labels, strict=True)]
    outputs = (target / name for name in ("images.npy", "index.csv", "rejected.csv"))
    pack(Archive(folder / "images.zip"), records, PREPROCESS, *outputs)


def decode_bare(frame: bytes, times: int) -> None:
    """Decode the same frame so often."""
    for _ in range(times):
        imagecodecs.jpeg8_decode(frame)


def bare(pool: Pool, frames: list[bytes], times: int) -> None:
    """Decode each frame so often, in all processes."""
    pool.starmap(decode_bare, [(frame, times) for frame in frames], chunksize=1)


def measure(images: int, published_images: int, side: int, rounds: int) -> dict[str, Any]:
    """Measure all ways; the published one on the first so many files, as it takes its time."""
    frames = [jpeg(film, 90) for film in films(DRAWN, side, side, 3.0)]
    times = images // DRAWN
    with (
        tempfile.TemporaryDirectory() as place,
        multiprocessing.get_context("spawn").Pool(joblib.cpu_count()) as pool,
    ):
        folder, target = Path(place, "raw"), Path(place, "processed")
        folder.mkdir()
        target.mkdir()
        names = write_files(folder, frames, images, side)
        some = names[:published_images]
        published(folder, some[:2], target)  # what is done at first use only
        bare(pool, frames, 1)
        spent = take_turns(
            {
                PUBLISHED: lambda: seconds(lambda: published(folder, some, target)) / len(some),
                OURS: lambda: seconds(lambda: ours(folder, names, target)) / len(names),
                LIMIT: lambda: seconds(lambda: bare(pool, frames, times)) / (times * DRAWN),
            },
            rounds,
        )
    return {
        "what": "images a second from DICOM files to squares, and how many times the published rate ours is",
        "command": "PYTHONPATH=src python -m benchmarks.preprocessing",
        "files": f"DICOM {side} x {side}, 8-bit, JPEG baseline, to {PREPROCESS.size} x {PREPROCESS.size}",
        "images": {OURS: len(names), PUBLISHED: len(some)},
        "rounds": rounds,
        **machine("imagecodecs", "opencv-python-headless", "pydicom", "pillow", "numpy"),
        "images_a_second": {name: spread([1 / taken for taken in times], 1) for name, times in spent.items()},
        "ours_over": {name: ratios(spent[name], spent[OURS]) for name in (PUBLISHED, LIMIT)},
        "limit_over_published": ratios(spent[PUBLISHED], spent[LIMIT]),
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer images and rounds; nothing is written")
    quick = parser.parse_args().quick
    found = measure(96, 24, 1024, 2) if quick else measure(6144, 512, 1024, 5)
    report(found, None if quick else RESULTS)


if __name__ == "__main__":
    main()
