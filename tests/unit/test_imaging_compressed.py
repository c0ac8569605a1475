"""Compressed transfer syntaxes: lossless ones against the picture, lossy ones against a second decoder."""

import struct

import cv2
import imagecodecs
import numpy as np
import pytest
from PIL import Image
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from pneumonia.imaging.codestream import decode_codestream, is_codestream
from pneumonia.imaging.decode import decode
from pneumonia.imaging.rejection import Reason, Rejected
from tests.unit.imaging_files import (
    RAMP_8,
    RAMP_12,
    RGB,
    dicom,
    lossless_jpeg,
    raster,
    rle_frame,
)
from tests.unit.imaging_mutations import damaged

DEEP = {"BitsAllocated": 16, "BitsStored": 12, "WindowCenter": 2048, "WindowWidth": 4096}
GREY_12 = np.rint(RAMP_12 * 255.0 / 4095)
COLOUR = {"SamplesPerPixel": 3, "PlanarConfiguration": 0}
LUMA = RGB @ np.array([0.299, 0.587, 0.114])


JPEG_12 = bytes(imagecodecs.jpeg8_encode(RAMP_12, level=100, bitspersample=12))
JPEG_LS = bytes(imagecodecs.jpegls_encode(RAMP_12))
JPEG_LS_NEAR = bytes(imagecodecs.jpegls_encode(RAMP_8, level=2))
# The encoder is OpenJPH, the decoder OpenJPEG.
HTJ2K_LOSSLESS = bytes(imagecodecs.htj2k_encode(RAMP_12, reversible=True))
HTJ2K_LOSSY = bytes(imagecodecs.htj2k_encode(RAMP_8, reversible=False, level=0.002))


def jpeg_2000(samples: np.ndarray, bits: int, **options: object) -> bytes:
    lossless = {"codecformat": "J2K", "bitspersample": bits, "reversible": True, "mct": False}
    return bytes(imagecodecs.jpeg2k_encode(samples, **{**lossless, **options}))


def opencv(frame: bytes, flag: int = cv2.IMREAD_UNCHANGED) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(frame, np.uint8), flag)


