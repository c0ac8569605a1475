"""A DICOM file to 8-bit grey and the few facts that its header may tell."""

import numpy as np
from numpy.typing import NDArray
from pydicom.pixels.processing import apply_color_lut

from pneumonia.imaging.acceptance import check_acceptance
from pneumonia.imaging.facts import HeaderFacts, read_facts
from pneumonia.imaging.frame import Frame, read_frame
from pneumonia.imaging.grey import Rendering, luminance, to_grey
from pneumonia.imaging.header import read_header
from pneumonia.imaging.plain_header import AnyDataset, by_pydicom
from pneumonia.imaging.rejection import Reason
from pneumonia.imaging.third_party import parsing
from pneumonia.imaging.transformations import read_transformations


def decode_dicom(
    content: bytes, rendering: Rendering, frontal_only: bool, burned_in: bool
) -> tuple[NDArray[np.uint8], HeaderFacts]:
    """Decode a DICOM file.

    Args:
        content: the file.
        rendering: the choices that the standard leaves open.
        frontal_only: whether lateral views are refused.
        burned_in: whether films are taken that say of themselves that they show who it is.

    Returns:
        Grey of shape (H, W), dtype uint8, 0 black, 255 white; and the facts.

    Raises:
        Rejected: it cannot be used.
    """
    header = read_header(content)
    dataset = header.dataset
    facts = read_facts(dataset)
    check_acceptance(dataset, facts, frontal_only, burned_in)
    frame = read_frame(header)
    if frame.photometric in ("MONOCHROME1", "MONOCHROME2"):
        transformations = read_transformations(dataset, frame, rendering.window_index)
        return to_grey(frame.stored, transformations, rendering), facts
    return _colour_to_grey(dataset, frame), facts


def _colour_to_grey(dataset: AnyDataset, frame: Frame) -> NDArray[np.uint8]:
    """Secondary captures in colour: luminance, without window, as colour is always ready to be shown."""
    samples, bits = frame.stored.codes, frame.stored.bits
    if frame.photometric == "PALETTE COLOR":
        with parsing(Reason.UNREADABLE, "damaged palette"):
            samples = apply_color_lut(samples, by_pydicom(dataset))
        bits = 8 * samples.dtype.itemsize
    # The Y of YBR_FULL is the luminance of its RGB (PS3.3 C.7.6.3.1.2).
    if frame.photometric.startswith("YBR"):
        return (samples[..., 0] >> max(0, bits - 8)).astype(np.uint8)
    return luminance(samples, bits)
