"""The sources by the name they have in params.yaml."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from pneumonia.params import Source
from pneumonia.sources import folder, kermany, pneumoniamnist, rsna
from pneumonia.sources.archive import Archive
from pneumonia.sources.phantom import source as phantom
from pneumonia.sources.record import Record


class SourceModule(Protocol):
    """What the module of every source has."""

    def fetch(self, params: Source, archive: Path, root: Path) -> None:
        """Write the raw images as one zip archive, which appears when it is complete."""

    def read_records(self, archive: Archive) -> list[Record]:
        """Say of every image of that archive what is known before it is decoded."""


SOURCES: Mapping[str, SourceModule] = {
    "phantom": phantom,
    "kermany": kermany,
    "rsna": rsna,
    "pneumoniamnist": pneumoniamnist,
    "folder": folder,
}
