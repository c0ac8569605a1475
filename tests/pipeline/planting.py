"""Unmistakable words in every text of image files, and a search that finds them however they are wrapped."""

import base64
import csv
import hashlib
import io
import re
import sqlite3
import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pydicom
from PIL import Image
from pydicom.datadict import DicomDictionary
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

WORD = "QZXJV"
"""In every text; short, because an age string has four characters and a code sixteen."""
NAME, PATIENT = f"{WORD}^Jane Doe", f"{WORD}-4711"
DAY, TIME, NUMBER = "18470119", "041559.918273", "918273645"
IDENTIFIER = f"2.25.{NUMBER}5544332211"

_PLANTED = {
    **dict.fromkeys(("LO", "ST", "LT", "UT", "UC", "UR", "PN"), NAME),
    **dict.fromkeys(("SH", "AE", "CS"), PATIENT),
    "AS": WORD,
    "DA": DAY,
    "TM": TIME,
    "DT": f"{DAY}{TIME}",
    "UI": IDENTIFIER,
    "DS": f"1.{NUMBER}",
    "IS": NUMBER,
}
_GROUPS = (0x0008, 0x0010, 0x0012, 0x0018, 0x0020, 0x0032, 0x0038, 0x0040, 0x4008)
_WANTED = (
    *("Modality", "BodyPartExamined", "ViewPosition", "PatientSex", "PatientAge", "SpecificCharacterSet"),
    "BurnedInAnnotation",
)
"""Texts that decide what becomes of an image; half of the files keep them."""


def plant(content: bytes, *, keep_wanted: bool, patient: str = PATIENT) -> bytes:
    """Put the words into every text of a file, the pixels untouched.

    Args:
        content: DICOM, PNG or JPEG.
        keep_wanted: whether the few texts that the pipeline reads stay as they are.
        patient: the patient ID of DICOM.
    """
    if content.startswith(b"\x89PNG"):
        return content[:33] + _png_texts() + content[33:]
    if content.startswith(b"\xff\xd8"):
        return content[:2] + _jpeg_texts() + content[2:]
    with warnings.catch_warnings():  # a character set of that name, an age of five characters, ...
        warnings.simplefilter("ignore")
        return _plant_in_dicom(content, keep_wanted, patient)


def _plant_in_dicom(content: bytes, keep_wanted: bool, patient: str) -> bytes:
    dataset = pydicom.dcmread(io.BytesIO(content))
    kept = _WANTED if keep_wanted else ()
    for number, (vr, _, _, _, keyword) in DicomDictionary.items():
        if vr in _PLANTED and Tag(number).group in _GROUPS and keyword not in kept:
            dataset[number] = _element(number, vr)
    texts = ("RescaleType", "WindowCenterWidthExplanation", "VOILUTFunction", "PixelPresentation")
    for keyword in texts if keep_wanted else (*texts, "BurnedInAnnotation"):
        dataset[keyword] = _element(Tag(keyword), DicomDictionary[Tag(keyword)][0])
    dataset.SeriesDescription = f"{NAME} view: {'PA' if keep_wanted else WORD}"
    dataset.PatientID = patient
    nested = Dataset()
    nested.PatientID, nested.PatientComments = PATIENT, NAME
    dataset.OtherPatientIDsSequence = dataset.RequestAttributesSequence = [nested]
    block = dataset.private_block(0x0011, f"{WORD} CREATOR", create=True)
    block.add_new(1, "LT", NAME)
    block.add_new(2, "UN", NAME.encode())
    dataset.add_new(0x60000022, "LO", NAME)
    dataset.add_new(0xFFFCFFFC, "OB", NAME.encode() + b"\0")
    meta = dataset.file_meta
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.SourceApplicationEntityTitle = meta.ImplementationVersionName = PATIENT
    meta.PrivateInformationCreatorUID, meta.PrivateInformation = IDENTIFIER, NAME.encode() + b"\0"
    dataset.preamble = (NAME.encode() * 10)[:128]
    written = io.BytesIO()
    dataset.save_as(written, enforce_file_format=True)
    return written.getvalue()


def _element(number: int, vr: str) -> DataElement:
    return DataElement(number, vr, _PLANTED[vr], validation_mode=pydicom.config.IGNORE)


def _png_texts() -> bytes:
    packed = zlib.compress(NAME.encode())
    chunks = {
        b"tEXt": b"Author\0" + NAME.encode(),
        b"zTXt": b"Comment\0\0" + packed,
        b"iTXt": b"Title\0\1\0\0\0" + packed,
    }
    return b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks.items()
    )


