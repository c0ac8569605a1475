"""Valid image files of every kind, and seeded damage to them; `tests.fuzz` does it many times."""

import random
from collections.abc import Iterator

import imagecodecs
from PIL import Image
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLSLossless,
    RLELossless,
)

from pneumonia.imaging.decode import decode_with_facts
from pneumonia.imaging.rejection import Rejected
from tests.unit.imaging_files import (
    RAMP_8,
    RAMP_12,
    RGB,
    dicom,
    lookup_table,
    lossless_jpeg,
    raster,
    rle_frame,
)


def valid_files() -> dict[str, bytes]:
    """One small file of each kind, by name."""
    deep = {"BitsAllocated": 16, "BitsStored": 12, "WindowCenter": 2048, "WindowWidth": 4096}
    ybr = {"SamplesPerPixel": 3, "PlanarConfiguration": 0, "PhotometricInterpretation": "YBR_FULL_422"}
    exif = Image.Exif()
    exif[0x0112] = 6
    jpeg_12 = bytes(imagecodecs.jpeg8_encode(RAMP_12, level=100, bitspersample=12))
    jpeg_2000 = imagecodecs.jpeg2k_encode(RAMP_12, codecformat="J2K", bitspersample=12, reversible=True)
    return {
        "native": dicom(
            RAMP_12,
            RescaleSlope="2",
            RescaleIntercept="-5",
            PixelPaddingValue=7,
            PatientAge="062Y",
            ViewPosition="PA",
            BitsStored=12,
        ),
        "implicit": dicom(RAMP_12, syntax=ImplicitVRLittleEndian, BitsStored=12),
        "big endian": dicom(RAMP_12, syntax=ExplicitVRBigEndian, BitsStored=12),
        "deflated": dicom(RAMP_12, syntax=DeflatedExplicitVRLittleEndian, BitsStored=12),
        "no meta": dicom(RAMP_12, meta=False, preamble=False, BitsStored=12),
        "tables": dicom(
            RAMP_12,
            ModalityLUTSequence=lookup_table(0, range(4000), 12),
            VOILUTSequence=lookup_table(0, range(4000), 12),
        ),
        "colour": dicom(RGB),
        "rle": dicom([rle_frame(RAMP_12)], syntax=RLELossless, **deep),
        "jpeg in dicom": dicom([raster(RAMP_8, "JPEG")], syntax=JPEGBaseline8Bit),
        "colour jpeg in dicom": dicom([raster(RGB, "JPEG")], syntax=JPEGBaseline8Bit, **ybr),
        "jpeg 12": dicom([jpeg_12], syntax=JPEGExtended12Bit, **deep),
        "jpeg lossless": dicom([lossless_jpeg(RAMP_12, 12, 4)], syntax=JPEGLossless, **deep),
        "jpeg-ls": dicom([bytes(imagecodecs.jpegls_encode(RAMP_12))], syntax=JPEGLSLossless, **deep),
        "jpeg 2000": dicom([bytes(jpeg_2000)], syntax=JPEG2000Lossless, **deep),
        "jpeg 2000 lossy": dicom([bytes(imagecodecs.jpeg2k_encode(RAMP_8, level=30))], syntax=JPEG2000),
        "htj2k": dicom([bytes(imagecodecs.htj2k_encode(RAMP_12, reversible=True))], syntax=HTJ2K, **deep),
        "png": raster(RAMP_8, "PNG"),
        "png 16": raster(RAMP_12, "PNG"),
        "png palette": raster(Image.fromarray(RGB).quantize(32), "PNG"),
        "png alpha": raster(Image.fromarray(RGB).convert("RGBA"), "PNG"),
        "jpeg": raster(RAMP_8, "JPEG"),
        "jpeg progressive": raster(RGB, "JPEG", progressive=True),
        "jpeg turned": raster(RGB, "JPEG", exif=exif),
        "jpeg cmyk": raster(Image.fromarray(RGB).convert("CMYK"), "JPEG"),
        "jpeg lossless alone": lossless_jpeg(RAMP_12, 12, 1),
    }


def damaged(content: bytes, seed: str) -> bytes:
    """Flip, overwrite, delete, insert, repeat or cut bytes at random, more of them in the header."""
    dice = random.Random(seed)
    octets = bytearray(content)
    start = 128 if octets[128:132] == b"DICM" else 0
    for _ in range(dice.choice((1, 1, 1, 2, 4, 16))):
        if len(octets) <= start:
            break
        header = start + int(dice.expovariate(1 / 150))
        at = min(len(octets) - 1, header if dice.random() < 0.5 else dice.randrange(start, len(octets)))
        match dice.randrange(7):
            case 0:
                octets[at] ^= 1 << dice.randrange(8)
            case 1:
                octets[at] = dice.choice((0, 1, 127, 128, 255))
            case 2:
                number = dice.choice((0, 2**31 - 1, 2**31, 2**32 - 1))
                octets[at : at + 4] = number.to_bytes(4, "little")
            case 3:
                del octets[at : at + dice.randrange(1, 40)]
            case 4:
                octets[at:at] = dice.randbytes(dice.randrange(1, 20))
            case 5 if dice.random() < 0.3:
                del octets[at:]
            case 6:
                other = dice.randrange(len(octets))
                octets[at : at + 8] = octets[other : other + 8]
    return bytes(octets)


def outcomes(rounds: range) -> Iterator[tuple[str, str]]:
    """Decode each kind of file with the damage of each round; name of the kind, and what became of it."""
    for name, content in valid_files().items():
        for number in rounds:
            try:
                grey, _ = decode_with_facts(damaged(content, f"{name} {number}"))
            except Rejected as rejected:
                yield name, rejected.reason
            else:
                assert grey.ndim == 2
                assert grey.dtype == "uint8"
                yield name, "picture"
