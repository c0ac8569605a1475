"""Decode the archive's images into one packed array of square grey images."""

from pneumonia import paths
from pneumonia.imaging.packing import pack
from pneumonia.params import Params
from pneumonia.sources.archive import Archive
from pneumonia.sources.registry import SOURCES
from stages.entry import run


def preprocess(params: Params) -> None:
    """Write data/processed: images, index and what was rejected."""
    archive = Archive(paths.RAW_ARCHIVE)
    records = SOURCES[params.source.name].read_records(archive)
    pack(archive, records, params.preprocess, paths.IMAGES, paths.INDEX, paths.REJECTED)


if __name__ == "__main__":
    run(preprocess)
