"""Bytes of a file to a grey picture. The format is told by the content, never by the file's name."""

import numpy as np
from numpy.typing import NDArray

from pneumonia.imaging.dicom import decode_dicom
from pneumonia.imaging.facts import HeaderFacts
from pneumonia.imaging.grey import Rendering, near_constant
from pneumonia.imaging.header import looks_like_dicom
from pneumonia.imaging.raster import decode_raster, looks_like_raster
from pneumonia.imaging.rejection import Reason, Rejected

_DEFAULT = Rendering()


def decode(
    content: bytes,
    rendering: Rendering = _DEFAULT,
    *,
    frontal_only: bool = True,
    burned_in: bool = False,
) -> NDArray[np.uint8]:
    """Decode a DICOM, PNG or JPEG file to grey.

    Args:
        content: the whole file.
        rendering: the choices that the standard leaves to whoever shows a picture.
        frontal_only: whether films whose header says lateral are refused.
        burned_in: whether films are taken whose header says that they show name and date.

    Returns:
        Shape (H, W), dtype uint8, 0 black, 255 white.

    Raises:
        Rejected: the content cannot be used; the only exception that any content causes.
    """
    return decode_with_facts(content, rendering, frontal_only=frontal_only, burned_in=burned_in)[0]


def decode_with_facts(
    content: bytes,
    rendering: Rendering = _DEFAULT,
    *,
    frontal_only: bool = True,
    burned_in: bool = False,
) -> tuple[NDArray[np.uint8], HeaderFacts]:
    """Decode as `decode` does, and read age, sex and view from a DICOM header in the same pass.

    Returns:
        Grey as of `decode`; the facts, all of them unknown for PNG and JPEG.

    Raises:
        Rejected: as of `decode`.
    """
    facts = HeaderFacts()
    if looks_like_raster(content):
        grey = decode_raster(content, rendering)
    elif looks_like_dicom(content):
        grey, facts = decode_dicom(content, rendering, frontal_only, burned_in)
    else:
        raise Rejected(
            Reason.NOT_AN_IMAGE, "neither DICOM nor PNG nor JPEG" if content else "the file is empty"
        )
    if near_constant(grey):
        raise Rejected(Reason.BLANK, "all pixels are nearly the same grey")
    return grey, facts
