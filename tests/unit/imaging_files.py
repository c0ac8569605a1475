"""Small image files for the tests of imaging, made here so that their pixels are known."""

import io
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import dcmwrite, write_dataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.tag import Tag
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32

HEIGHT, WIDTH = 40, 48
Y, X = np.mgrid[:HEIGHT, :WIDTH]
RAMP_8 = (2 * X + 3 * Y).astype(np.uint8)
"""0 to 211."""
RAMP_12 = (40 * X + 50 * Y).astype(np.uint16)
"""0 to 3830."""
RGB = np.stack([RAMP_8, 255 - RAMP_8, (4 * X).astype(np.uint8)], axis=-1)


def dicom(
    samples: NDArray[Any] | Sequence[bytes],
    *,
    syntax: str = ExplicitVRLittleEndian,
    shape: tuple[int, int] = (HEIGHT, WIDTH),
    preamble: bool = True,
    meta: bool = True,
    **elements: Any,
) -> bytes:
    """A DICOM file.

    Args:
        samples: stored values in the byte order of the machine, or a list of compressed frames.
        syntax: transfer syntax.
        shape: of compressed frames.
        preamble: whether the 128 bytes and DICM come first.
        meta: whether group 0002 is there.
        elements: more elements by keyword, or other values for those below.
    """
    syntax = UID(syntax)
    dataset = Dataset()
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    dataset.SOPInstanceUID = "1.2.3"
    dataset.Modality = "CR"
    native = isinstance(samples, np.ndarray)
    if native:
        shape = samples.shape[-3:-1] if samples.shape[-1] == 3 else samples.shape[-2:]
    dataset.Rows, dataset.Columns = shape
    colour = native and samples.shape[-1] == 3
    allocated = 8 * samples.dtype.itemsize if native else 8
    dataset.SamplesPerPixel = 3 if colour else 1
    dataset.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = dataset.BitsStored = allocated
    dataset.PixelRepresentation = int(native and samples.dtype.kind == "i")
    for keyword, element in elements.items():
        if element is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, element)
    if "HighBit" not in elements:
        dataset.HighBit = dataset.BitsStored - 1

    if native:
        ordered = samples.astype(samples.dtype.newbyteorder(">" if syntax == ExplicitVRBigEndian else "<"))
        content = ordered.tobytes()
        dataset.PixelData = content + b"\0" * (len(content) % 2)
        dataset["PixelData"].VR = "OW" if dataset.BitsAllocated == 16 else "OB"
    else:
        dataset.PixelData = encapsulate(list(samples))
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True

    file_meta = FileMetaDataset()
    file_meta.TransferSyntaxUID = syntax
    file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    if meta:
        dataset.file_meta = file_meta
        buffer = io.BytesIO()
        dcmwrite(buffer, dataset, enforce_file_format=True)
        written = buffer.getvalue()
        return written if preamble else written[132:]
    body = DicomBytesIO()
    body.is_implicit_VR = syntax == ImplicitVRLittleEndian
    body.is_little_endian = syntax != ExplicitVRBigEndian
    write_dataset(body, dataset)
    return (b"\0" * 128 + b"DICM" if preamble else b"") + body.getvalue()


def lookup_table(first: int, entries: Sequence[int], bits: int, vr: str = "US") -> DicomSequence:
    """A modality or VOI LUT sequence of one item; vr is of the data, US or OW."""
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(entries) % 65536, first, bits])
    data = np.asarray(entries, "<u2").tobytes() if vr == "OW" else list(entries)
    item.add_new("LUTData", vr, data)
    return DicomSequence([item])


def no_sequence(vr: str, value: bytes, keyword: str, samples: NDArray[Any], **elements: Any) -> bytes:
    """A DICOM file with an element of this VR and value where its keyword wants a sequence."""
    content = dicom(samples, **{keyword: DicomSequence([])}, **elements)
    tag = struct.pack("<HH", Tag(keyword).group, Tag(keyword).elem)
    length = struct.pack("<2xI" if vr in EXPLICIT_VR_LENGTH_32 else "<H", len(value))
    empty = tag + b"SQ" + bytes(6)
    assert content.count(empty) == 1
    return content.replace(empty, tag + vr.encode() + length + value)