class TestRle:
    def test_8_bits(self):
        assert np.array_equal(decode(dicom([rle_frame(RAMP_8)], syntax=RLELossless)), RAMP_8)

    def test_16_bits(self):
        content = dicom([rle_frame(RAMP_12)], syntax=RLELossless, **DEEP)
        assert np.array_equal(decode(content), GREY_12)

    def test_signed(self):
        values = RAMP_12.astype(np.int16) - 2000
        elements = {**DEEP, "BitsStored": 16, "PixelRepresentation": 1, "WindowCenter": 48}
        assert np.array_equal(decode(dicom([rle_frame(values)], syntax=RLELossless, **elements)), GREY_12)

    def test_colour(self):
        content = dicom([rle_frame(RGB)], syntax=RLELossless, PhotometricInterpretation="RGB", **COLOUR)
        assert np.abs(decode(content) - LUMA).max() <= 0.501

    def test_middle_of_three_frames(self):
        frames = [rle_frame(RAMP_8 // n) for n in (1, 2, 3)]
        assert np.array_equal(decode(dicom(frames, syntax=RLELossless, NumberOfFrames=3)), RAMP_8 // 2)


@pytest.fixture(params=["imagecodecs", "Pillow"])
def decoder(request, monkeypatch):
    """Either decoder of 8-bit JPEG."""
    if request.param == "Pillow":
        monkeypatch.setattr("pneumonia.imaging.codestream.imagecodecs", None)


@pytest.mark.usefixtures("decoder")
class TestJpegBaseline:
    @pytest.mark.parametrize("quality", [30, 75, 100])
    def test_grey_as_opencv(self, quality):
        frame = raster(RAMP_8, "JPEG", quality=quality)
        grey = decode(dicom([frame], syntax=JPEGBaseline8Bit))
        assert np.array_equal(grey, opencv(frame, cv2.IMREAD_GRAYSCALE))
        assert np.abs(grey.astype(int) - RAMP_8).max() <= (8 if quality < 100 else 1)

    def test_extended_of_8_bits(self):
        frame = raster(RAMP_8, "JPEG", quality=100)
        extended = frame.replace(b"\xff\xc0", b"\xff\xc1", 1)
        assert np.array_equal(
            decode(dicom([extended], syntax=JPEGExtended12Bit)),
            decode(dicom([frame], syntax=JPEGBaseline8Bit)),
        )

    @pytest.mark.parametrize("subsampling", [0, 1, 2])
    def test_ybr_is_its_y(self, subsampling):
        frame = raster(RGB, "JPEG", quality=100, subsampling=subsampling)
        elements = {**COLOUR, "PhotometricInterpretation": "YBR_FULL_422"}
        grey = decode(dicom([frame], syntax=JPEGBaseline8Bit, **elements))
        assert np.abs(grey - LUMA).max() <= 2
        assert np.array_equal(grey, opencv(frame, cv2.IMREAD_GRAYSCALE))

    def test_rgb_without_a_colour_transform(self):
        ybr = Image.merge("YCbCr", [Image.fromarray(np.ascontiguousarray(RGB[..., c])) for c in range(3)])
        frame = raster(ybr, "JPEG", quality=100, subsampling=0)
        bare = frame[:2] + frame[20:]
        assert frame[2:4] == b"\xff\xe0"
        assert frame[20:22] == b"\xff\xdb"
        elements = {**COLOUR, "PhotometricInterpretation": "RGB"}
        grey = decode(dicom([bare], syntax=JPEGBaseline8Bit, **elements))
        assert np.abs(grey - LUMA).max() <= 2

    def test_monochrome1(self):
        frame = raster(RAMP_8, "JPEG", quality=100)
        grey = decode(dicom([frame], syntax=JPEGBaseline8Bit, PhotometricInterpretation="MONOCHROME1"))
        assert np.array_equal(grey, 255 - decode(dicom([frame], syntax=JPEGBaseline8Bit)))


def test_jpeg_extended_of_12_bits():
    content = dicom([JPEG_12], syntax=JPEGExtended12Bit, **DEEP)
    # The encoder's own decoder gives RAMP_12 without any error.
    assert np.array_equal(decode(content), GREY_12)


@pytest.mark.parametrize("photometric", ["YBR_FULL", "YBR_FULL_422", "RGB"])
@pytest.mark.parametrize("stored_as", ["YCBCR", "RGB"])
def test_jpeg_extended_of_12_bits_in_colour_whatever_the_header_says(photometric, stored_as):
    deep = 16 * RGB.astype(np.uint16)
    frame = imagecodecs.jpeg8_encode(deep, level=100, bitspersample=12, outcolorspace=stored_as)
    elements = {"BitsAllocated": 16, "BitsStored": 12, **COLOUR, "PhotometricInterpretation": photometric}
    grey = decode(dicom([bytes(frame)], syntax=JPEGExtended12Bit, **elements))
    assert np.abs(grey - LUMA).max() <= 1.5


@pytest.mark.parametrize("predictor", range(1, 8))
@pytest.mark.parametrize("precision", [8, 10, 12, 14, 16])
def test_jpeg_lossless_of_every_predictor(predictor, precision):
    samples = (RAMP_12.astype(np.uint32) * (2**precision - 1) // 3830).astype(np.uint16)
    frame = lossless_jpeg(samples, precision, predictor)
    syntax = JPEGLosslessSV1 if predictor == 1 else JPEGLossless
    allocated = 8 if precision == 8 else 16
    content = dicom(
        [frame],
        syntax=syntax,
        BitsAllocated=allocated,
        BitsStored=precision,
        WindowCenter=2 ** (precision - 1),
        WindowWidth=2**precision,
    )
    assert np.array_equal(decode(content), np.rint(samples * 255.0 / (2**precision - 1)))


def test_jpeg_lossless_of_negative_values():
    values = RAMP_12.astype(np.int16) - 2000
    frame = lossless_jpeg((values & 0xFFF).astype(np.uint16), 12, 1)
    elements = {**DEEP, "PixelRepresentation": 1, "WindowCenter": 48}
    assert np.array_equal(decode(dicom([frame], syntax=JPEGLosslessSV1, **elements)), GREY_12)


def test_jpeg_lossless_of_the_whole_cell():
    """16 bits compressed of which 12 are stored, from bit 15 downwards."""
    frame = lossless_jpeg(RAMP_12 << 4 | 5, 16, 1)
    assert np.array_equal(decode(dicom([frame], syntax=JPEGLosslessSV1, HighBit=15, **DEEP)), GREY_12)


JFIF = b"\xff\xe0\x00\x10JFIF\0\1\1\0\0\1\0\1\0\0"
ADOBE = b"\xff\xee\x00\x0eAdobe\0\x64\0\0\0\0"


@pytest.mark.parametrize(
    "segments", [b"", ADOBE + b"\0", JFIF, JFIF + ADOBE + b"\0", ADOBE + b"\1"], ids=lambda s: str(len(s))
)
@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL"])
def test_jpeg_lossless_colour_is_what_the_header_says(photometric, segments):
    frame = bytes(
        imagecodecs.jpeg8_encode(RGB, lossless=True, predictor=1, colorspace="RGB", outcolorspace="RGB")
    )
    written = ADOBE + b"\0"
    assert frame[2:18] == written
    elements = {**COLOUR, "PhotometricInterpretation": photometric}
    content = dicom([frame.replace(written, segments, 1)], syntax=JPEGLosslessSV1, **elements)
    expected = LUMA if photometric == "RGB" else RAMP_8
    assert np.abs(decode(content) - expected).max() <= 0.501


class TestJpegLs:
    @pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL"])
    def test_colour(self, photometric):
        frame = bytes(imagecodecs.jpegls_encode(RGB))
        elements = {**COLOUR, "PhotometricInterpretation": photometric}
        expected = LUMA if photometric == "RGB" else RAMP_8
        assert np.abs(decode(dicom([frame], syntax=JPEGLSLossless, **elements)) - expected).max() <= 0.501

    def test_lossless(self):
        content = dicom([JPEG_LS], syntax=JPEGLSLossless, **DEEP)
        assert np.array_equal(decode(content), GREY_12)

    def test_near_lossless(self):
        grey = decode(dicom([JPEG_LS_NEAR], syntax=JPEGLSNearLossless))
        assert 0 < np.abs(grey.astype(int) - RAMP_8).max() <= 2


class TestJpeg2000:
    @pytest.mark.parametrize("bits", [8, 10, 12, 16])
    def test_lossless(self, bits):
        samples = (RAMP_12.astype(np.uint32) * (2**bits - 1) // 3830).astype(
            np.uint8 if bits == 8 else np.uint16
        )
        frame = jpeg_2000(samples, bits)
        content = dicom(
            [frame],
            syntax=JPEG2000Lossless,
            BitsAllocated=8 * samples.itemsize,
            BitsStored=bits,
            WindowCenter=2 ** (bits - 1),
            WindowWidth=2**bits,
        )
        assert np.array_equal(decode(content), np.rint(samples * 255.0 / (2**bits - 1)))

    @pytest.mark.parametrize("says_signed", [True, False])
    def test_negative_values(self, says_signed):
        values = RAMP_12.astype(np.int16) - 2000
        samples = values if says_signed else (values & 0xFFF).astype(np.uint16)
        frame = jpeg_2000(samples, 12)
        elements = {**DEEP, "PixelRepresentation": 1, "WindowCenter": 48}
        assert np.array_equal(decode(dicom([frame], syntax=JPEG2000Lossless, **elements)), GREY_12)

    def test_lossy_as_opencv(self):
        frame = jpeg_2000(RAMP_8, 8, reversible=False, level=60)
        grey = decode(dicom([frame], syntax=JPEG2000))
        assert np.array_equal(grey, opencv(frame))
        assert np.abs(grey.astype(int) - RAMP_8).max() <= 8

    @pytest.mark.parametrize("photometric", ["YBR_RCT", "RGB"])
    def test_colour(self, photometric):
        frame = jpeg_2000(RGB, 8, mct=photometric == "YBR_RCT")
        elements = {**COLOUR, "PhotometricInterpretation": photometric}
        assert np.abs(decode(dicom([frame], syntax=JPEG2000Lossless, **elements)) - LUMA).max() <= 0.501

    def test_in_boxes(self):
        frame = jpeg_2000(RAMP_8, 8, codecformat="JP2")
        assert np.array_equal(decode(dicom([frame], syntax=JPEG2000Lossless)), RAMP_8)


class TestHighThroughput:
    @pytest.mark.parametrize("syntax", [HTJ2KLossless, HTJ2KLosslessRPCL])
    def test_lossless(self, syntax):
        assert np.array_equal(decode(dicom([HTJ2K_LOSSLESS], syntax=syntax, **DEEP)), GREY_12)
        assert np.array_equal(opencv(HTJ2K_LOSSLESS), RAMP_12)

    def test_lossy(self):
        grey = decode(dicom([HTJ2K_LOSSY], syntax=HTJ2K))
        assert 0 < np.abs(grey.astype(int) - RAMP_8).max() <= 1


LOSSLESS = lossless_jpeg(RAMP_12, 12, 1)


class TestEncapsulation:
    def test_a_frame_in_several_fragments(self):
        content = dicom([LOSSLESS], syntax=JPEGLosslessSV1, **DEEP)
        whole, split = encapsulate([LOSSLESS]), encapsulate([LOSSLESS], fragments_per_frame=3)
        assert np.array_equal(decode(content.replace(whole, split)), GREY_12)

    def test_the_middle_frame(self):
        frames = [lossless_jpeg(RAMP_12 // n, 12, 1) for n in (1, 2, 3, 4)]
        grey = decode(dicom(frames, syntax=JPEGLosslessSV1, NumberOfFrames=4, **DEEP))
        assert np.array_equal(grey, np.rint(RAMP_12 // 2 * 255.0 / 4095))

    def test_an_extended_offset_table(self):
        frames = [lossless_jpeg(RAMP_12 // n, 12, 1) for n in (1, 2, 3)]
        _, offsets, lengths = encapsulate_extended(frames)
        tables = {"ExtendedOffsetTable": offsets, "ExtendedOffsetTableLengths": lengths}
        content = dicom(frames, syntax=JPEGLosslessSV1, NumberOfFrames=3, **tables, **DEEP)
        assert np.array_equal(decode(content), np.rint(RAMP_12 // 2 * 255.0 / 4095))

    @pytest.mark.parametrize("fragments", [1, 3])
    @pytest.mark.parametrize("offsets", [(4,), (8,), (20,), (2**32 - 1,), (0, 8), (0, 8, 400), (9, 9, 9, 9)])
    @pytest.mark.parametrize(
        ("frame", "syntax"), [(LOSSLESS, JPEGLosslessSV1), (rle_frame(RAMP_12), RLELossless)]
    )
    def test_a_wrong_offset_table_of_the_only_frame_is_ignored(self, frame, syntax, offsets, fragments):
        content = dicom([frame], syntax=syntax, **DEEP)
        whole, split = (
            encapsulate([frame]),
            encapsulate([frame], fragments_per_frame=fragments, has_bot=False),
        )
        table = struct.pack(f"<HHI{len(offsets)}I", 0xFFFE, 0xE000, 4 * len(offsets), *offsets)
        assert whole in content
        assert np.array_equal(decode(content.replace(whole, table + split[8:])), GREY_12)

    def test_a_wrong_extended_offset_table_of_the_only_frame_is_ignored(self):
        tables = {"ExtendedOffsetTable": struct.pack("<Q", 64), "ExtendedOffsetTableLengths": bytes(8)}
        content = dicom([LOSSLESS], syntax=JPEGLosslessSV1, **tables, **DEEP)
        assert np.array_equal(decode(content), GREY_12)

    @pytest.mark.parametrize(
        ("frame", "syntax"), [(lossless_jpeg, JPEGLosslessSV1), (lambda f, *_: rle_frame(f), RLELossless)]
    )
    def test_the_first_of_frames_that_are_not_counted(self, frame, syntax):
        frames = [frame(RAMP_12 // n, 12, 1) for n in (1, 2, 3)]
        assert np.array_equal(decode(dicom(frames, syntax=syntax, **DEEP)), GREY_12)

    def test_uncompressed_frames(self):
        frames = [(RAMP_12 // n).tobytes() for n in (1, 2, 3)]
        content = dicom(frames, syntax="1.2.840.10008.1.2.1.98", NumberOfFrames=3, **DEEP)
        assert np.array_equal(decode(content), np.rint(RAMP_12 // 2 * 255.0 / 4095))

    def test_a_wrong_transfer_syntax(self):
        """The frame says what it is."""
        assert np.array_equal(decode(dicom([LOSSLESS], syntax=JPEG2000, **DEEP)), GREY_12)

    def test_no_transfer_syntax(self):
        content = dicom([LOSSLESS], syntax=JPEGLosslessSV1, **DEEP)
        uid = b"\x02\x00\x10\x00UI\x16\x001.2.840.10008.1.2.4.70"
        assert uid in content
        assert np.array_equal(decode(content.replace(uid, b"")), GREY_12)


class TestRejections:
    def reason(self, content: bytes) -> Reason:
        with pytest.raises(Rejected) as caught:
            decode(content)
        return caught.value.reason

    @pytest.mark.parametrize(
        ("syntax", "package"),
        [
            ("1.2.840.10008.1.2.4.102", "av"),
            ("1.2.840.10008.1.2.4.107", "av"),
            ("1.2.840.10008.1.2.4.110", "imagecodecs"),
            ("1.2.840.99999.1.2.4.102", "dcmtk"),
        ],
    )
    def test_unsupported_compression_names_a_package(self, syntax, package):
        video = b"1.2.840.10008.1.2.4.102"
        content = dicom([b"\0\0\0\x18ftypmp42" + bytes(100)], syntax=video.decode())
        with pytest.raises(Rejected) as caught:
            decode(content.replace(video, syntax.encode()))
        assert caught.value.reason == Reason.UNSUPPORTED_COMPRESSION
        assert package in caught.value.detail
        assert "99999" not in caught.value.detail

    @pytest.mark.parametrize("frame", [JPEG_12, JPEG_LS, JPEG_LS_NEAR, HTJ2K_LOSSLESS, LOSSLESS])
    @pytest.mark.parametrize("kept", [0.5, 0.9])
    def test_truncated_frames(self, frame, kept):
        content = dicom([frame[: int(len(frame) * kept)]], syntax=JPEGLossless, **DEEP)
        assert self.reason(content) == Reason.TRUNCATED

    def test_truncated_baseline(self):
        frame = raster(RAMP_8, "JPEG", quality=100)
        assert self.reason(dicom([frame[:-100]], syntax=JPEGBaseline8Bit)) == Reason.TRUNCATED

    def test_truncated_file(self):
        content = dicom([LOSSLESS], syntax=JPEGLosslessSV1, **DEEP)
        assert self.reason(content[:-200]) == Reason.TRUNCATED

    def test_a_frame_of_another_size(self):
        content = dicom([LOSSLESS], syntax=JPEGLosslessSV1, shape=(48, 40), **DEEP)
        assert self.reason(content) == Reason.UNREADABLE

    def test_a_frame_that_announces_gigapixels(self):
        """Before anything is allocated: the decoder must not even be asked."""
        small, large = (40, 48), (65535, 65535)
        for frame, size in (
            (LOSSLESS, ">HH"),
            (JPEG_LS, ">HH"),
            (raster(RAMP_8, "JPEG"), ">HH"),
            (jpeg_2000(RAMP_12, 12), ">II"),
        ):
            # JPEG gives the height first, JPEG 2000 the width.
            written = struct.pack(size, *(small if size == ">HH" else small[::-1]))
            assert written in frame
            blown = frame.replace(written, struct.pack(size, *large), 1)
            with pytest.raises(Rejected) as caught:
                decode_codestream(blown)
            assert caught.value.reason == Reason.TOO_LARGE

    def test_a_missing_package_is_named(self, monkeypatch):
        monkeypatch.setattr("pneumonia.imaging.codestream.imagecodecs", None)
        with pytest.raises(Rejected) as caught:
            decode(dicom([LOSSLESS], syntax=JPEGLosslessSV1, **DEEP))
        assert caught.value.reason == Reason.UNSUPPORTED_COMPRESSION
        assert "imagecodecs" in caught.value.detail

    def test_thousands_of_scans(self):
        frame = raster(RAMP_8, "JPEG", progressive=True)
        scan = frame[frame.index(b"\xff\xda") : -2]
        assert self.reason(dicom([frame[:-2] + scan * 300 + b"\xff\xd9"], syntax=JPEGBaseline8Bit)) == (
            Reason.UNREADABLE
        )


@pytest.mark.parametrize(
    "frame",
    [
        raster(RAMP_8, "JPEG"),
        raster(RAMP_8, "JPEG", progressive=True),
        raster(RGB, "JPEG"),
        JPEG_12,
        JPEG_LS,
        HTJ2K_LOSSLESS,
    ],
    ids=["JPEG", "progressive", "colour", "12 bits", "JPEG-LS", "HTJ2K"],
)
def test_a_frame_is_decoded_within_its_file_as_outside(frame):
    def outcome(content: bytes | memoryview) -> object:
        try:
            samples, header = decode_codestream(content)
        except Rejected as rejected:
            return str(rejected)
        return samples.tobytes(), header

    for content in [frame, *(damaged(frame, f"within {number}") for number in range(100))]:
        within = memoryview(b"before" + content + b"after")[6:-5]
        assert is_codestream(within) == is_codestream(content)
        assert outcome(within) == outcome(content)


def test_decoders_print_nothing(capfd):
    for frame in (JPEG_12, JPEG_LS, HTJ2K_LOSSLESS):
        decode(dicom([frame], syntax=JPEGLossless, **DEEP))
    for precision in (10, 12, 16):
        samples = (RAMP_12.astype(np.uint32) * (2**precision - 1) // 3830).astype(np.uint16)
        decode_codestream(lossless_jpeg(samples, precision, 1))
    assert capfd.readouterr() == ("", "")
