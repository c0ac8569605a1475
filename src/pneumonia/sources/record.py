"""What every source says of an image, before a single pixel is decoded."""

from dataclasses import dataclass
from typing import Literal

from pneumonia.classes import Label


@dataclass(frozen=True, slots=True)
class Record:
    """One labelled image of a source."""

    file: str
    """Path inside the raw archive: the identity of the image in every later table."""
    label: Label
    patient: str
    """Shared by all images of one patient, unique across the source."""
    official_split: Literal["train", "val", "test", ""] = ""
    """The published split, or empty where there is none."""
    group: str = ""
    """Sub-class for analysis: normal, bacterial, viral, ..."""
