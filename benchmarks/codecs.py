"""Which decoder for which compression: speed, pixels, and deaths of the process by damaged frames.

`PYTHONPATH=src python -m benchmarks.codecs` compares what `pneumonia.imaging.codestream` takes with OpenCV,
Pillow, the other decoders of imagecodecs, and all of pydicom's plug-ins that are installed; it writes
benchmarks/results/codecs.json (some 20 minutes). More plug-ins to compare with:
`pip install python-gdcm pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg pyjpegls`.

The decoders are alternated within one run; time is the process's own processor time.
"""

import importlib.metadata
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
)

from benchmarks.decoding import films, jpeg
from benchmarks.machine import machine, report
from pneumonia.imaging.codestream import decode_codestream
from tests.unit.imaging_files import dicom
from tests.unit.imaging_mutations import damaged

RESULTS = Path(__file__).parent / "results" / "codecs.json"
SIDE = 1024
ROUNDS = 15
DAMAGED = 1500
HANGS = 5
"""Seconds."""

Decoder = Callable[[bytes], NDArray[Any]]

SYNTAXES: dict[str, UID] = {
    "JPEG, 8 bits": JPEGBaseline8Bit,
    "JPEG, 12 bits": JPEGExtended12Bit,
    "JPEG lossless": JPEGLosslessSV1,
    "JPEG-LS": JPEGLSLossless,
    "JPEG 2000 lossless": JPEG2000Lossless,
    "JPEG 2000 lossy": JPEG2000,
    "HTJ2K": HTJ2K,
}


def encode(coding: str, side: int) -> bytes:
    """A synthetic film with a detector's noise, compressed; 12 bits where the name does not say 8."""
    film = films(1, side, side, 3.0)[0]
    dice = np.random.default_rng(0)
    deep = (film.astype(np.uint16) << 4) + dice.integers(0, 16, film.shape, np.uint16)
    j2k: dict[str, Any] = {"codecformat": "J2K", "bitspersample": 12, "mct": False}
    encoders: dict[str, Callable[[], Any]] = {
        "JPEG, 8 bits": lambda: jpeg(film, 90),
        "JPEG, 12 bits": lambda: imagecodecs.jpeg8_encode(deep, level=90, bitspersample=12),
        "JPEG lossless": lambda: imagecodecs.jpeg8_encode(deep, lossless=True, predictor=1, bitspersample=12),
        "JPEG-LS": lambda: imagecodecs.jpegls_encode(deep),
        "JPEG 2000 lossless": lambda: imagecodecs.jpeg2k_encode(deep, reversible=True, **j2k),
        "JPEG 2000 lossy": lambda: imagecodecs.jpeg2k_encode(deep, level=60, **j2k),
        "HTJ2K": lambda: imagecodecs.htj2k_encode(deep, reversible=True),
    }
    return bytes(encoders[coding]())


def decoders(coding: str, side: int) -> dict[str, Decoder]:
    """All that can be tried on a frame of that compression; the first is the one that the project takes."""
    others: dict[str, dict[str, Decoder]] = {
        "JPEG, 8 bits": {"opencv": by_opencv, "pillow": by_pillow},
        "JPEG lossless": {"imagecodecs.ljpeg": imagecodecs.ljpeg_decode},
        "JPEG 2000 lossless": {"opencv": by_opencv},
        "JPEG 2000 lossy": {"opencv": by_opencv},
        "HTJ2K": {"imagecodecs.htj2k (OpenJPH)": imagecodecs.htj2k_decode},
    }
    plugins = get_decoder(SYNTAXES[coding]).available_plugins
    return (
        {"ours": lambda frame: decode_codestream(frame)[0]}
        | others.get(coding, {})
        | {f"pydicom, {plugin}": by_pydicom(coding, side, plugin) for plugin in plugins}
    )


def by_opencv(frame: bytes) -> NDArray[Any]:
    """Decode with OpenCV."""
    decoded = cv2.imdecode(np.frombuffer(frame, np.uint8), cv2.IMREAD_UNCHANGED)
    assert decoded is not None
    return decoded


