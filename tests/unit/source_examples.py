"""Small made-up archives and the parameters that name them."""

import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pneumonia.params import Source, load_params
from pneumonia.sources.archive import Archive

PARAMS = load_params(Path(__file__).parents[2] / "params.yaml")


def source_params(name: str, **changes: Any) -> Source:
    """The section of params.yaml with some keys changed."""
    return Source.model_validate(PARAMS.source.model_dump() | {"name": name} | changes)


def make_zip(path: Path, contents: dict[str, bytes]) -> Archive:
    with zipfile.ZipFile(path, "w") as zip_file:
        for name, content in contents.items():
            zip_file.writestr(name, content)
    return Archive(path)


def make_folder(path: Path, contents: dict[str, bytes]) -> Path:
    for name, content in contents.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def png(seed: int, side: int = 48) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side), dtype=np.uint8)
    return bytes(cv2.imencode(".png", pixels)[1])
