"""What every source says of an image, before a single pixel is decoded."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

from pneumonia.classes import Label


class Box(NamedTuple):
    """A rectangle around an opacity, in pixels of the image as it is stored."""

    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Record:
    """One image of a source."""

    file: str
    """Path inside the raw archive: the identity of the image in every later table."""
    label: Label | None
    """None where there is a `fault`."""
    patient: str
    """Shared by all images of one patient, unique across the source. The same text as `file` where nobody
    can tell the patient; empty where the header of the file is to be asked."""
    official_split: Literal["train", "val", "test", ""] = ""
    """The published split, or empty where there is none."""
    group: str = ""
    """Sub-class for analysis: normal, bacterial, viral, ..."""
    boxes: tuple[Box, ...] = ()
    """Where the findings are, if the source says so."""
    fault: Literal["label_missing", "label_conflicting", ""] = ""
    """Why the image has no label; such images are set aside and counted."""