def by_pillow(frame: bytes) -> NDArray[Any]:
    """Decode with Pillow."""
    with Image.open(BytesIO(frame)) as image:
        return np.asarray(image)


def by_pydicom(coding: str, side: int, plugin: str) -> Decoder:
    """Decode with a plug-in of pydicom, which takes a data set around the frame."""
    syntax = SYNTAXES[coding]
    bits = 8 if "8 bits" in coding else 12
    header: dict[str, Any] = {"BitsAllocated": 8 if bits == 8 else 16, "BitsStored": bits}
    empty = dcmread(BytesIO(dicom([b"\0\0"], syntax=syntax, shape=(side, side), **header)))
    decoder = get_decoder(syntax)

    def decode(frame: bytes) -> NDArray[Any]:
        empty.PixelData = encapsulate([frame])
        return decoder.as_array(empty, decoding_plugin=plugin, raw=True)[0]

    return decode


def speeds(coding: str, side: int = SIDE, rounds: int = ROUNDS) -> dict[str, dict[str, Any]]:
    """Pictures a second of each decoder that does not refuse, and how far its pixels are from ours."""
    frame, found = encode(coding, side), decoders(coding, side)
    ours = found["ours"](frame).astype(int)
    difference = {}
    for name, decode in list(found.items()):
        try:
            pixels = decode(frame)
        except Exception:  # noqa: BLE001  how a decoder refuses is its own affair
            del found[name]
        else:
            difference[name] = int(np.abs(pixels - ours).max())
    seconds: dict[str, list[float]] = {name: [] for name in found}
    for _ in range(rounds):
        for name, decode in found.items():
            start = time.process_time_ns()
            decode(frame)
            seconds[name].append((time.process_time_ns() - start) / 1e9)
    return {
        name: {
            "a_second": round(1 / statistics.median(seconds[name]), 1),
            "largest_difference": difference[name],
        }
        for name in found
    }


def deaths(coding: str, name: str) -> int:
    """How often the process dies while the decoder reads so many damaged small frames."""
    died = done = 0
    while done < DAMAGED:
        command = [sys.executable, "-m", "benchmarks.codecs", coding, name, str(done)]
        process = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)  # noqa: S603  ourselves
        done += process.stdout.count(b"\n")
        if process.returncode:
            died += 1
            done += 1
    return died


def read_damaged(coding: str, name: str, start: int) -> None:
    """Decode the damaged frames from that number on; a line for each that did not kill the process."""
    frame, decode = encode(coding, 96), decoders(coding, 96)[name]
    for number in range(start, DAMAGED):
        signal.alarm(HANGS)  # which ends the process, and counts as a death
        try:
            decode(damaged(frame, f"{coding} {number}"))
        except Exception:  # noqa: BLE001  how a decoder refuses is its own affair
            sys.stdout.write("refused\n")
        else:
            sys.stdout.write("decoded\n")
        sys.stdout.flush()


def installed() -> list[str]:
    """The packages of the plug-ins that are there."""
    packages = ("python-gdcm", "pylibjpeg-libjpeg", "pylibjpeg-openjpeg", "pyjpegls")
    return [name for name in packages if list(importlib.metadata.distributions(name=name))]


def main() -> None:
    """Measure, print and write; with a compression, a decoder and a number, read damaged frames."""
    if len(sys.argv) == 4:
        read_damaged(sys.argv[1], sys.argv[2], int(sys.argv[3]))
        return
    cv2.setNumThreads(1)
    results = {coding: speeds(coding) for coding in SYNTAXES}
    for coding, found in results.items():
        for name, figures in found.items():
            figures["deaths"] = deaths(coding, name)
            sys.stdout.write(f"{coding:<20}{name:<30}{figures}\n")
    found_of_all = {
        "what": f"{SIDE} x {SIDE}, pictures a second of processor time on one core, median of {ROUNDS}; "
        f"deaths of the process in {DAMAGED} damaged frames",
        **machine("imagecodecs", "opencv-python-headless", "pillow", "pydicom", *installed()),
        "results": results,
    }
    report(found_of_all, RESULTS)


if __name__ == "__main__":
    main()