def raster(picture: NDArray[Any] | Image.Image, kind: str, **options: Any) -> bytes:
    """A PNG or JPEG file."""
    buffer = io.BytesIO()
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def lossless_jpeg(samples: NDArray[np.uint16], precision: int, predictor: int) -> bytes:
    """A lossless JPEG (ITU-T T.81 annex H), one component, each difference category with a 5-bit code.

    Args:
        samples: shape (H, W), below 2^precision.
        precision: bits of a sample, 2 to 16.
        predictor: selection value, 1 to 7; 1 is DICOM's process 14 SV1.
    """
    height, width = samples.shape
    bits: list[str] = []
    for y in range(height):
        for x in range(width):
            difference = (int(samples[y, x]) - _prediction(samples, y, x, precision, predictor)) % 65536
            difference -= 65536 if difference > 32768 else 0
            category = abs(difference).bit_length()
            bits.append(f"{category:05b}")
            if 0 < category < 16:
                bits.append(f"{difference if difference > 0 else difference + 2**category - 1:0{category}b}")
    stream = "".join(bits)
    stream += "1" * (-len(stream) % 8)
    scan = int(stream, 2).to_bytes(len(stream) // 8, "big").replace(b"\xff", b"\xff\x00")
    # Seventeen codes of five bits, 00000 to 10000, for the categories 0 to 16.
    huffman = bytes([0x00]) + bytes([0, 0, 0, 0, 17]) + bytes(11) + bytes(range(17))
    return b"".join(
        (
            b"\xff\xd8",
            b"\xff\xc3" + struct.pack(">HBHHB3B", 11, precision, height, width, 1, 1, 0x11, 0),
            b"\xff\xc4" + struct.pack(">H", 2 + len(huffman)) + huffman,
            b"\xff\xda" + struct.pack(">HB2B3B", 8, 1, 1, 0x00, predictor, 0, 0),
            scan,
            b"\xff\xd9",
        )
    )


def _prediction(samples: NDArray[np.uint16], y: int, x: int, precision: int, predictor: int) -> int:
    """Table H.1; the first line is predicted from the left, the first column from above."""
    if y == 0:
        return int(samples[0, x - 1]) if x else 1 << (precision - 1)
    above = int(samples[y - 1, x])
    if x == 0:
        return above
    left, corner = int(samples[y, x - 1]), int(samples[y - 1, x - 1])
    return {
        1: left,
        2: above,
        3: corner,
        4: left + above - corner,
        5: left + ((above - corner) >> 1),
        6: above + ((left - corner) >> 1),
        7: (left + above) >> 1,
    }[predictor]


def rle_frame(samples: NDArray[Any]) -> bytes:
    """An RLE frame (PS3.5 annex G): the most significant bytes first, a row a packet run."""
    planes = samples if samples.ndim == 3 else samples[..., np.newaxis]
    segments = []
    for plane in np.moveaxis(planes, -1, 0):
        octets = plane.astype(plane.dtype.newbyteorder(">")).view(np.uint8).reshape(*plane.shape, -1)
        for byte in range(octets.shape[-1]):
            packed = b"".join(_pack_row(row.tobytes()) for row in octets[..., byte])
            segments.append(packed + b"\0" * (len(packed) % 2))
    offsets = [64 + sum(map(len, segments[:index])) for index in range(len(segments))]
    header = struct.pack("<16I", len(segments), *offsets, *[0] * (15 - len(segments)))
    return header + b"".join(segments)


def _pack_row(row: bytes) -> bytes:
    """A replicate run where the whole row is one byte, else one literal run; rows are at most 128 long."""
    return bytes([257 - len(row), row[0]]) if len(set(row)) == 1 else bytes([len(row) - 1]) + row
