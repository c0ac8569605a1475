"""Images a second on one core: our decoding and squaring against the bare decoder.

`PYTHONPATH=src python -m benchmarks.decoding` writes benchmarks/results/decoding.json; with `--quick` it
takes seconds and writes nothing.

The ways are alternated, image by image, within one run, so that whatever else the machine does meets all of
them alike. Time is the process's own processor time: on a busy machine it counts what one core worked.
"""

import argparse
import statistics
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom.uid import JPEGBaseline8Bit

from benchmarks.machine import machine, report
from pneumonia.imaging.decode import decode, decode_with_facts
from pneumonia.imaging.packing import _decode_one
from pneumonia.imaging.square import to_square
from pneumonia.params import load_params
from pneumonia.sources.archive import Archive
from pneumonia.sources.phantom.cohort import deal_cohort
from pneumonia.sources.phantom.source import draw_file
from pneumonia.sources.record import Record
from tests.unit.imaging_files import dicom

RESULTS = Path(__file__).parent / "results" / "decoding.json"
PREPROCESS = load_params(Path(__file__).parents[1] / "params.yaml").preprocess
SIZE = PREPROCESS.size

Ways = dict[str, Callable[[], Any]]


def films(count: int, height: int, width: int, noise: float) -> list[NDArray[np.uint8]]:
    """Synthetic films of that size, with the noise of a detector, which is what makes real files large."""
    drawn = (decode(draw_file(film, 0), frontal_only=False) for film in deal_cohort(count, 0))
    dice = np.random.default_rng(0)
    return [
        np.clip(
            cv2.resize(film, (width, height), interpolation=cv2.INTER_CUBIC)
            + dice.normal(0, noise, (height, width)),
            0,
            255,
        ).astype(np.uint8)
        for film in drawn
    ]


def jpeg(picture: NDArray[np.uint8], quality: int) -> bytes:
    """Encode as baseline JPEG."""
    return bytes(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1])


def ways(frame: bytes, file: bytes, archive: Archive, name: str) -> Ways:
    """What is compared, for one image.

    Args:
        frame: the JPEG alone.
        file: the file around it, which for JPEG is the same.
        archive: where the file is too.
        name: under this name.
    """
    record = Record(name, "normal", name)

    def ours() -> NDArray[np.uint8]:
        return to_square(decode_with_facts(file)[0], SIZE, PREPROCESS.fit)

    return {
        "imagecodecs": lambda: imagecodecs.jpeg8_decode(frame, outcolorspace="GRAYSCALE"),
        "opencv": lambda: cv2.imdecode(np.frombuffer(frame, np.uint8), cv2.IMREAD_GRAYSCALE),
        "ours, decoding alone": lambda: decode(file),
        "ours": ours,
        "ours from the archive, with hashes": lambda: _decode_one(archive.member(name), record, PREPROCESS),
    }


def rates(images: list[Ways], rounds: int) -> dict[str, dict[str, float]]:
    """Images a second of each way, of every round: median, smallest and largest."""
    seconds: dict[str, list[float]] = {name: [] for name in images[0]}
    for image in images:  # what is done at first use only
        for way in image.values():
            way()
    for number in range(rounds):
        spent = dict.fromkeys(seconds, 0.0)
        for image in images:
            # Another one first each time: it finds the caches cold.
            names = list(image)[number % len(image) :] + list(image)[: number % len(image)]
            for name in names:
                start = time.process_time_ns()
                image[name]()
                spent[name] += (time.process_time_ns() - start) / 1e9
        for name, total in spent.items():
            seconds[name].append(total)
    found = {name: sorted(len(images) / total for total in totals) for name, totals in seconds.items()}
    return {
        name: {
            "median": round(statistics.median(values), 1),
            "smallest": round(values[0], 1),
            "largest": round(values[-1], 1),
        }
        for name, values in found.items()
    }


def measure(images: int, rounds: int) -> dict[str, Any]:
    """Measure both kinds of files."""
    cv2.setNumThreads(1)
    native = [jpeg(film, 95) for film in films(images, 1000, 1300, 9.0)]
    frames = [jpeg(film, 90) for film in films(images, 1024, 1024, 3.0)]
    kinds = {
        "JPEG 1300 x 1000": [(frame, frame) for frame in native],
        "DICOM 1024 x 1024, JPEG baseline": [
            (frame, dicom([frame], syntax=JPEGBaseline8Bit, shape=(1024, 1024), ViewPosition="PA"))
            for frame in frames
        ],
    }
    results: dict[str, Any] = {}
    for kind, pairs in kinds.items():
        with tempfile.TemporaryDirectory() as place:
            path = Path(place, "images.zip")
            with zipfile.ZipFile(path, "w") as zip_file:
                for number, (_, file) in enumerate(pairs):
                    zip_file.writestr(str(number), file)
            archive = Archive(path)
            found = rates([ways(*pair, archive, str(n)) for n, pair in enumerate(pairs)], rounds)
        bare = found["imagecodecs"]["median"]
        results[kind] = {
            "images_a_second": found,
            "kilobytes": round(statistics.mean(len(file) for _, file in pairs) / 1000),
            "of_the_bare_decoder": {
                name: round(found[name]["median"] / bare, 3) for name in found if name != "imagecodecs"
            },
        }
    return {
        "what": "images a second of processor time on one core, all rounds: median, smallest, largest",
        "images": images,
        "rounds": rounds,
        **machine("imagecodecs", "opencv-python-headless", "pydicom", "numpy"),
        "results": results,
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer images and rounds; nothing is written")
    quick = parser.parse_args().quick
    report(measure(*((4, 5) if quick else (24, 31))), None if quick else RESULTS)


if __name__ == "__main__":
    main()
