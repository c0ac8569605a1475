"""Decode the archive's images into one packed array of square grey images."""

from pneumonia import paths
from pneumonia.imaging.packing import pack
from pneumonia.params import Params
from pneumonia.sources.archive import Archive
from pneumonia.sources.pseudonyms import NO_PSEUDONYMS, Pseudonyms, read_or_make_key
from pneumonia.sources.registry import SOURCES
from stages.entry import repository_root, run


def preprocess(params: Params) -> None:
    """Write data/processed: images, index and what was rejected."""
    archive = Archive(paths.RAW_ARCHIVE)
    records = SOURCES[params.source.name].read_records(archive)
    wanted = params.preprocess.wants_pseudonyms(params.source.name)
    pseudonyms = Pseudonyms(read_or_make_key(repository_root())) if wanted else NO_PSEUDONYMS
    pack(
        archive,
        records,
        params.preprocess,
        paths.IMAGES,
        paths.INDEX,
        paths.REJECTED,
        pseudonyms=pseudonyms,
    )


if __name__ == "__main__":
    run(preprocess)