def _jpeg_texts() -> bytes:
    exif = Image.Exif()
    exif[0x010E], exif[0x013B], exif[0x0132] = NAME, PATIENT, "1847:01:19 04:15:59"
    segments = {0xE1: exif.tobytes(), 0xFE: NAME.encode()}
    return b"".join(struct.pack(">BBH", 0xFF, kind, len(data) + 2) + data for kind, data in segments.items())


WORDS = (WORD, DAY, "1847-01-19", "1847:01:19", TIME, "041559918273", NUMBER)


def patient_id(number: int) -> str:
    """The patient ID in the files of one phantom."""
    return f"{WORD}-{number:05}"


def file_name(name: str) -> str:
    """The name that a phantom's file gets; films/P00001-1.dcm is the first."""
    return f"{NAME}, born {DAY}/{name}"


def _needles() -> re.Pattern[bytes]:
    plain = [word.encode() for word in WORDS]
    # Hashes that anybody can compute hide nothing, nor does the beginning of one.
    names = [file_name(f"films/P{number:05}-1.dcm") for number in range(8)]
    texts = [PATIENT, NAME, DAY, IDENTIFIER, *map(patient_id, range(8)), *names]
    hashed = [
        digest(text.encode()).hexdigest()[:16].encode()
        for digest in (hashlib.md5, hashlib.sha1, hashlib.sha256)
        for text in texts
    ]
    wide = [word.encode("utf-16-le") for word in WORDS]
    return re.compile(b"|".join(map(re.escape, [*plain, *wide, *hashed])), re.IGNORECASE)


_NEEDLES = _needles()
_BASE64 = re.compile(rb"[A-Za-z0-9+/]{24,}={0,2}")


def found(content: bytes) -> set[str]:
    """The planted words in a file, or in what is packed, compressed or encoded in it, three layers deep."""
    return {match.decode("latin-1") for layer in _layers(content, 3) for match in _NEEDLES.findall(layer)}


def _layers(content: bytes, depth: int) -> Iterator[bytes]:
    yield content
    if depth:
        for inner in _unwrapped(content):
            yield from _layers(inner, depth - 1)


def _unwrapped(content: bytes) -> Iterator[bytes]:
    if content.startswith(b"PK"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            yield from (archive.read(name) for name in archive.namelist())
    elif content.startswith(b"\x89PNG"):
        yield from _inflated(content)
    elif content.startswith(b"SQLite format 3"):
        # A long text is cut in pages; in words it is whole.
        with closing(sqlite3.connect(":memory:")) as database:
            database.deserialize(content)
            yield "\n".join(database.iterdump()).encode()
    elif content.startswith(b"\x1f\x8b"):
        yield zlib.decompress(content, wbits=31)
    else:
        for match in _BASE64.findall(content):
            yield base64.b64decode(match[: len(match) // 4 * 4])


def _inflated(png: bytes) -> Iterator[bytes]:
    """What any chunk of a PNG but its pixels holds deflated."""
    at = 8
    while at + 8 <= len(png):
        length, kind = struct.unpack_from(">I4s", png, at)
        data = png[at + 8 : at + 8 + length]
        start = data.find(b"\x78")
        while kind != b"IDAT" and start >= 0:
            try:
                yield zlib.decompress(data[start:])
                break
            except zlib.error:
                start = data.find(b"\x78", start + 1)
        at += length + 12


def replant(phantoms: Path, given: Path, extra: dict[str, bytes]) -> None:
    """Make an archive as a hospital might send it of the raw archive of phantoms: words in images and names.

    Args:
        phantoms: the raw archive.
        given: the archive to make, with a table of file and label.
        extra: more files, normal ones.
    """
    with zipfile.ZipFile(phantoms) as old, zipfile.ZipFile(given, "w") as new:
        rows = list(csv.DictReader(io.StringIO(old.read("labels.csv").decode())))
        new.comment = NAME.encode()
        table = [["file", "label"]]
        for number, row in enumerate(rows):
            patient = patient_id(int(row["patient"].removeprefix("P")))
            planted = plant(old.read(row["file"]), keep_wanted=number % 2 == 0, patient=patient)
            assert found(planted) & {WORD}
            member = zipfile.ZipInfo(file_name(row["file"]))
            member.comment = NAME.encode()
            new.writestr(member, planted)
            table.append([member.filename, row["label"]])
        for name, content in extra.items():
            new.writestr(file_name(name), content)
            table.append([file_name(name), "normal"])
        text = io.StringIO()
        csv.writer(text).writerows(table)
        new.writestr("labels.csv", text.getvalue())
