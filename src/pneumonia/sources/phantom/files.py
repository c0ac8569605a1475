"""Films as files, the ways that real archives hold them: DICOM of several kinds, PNG, JPEG."""

import io
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
)


@dataclass(frozen=True, slots=True)
class FileKind:
    """One way of storing a film."""

    format: Literal["dicom", "png", "jpeg"]
    bits: int
    """Of a stored pixel: 8, 10, 12 or 16."""
    share: float
    """Of all films."""
    photometric: Literal["MONOCHROME1", "MONOCHROME2"] = "MONOCHROME2"
    transfer_syntax: UID = ExplicitVRLittleEndian
    rescale: tuple[float, float] | None = None
    """Slope and intercept."""
    window: bool = False
    """Whether the stored values fill only a part of their range, and a window names that part."""

    @property
    def suffix(self) -> str:
        """Of the file's name."""
        return {"dicom": ".dcm", "png": ".png", "jpeg": ".jpg"}[self.format]


FILE_KINDS = (
    FileKind("dicom", 8, 0.14, "MONOCHROME2", JPEGBaseline8Bit),
    FileKind("dicom", 8, 0.04, "MONOCHROME1", JPEGBaseline8Bit),
    FileKind("dicom", 8, 0.06, "MONOCHROME2", ImplicitVRLittleEndian),
    FileKind("dicom", 10, 0.05, "MONOCHROME2", ExplicitVRLittleEndian),
    FileKind("dicom", 10, 0.05, "MONOCHROME1", ImplicitVRLittleEndian, window=True),
    FileKind("dicom", 12, 0.10, "MONOCHROME2", ExplicitVRLittleEndian, window=True),
    FileKind("dicom", 12, 0.06, "MONOCHROME1", ExplicitVRLittleEndian, window=True),
    FileKind("dicom", 12, 0.05, "MONOCHROME2", ImplicitVRLittleEndian, rescale=(1.0, 0.0)),
    FileKind("dicom", 12, 0.06, "MONOCHROME2", ExplicitVRLittleEndian, rescale=(0.5, -200.0), window=True),
    FileKind("dicom", 12, 0.03, "MONOCHROME1", ExplicitVRLittleEndian, rescale=(2.0, -1024.0)),
    FileKind("dicom", 16, 0.05, "MONOCHROME2", ExplicitVRLittleEndian, window=True),
    FileKind("dicom", 16, 0.03, "MONOCHROME2", ImplicitVRLittleEndian),
    FileKind("dicom", 16, 0.03, "MONOCHROME1", ExplicitVRLittleEndian, rescale=(0.25, 10.0), window=True),
    FileKind("png", 8, 0.10),
    FileKind("png", 16, 0.05),
    FileKind("jpeg", 8, 0.10),
)
"""Three quarters DICOM; together all of bit depths, photometric interpretations and transfer syntaxes."""


@dataclass(frozen=True, slots=True)
class Header:
    """What the DICOM header says of patient and film; every name is invented."""

    patient_id: str
    sex: Literal["F", "M"]
    age: int
    view: Literal["PA", "AP"]
    pixel_spacing: float
    """Millimetres."""


