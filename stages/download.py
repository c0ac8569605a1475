"""Fetch the radiographs as they are published, as one archive."""

from pneumonia import paths
from pneumonia.params import Params
from pneumonia.sources.registry import SOURCES
from stages.entry import repository_root, run


def download(params: Params) -> None:
    """Write data/raw/images.zip."""
    SOURCES[params.source.name].fetch(params.source, paths.RAW_ARCHIVE, repository_root())


if __name__ == "__main__":
    run(download)
