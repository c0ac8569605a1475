"""Why an image cannot be used: a closed list, so that losses can be counted and compared between runs."""

from enum import StrEnum


class Reason(StrEnum):
    """Every reason for which an image is set aside."""

    UNREADABLE = "unreadable"
    """The file is of a known format but its contents contradict themselves or the format."""
    TRUNCATED = "truncated"
    """The file ends before its last pixel."""
    NOT_AN_IMAGE = "not_an_image"
    """The contents are neither DICOM nor PNG nor JPEG."""
    NO_PIXEL_DATA = "no_pixel_data"
    """A DICOM object without pixels, such as a report or a directory."""
    UNSUPPORTED_COMPRESSION = "unsupported_compression"
    """No installed decoder reads this transfer syntax; the detail names a package that would help."""
    WRONG_MODALITY = "wrong_modality"
    """The header names a modality that makes no projection radiographs."""
    WRONG_BODY_PART = "wrong_body_part"
    """The header names a part of the body that is not in a chest radiograph."""
    LATERAL_VIEW = "lateral_view"
    """The header says that the film was taken from the side."""
    BURNED_IN = "burned_in"
    """The header says that the pixels show who the patient is."""
    BLANK = "blank"
    """All pixels are nearly the same grey."""
    TOO_SMALL = "too_small"
    """A side has fewer pixels than show anything."""
    TOO_LARGE = "too_large"
    """More pixels than any radiograph has; refused before memory is given to them."""
    TIMEOUT = "timeout"
    """Decoding took longer than any valid file does."""
    LABEL_MISSING = "label_missing"
    """The label table says nothing of this image."""
    LABEL_CONFLICTING = "label_conflicting"
    """The label table says two things of this image."""
    DUPLICATE = "duplicate"
    """The same image is already there under another name."""


class Rejected(Exception):  # noqa: N818  it is an outcome, not an error of the program
    """An image that cannot be used.

    Attributes:
        reason: one of the closed list.
        detail: a short explanation. It holds numbers, names of formats and codes of closed vocabularies,
            never text from a header: that could name a patient.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        """Set aside for `reason`, explained by `detail`."""
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"