def encode(
    film: NDArray[np.float32],
    kind: FileKind,
    header: Header,
    patient_rng: np.random.Generator,
    film_rng: np.random.Generator,
) -> bytes:
    """Encode a film.

    Args:
        film: shape (H, W), 0 black (air) to 1 white (bone), as it is to be displayed.
        kind: the way of storing it.
        header: for DICOM.
        patient_rng: invents the patient's name and birthday.
        film_rng: invents identifiers, dates, and where in their range windowed values lie.

    Returns:
        The file's bytes. Shown through rescale, window and, last, the inversion of MONOCHROME1, it is `film`.
    """
    if kind.format == "png":
        top = (1 << kind.bits) - 1
        pixels = np.round(film * top).astype(np.uint8 if kind.bits == 8 else np.uint16)
        return _image(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if kind.format == "jpeg":
        return _jpeg(film, int(film_rng.integers(85, 96)))
    return _dicom(film, kind, header, patient_rng, film_rng)


def _image(suffix: str, pixels: NDArray[Any], options: list[int]) -> bytes:
    written, content = cv2.imencode(suffix, pixels, options)
    if not written:
        raise RuntimeError(f"OpenCV could not encode {suffix}")
    return content.tobytes()


def _jpeg(film: NDArray[np.float32], quality: int) -> bytes:
    return _image(".jpg", np.round(film * 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, quality])


_FAMILY = ("Adeyemi", "Bergstrom", "Castellanos", "Dvorak", "Eriksen", "Fontaine", "Grabowski", "Haddad")
_GIVEN = ("Alex", "Bela", "Chris", "Dana", "Eden", "Finn", "Gale", "Hollis", "Indra", "Jules", "Kim", "Lou")
_COMMENTS = ("cough and fever since three days", "follow-up", "pre-operative", "shortness of breath", "")
_MAKERS = (("Northlight", "CR-7"), ("Arden Imaging", "DX 400"), ("Hartmann", "FlatView"))
_PATIENT_EPOCH = date(1925, 1, 1)
_STUDY_EPOCH = date(2011, 1, 1)


def _dicom(
    film: NDArray[np.float32],
    kind: FileKind,
    header: Header,
    patient_rng: np.random.Generator,
    film_rng: np.random.Generator,
) -> bytes:
    digital = film_rng.random() < 0.5
    storage = DigitalXRayImageStorageForPresentation if digital else ComputedRadiographyImageStorage
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = storage
    meta.MediaStorageSOPInstanceUID = _uid(film_rng)
    meta.TransferSyntaxUID = kind.transfer_syntax
    # pydicom's own would change with its version, and the bytes with it.
    meta.ImplementationClassUID = UID("2.25.181213541923218342103172093841230945321")
    meta.ImplementationVersionName = "PHANTOM"
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = storage
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    _describe_patient(dataset, header, patient_rng)
    _describe_film(dataset, header, digital, film_rng)
    _add_pixels(dataset, film, kind, film_rng)
    content = io.BytesIO()
    dataset.save_as(content, enforce_file_format=True)
    return content.getvalue()


def _uid(rng: np.random.Generator) -> UID:
    """A UID under 2.25, whose rest is a 128-bit number (DICOM PS3.5 B.2)."""
    return UID(f"2.25.{int.from_bytes(rng.bytes(16), 'big')}")


def _describe_patient(dataset: Dataset, header: Header, rng: np.random.Generator) -> None:
    dataset.PatientName = f"{rng.choice(_FAMILY)}^{rng.choice(_GIVEN)}"
    dataset.PatientID = header.patient_id
    dataset.PatientBirthDate = _day(_PATIENT_EPOCH, 30_000, rng)
    dataset.PatientSex = header.sex
    dataset.PatientAge = f"{header.age:03d}Y"


def _describe_film(dataset: Dataset, header: Header, digital: bool, rng: np.random.Generator) -> None:
    maker, model = _MAKERS[rng.integers(len(_MAKERS))]
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = _uid(rng), _uid(rng)
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = _day(_STUDY_EPOCH, 4000, rng)
    dataset.StudyTime = f"{rng.integers(24):02d}{rng.integers(60):02d}{rng.integers(60):02d}"
    dataset.AccessionNumber = f"A{rng.integers(10**7):07d}"
    dataset.StudyID = f"{rng.integers(10**5)}"
    dataset.SeriesNumber = dataset.InstanceNumber = 1
    dataset.InstitutionName = "Invented General Hospital"
    dataset.ReferringPhysicianName = f"{rng.choice(_FAMILY)}^{rng.choice(_GIVEN)}"
    dataset.Manufacturer, dataset.ManufacturerModelName = maker, model
    dataset.Modality = "DX" if digital else "CR"
    dataset.BodyPartExamined = "CHEST"
    dataset.ViewPosition = header.view
    dataset.PatientOrientation = ["L", "F"]
    dataset.StudyDescription = "Chest, one view"
    dataset.ImageComments = str(rng.choice(_COMMENTS))
    spacing = f"{header.pixel_spacing:.4f}"
    dataset.ImagerPixelSpacing = [spacing, spacing]


def _day(epoch: date, days: int, rng: np.random.Generator) -> str:
    return (epoch + timedelta(days=int(rng.integers(days)))).strftime("%Y%m%d")


def _add_pixels(
    dataset: Dataset, film: NDArray[np.float32], kind: FileKind, rng: np.random.Generator
) -> None:
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = kind.photometric
    dataset.Rows, dataset.Columns = film.shape
    dataset.BitsAllocated = 8 if kind.bits == 8 else 16
    dataset.BitsStored, dataset.HighBit = kind.bits, kind.bits - 1
    dataset.PixelRepresentation = 0
    dataset.BurnedInAnnotation = "NO"
    if dataset.Modality == "DX":
        dataset.PresentationLUTShape = "INVERSE" if kind.photometric == "MONOCHROME1" else "IDENTITY"
    top = (1 << kind.bits) - 1
    low, high = 0, top
    if kind.window:
        low, high = int(top * rng.uniform(0.03, 0.2)), int(top * rng.uniform(0.6, 0.95))
    shown = 1 - film if kind.photometric == "MONOCHROME1" else film
    slope, intercept = kind.rescale or (1.0, 0.0)
    if kind.rescale:
        dataset.RescaleSlope, dataset.RescaleIntercept = slope, intercept
        dataset.RescaleType = "US"
    if kind.window:
        # The linear window of PS3.3 C.11.2.1.2.1 shows center - 0.5 +- (width - 1) / 2.
        dataset.WindowWidth = slope * (high - low) + 1
        dataset.WindowCenter = slope * (high + low) / 2 + intercept + 0.5
    if kind.transfer_syntax == JPEGBaseline8Bit:
        dataset.PixelData = encapsulate([_jpeg(shown, int(rng.integers(85, 96)))])
        dataset.LossyImageCompression = "01"
        dataset.LossyImageCompressionMethod = "ISO_10918_1"
        return
    stored = np.round(low + shown * (high - low)).astype("u1" if kind.bits == 8 else "<u2")
    content = stored.tobytes()
    # Values have even lengths, and 8-bit pixels may be an odd number.
    dataset.PixelData = content + b"\0" * (len(content) % 2)
    dataset["PixelData"].VR = "OB" if kind.bits == 8 and not kind.transfer_syntax.is_implicit_VR else "OW"
