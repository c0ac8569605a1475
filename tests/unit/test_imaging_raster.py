"""PNG and JPEG of every kind, their pixels computed here."""

import struct
import zlib

import cv2
import imagecodecs
import numpy as np
import pytest
from PIL import Image

from pneumonia.imaging.decode import decode
from pneumonia.imaging.grey import Rendering
from pneumonia.imaging.rejection import Reason, Rejected
from tests.unit.imaging_files import RAMP_8, RAMP_12, RGB, lossless_jpeg, raster

LUMA = RGB @ np.array([0.299, 0.587, 0.114])
WHOLE_RANGE = Rendering(no_window="range")
STRETCHED = np.rint(RAMP_12 * 255.0 / RAMP_12.max())
ALPHA = (5 * np.indices(RAMP_8.shape)[1]).astype(np.uint8)


def rejection(content: bytes) -> Reason:
    with pytest.raises(Rejected) as caught:
        decode(content)
    return caught.value.reason


def png(
    width: int, height: int, depth: int, colour: int, scanlines: bytes, *more: tuple[bytes, bytes]
) -> bytes:
    """A PNG by hand: `more` are chunks between header and data."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = [(b"IHDR", header), *more, (b"IDAT", zlib.compress(scanlines)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def scanlines(samples: np.ndarray) -> bytes:
    """Rows of big-endian samples, each after the filter type 0."""
    rows = samples.astype(samples.dtype.newbyteorder(">")).reshape(len(samples), -1)
    return b"".join(b"\0" + row.tobytes() for row in rows)


class TestPng:
    def test_grey(self):
        assert np.array_equal(decode(raster(RAMP_8, "PNG")), RAMP_8)

    def test_interlaced_and_filtered_as_opencv(self):
        content = raster(RAMP_8, "PNG", optimize=True)
        assert np.array_equal(decode(content), cv2.imdecode(np.frombuffer(content, np.uint8), 0))

    def test_rgb(self):
        assert np.abs(decode(raster(RGB, "PNG")) - LUMA).max() <= 0.501

    def test_grey_of_16_bits(self):
        assert np.array_equal(decode(raster(RAMP_12, "PNG"), WHOLE_RANGE), STRETCHED)

    def test_grey_of_16_bits_by_percentiles(self):
        low, high = np.percentile(RAMP_12, [0.5, 99.5], method="inverted_cdf").astype(float)
        expected = np.rint(255 * np.clip((RAMP_12 - low) / (high - low), 0, 1))
        assert np.array_equal(decode(raster(RAMP_12, "PNG")), expected)

    def test_rgb_of_16_bits(self):
        content = png(48, 40, 16, 2, scanlines(RGB.astype(np.uint16) * 256 + 77))
        assert np.abs(decode(content) - LUMA).max() <= 0.501

    @pytest.mark.parametrize(("depth", "factor"), [(1, 255), (2, 85), (4, 17)])
    def test_grey_of_few_bits(self, depth, factor):
        levels = RAMP_8 >> 8 - depth if depth > 1 else (RAMP_8 > 100).astype(np.uint8)
        bits = np.unpackbits(levels[..., np.newaxis], axis=-1)[..., 8 - depth :]
        packed = np.packbits(bits.reshape(40, -1), axis=-1)
        assert np.array_equal(decode(png(48, 40, depth, 0, scanlines(packed))), levels * factor)

    def test_palette(self):
        palette = np.array([[n, 255 - n, n // 2] for n in range(256)], np.uint8)
        content = png(48, 40, 8, 3, scanlines(RAMP_8), (b"PLTE", palette.tobytes()))
        assert np.abs(decode(content) - palette[RAMP_8] @ np.array([0.299, 0.587, 0.114])).max() <= 0.501

    def test_transparent_shows_black(self):
        rgba = np.dstack([RGB, ALPHA])
        assert np.abs(decode(raster(rgba, "PNG")) - LUMA * (ALPHA / 255)).max() <= 1
        grey_alpha = np.dstack([RAMP_8, ALPHA])
        content = png(48, 40, 8, 4, scanlines(grey_alpha))
        assert np.abs(decode(content) - RAMP_8 * (ALPHA / 255)).max() <= 1

    def test_transparent_shows_black_in_16_bits_too(self):
        opaque = np.dstack([RAMP_12, np.full_like(RAMP_12, 0xFFFF)])
        assert np.array_equal(decode(png(48, 40, 16, 4, scanlines(opaque)), WHOLE_RANGE), STRETCHED)
        half = opaque.copy()
        half[20:, :, 1] = 0
        grey = decode(png(48, 40, 16, 4, scanlines(half)), WHOLE_RANGE)
        assert not grey[20:].any()
        assert grey[:20].max() == 255

    def test_what_is_transparent_is_outside_the_percentiles_in_16_bits_too(self):
        alpha = np.full_like(RAMP_12, 0xFFFF)
        alpha[:, :9] = 0
        marked = np.where(alpha > 0, RAMP_12, 60000).astype(np.uint16)
        by_level = png(48, 40, 16, 0, scanlines(marked), (b"tRNS", struct.pack(">H", 60000)))
        by_alpha = png(48, 40, 16, 4, scanlines(np.dstack([marked, alpha])))
        for rendering in (WHOLE_RANGE, Rendering()):
            assert np.array_equal(decode(by_alpha, rendering), decode(by_level, rendering))
        inside = RAMP_12[:, 9:].astype(float)
        expected = np.rint(255 * (inside - inside.min()) / np.ptp(inside))
        assert np.array_equal(decode(by_alpha, WHOLE_RANGE)[:, 9:], expected)

    def test_black_that_is_not_transparent_is_inside_them(self):
        alpha = np.full_like(RAMP_12, 0xFFFF)
        alpha[:, 40:] = 0
        black = np.where(RAMP_12 < 1000, 0, RAMP_12).astype(np.uint16)
        grey = decode(png(48, 40, 16, 4, scanlines(np.dstack([black, alpha]))), WHOLE_RANGE)
        inside = black[:, :40].astype(float)
        assert np.abs(grey[:, :40] - 255 * inside / inside.max()).max() <= 1

    def test_a_transparent_grey_level(self):
        level = int(RAMP_8[20, 20])
        grey = decode(png(48, 40, 8, 0, scanlines(RAMP_8), (b"tRNS", struct.pack(">H", level))))
        assert np.array_equal(grey, np.where(level == RAMP_8, 0, RAMP_8))

    def test_a_transparent_level_of_16_bits_is_padding(self):
        padded = RAMP_12.copy()
        padded[:, :9] = 60000
        content = png(48, 40, 16, 0, scanlines(padded), (b"tRNS", struct.pack(">H", 60000)))
        grey = decode(content, WHOLE_RANGE)
        inside = RAMP_12[:, 9:].astype(float)
        assert not grey[:, :9].any()
        assert np.array_equal(grey[:, 9:], np.rint(255 * (inside - inside.min()) / np.ptp(inside)))


class TestJpeg:
    @pytest.mark.parametrize("progressive", [False, True])
    def test_grey_as_opencv(self, progressive):
        content = raster(RAMP_8, "JPEG", quality=90, progressive=progressive)
        expected = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_GRAYSCALE)
        assert np.array_equal(decode(content), expected)
        assert np.abs(expected.astype(int) - RAMP_8).max() <= 4

    def test_colour_as_opencv(self):
        content = raster(RGB, "JPEG", quality=100, subsampling=2)
        expected = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_GRAYSCALE)
        assert np.array_equal(decode(content), expected)
        assert np.abs(decode(content) - LUMA).max() <= 2

    def test_cmyk(self):
        cmyk = np.dstack([RGB, (RAMP_8 // 2)])
        content = raster(Image.fromarray(cmyk, "CMYK"), "JPEG", quality=100)
        rgb = (255.0 - cmyk[..., :3]) * (255 - cmyk[..., 3:]) / 255
        assert np.abs(decode(content) - rgb @ np.array([0.299, 0.587, 0.114])).max() <= 3

    def test_12_bits(self):
        content = bytes(imagecodecs.jpeg8_encode(RAMP_12, level=100, bitspersample=12))
        assert np.array_equal(decode(content, WHOLE_RANGE), STRETCHED)

    def test_lossless_of_16_bits(self):
        content = lossless_jpeg(RAMP_12 * 17, 16, 1)
        assert np.array_equal(decode(content, WHOLE_RANGE), STRETCHED)


UPRIGHT = {
    # How stored rows and columns are shown: CIPA DC-008, tag 0x0112.
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.T,
    6: lambda a: a[::-1].T,
    7: lambda a: a[::-1, ::-1].T,
    8: lambda a: a[:, ::-1].T,
}


@pytest.mark.parametrize("orientation", [*UPRIGHT, 0, 9])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "PNG16"])
def test_orientation(orientation, kind):
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = RAMP_12 if kind == "PNG16" else RAMP_8
    options = {"quality": 100} if kind == "JPEG" else {}
    plain = decode(raster(picture, kind.removesuffix("16"), **options))
    turned = decode(raster(picture, kind.removesuffix("16"), exif=exif, **options))
    assert np.array_equal(turned, UPRIGHT.get(orientation, UPRIGHT[1])(plain))


@pytest.mark.parametrize(
    "damaged",
    [bytes(50), b"II*\0\xff\xff\0\0", b"XXXXXXXX", b"II*\0\x08\0\0\0\5\0"],
    ids=["zeros", "no directory", "letters", "cut"],
)
@pytest.mark.parametrize(
    "samples",
    [RAMP_8, RAMP_12, np.dstack([RAMP_12, np.full_like(RAMP_12, 0xFFFF)])],
    ids=["8 bits", "16 bits", "alpha"],
)
def test_a_picture_with_damaged_exif_data_is_upright(damaged, samples):
    depth, colour = 8 * samples.itemsize, 4 if samples.ndim == 3 else 0
    plain, marked = (
        png(48, 40, depth, colour, scanlines(samples), *chunks) for chunks in ((), ((b"eXIf", damaged),))
    )
    assert np.array_equal(decode(marked), decode(plain))


class TestRejections:
    @pytest.mark.parametrize("depth", [8, 16])
    def test_damaged_exif_data_excuse_no_damaged_pixels(self, depth):
        samples = RAMP_8 if depth == 8 else RAMP_12
        content = png(48, 40, depth, 0, scanlines(samples)[:-500], (b"eXIf", bytes(50)))
        assert rejection(content) == Reason.UNREADABLE

    @pytest.mark.parametrize("kind", ["PNG", "JPEG"])
    @pytest.mark.parametrize("kept", [0.2, 0.5, 0.9, 0.98])
    def test_truncated(self, kind, kept):
        noisy = np.random.default_rng(0).integers(0, 256, (100, 100)).astype(np.uint8)
        content = raster(noisy, kind)
        assert rejection(content[: int(len(content) * kept)]) == Reason.TRUNCATED

    def test_the_last_two_bytes_of_a_jpeg(self):
        assert rejection(raster(RAMP_8, "JPEG")[:-2]) == Reason.TRUNCATED

    def test_bytes_after_the_end_are_ignored(self):
        for kind in ("PNG", "JPEG"):
            content = raster(RAMP_8, kind)
            assert np.array_equal(decode(content + bytes(5000)), decode(content))

    def test_truncated_after_a_thumbnail(self):
        """The thumbnail in the EXIF segment has an end of its own."""
        noisy = np.random.default_rng(0).integers(0, 256, (100, 100)).astype(np.uint8)
        content = raster(noisy, "JPEG")
        thumbnail = raster(RAMP_8, "JPEG")
        segment = b"\xff\xe1" + struct.pack(">H", 2 + len(thumbnail)) + thumbnail
        content = content[:2] + segment + content[2:]
        assert decode(content).shape == (100, 100)
        assert rejection(content[:-500]) == Reason.TRUNCATED

    def test_damaged_within(self):
        content = bytearray(raster(RAMP_8, "PNG"))
        content[len(content) // 2] ^= 0xFF
        assert rejection(bytes(content)) == Reason.UNREADABLE

    def test_gigapixels_before_anything_is_read(self):
        assert rejection(png(60_000, 60_000, 8, 0, b"")) == Reason.TOO_LARGE
        jpeg = raster(RAMP_8, "JPEG")
        size = struct.pack(">HH", 40, 48)
        assert rejection(jpeg.replace(size, struct.pack(">HH", 65535, 65535), 1)) == Reason.TOO_LARGE

    def test_icons(self):
        assert rejection(raster(RAMP_8[:27], "PNG")) == Reason.TOO_SMALL

    def test_blank(self):
        assert rejection(raster(np.full((64, 64), 130, np.uint8), "JPEG")) == Reason.BLANK

    def test_a_text_chunk_bomb(self):
        bomb = b"Comment\0\0" + zlib.compress(bytes(20_000_000))
        with pytest.raises(Rejected):
            decode(png(48, 40, 8, 0, scanlines(RAMP_8), (b"zTXt", bomb)))

    def test_without_a_header(self):
        content = raster(RAMP_8, "PNG")
        assert rejection(content.replace(b"IHDR", b"IHDX")) == Reason.UNREADABLE
