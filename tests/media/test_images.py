"""Any image becomes uint8 [H, W, 3], upright, of any size asked for."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from opensora_core.errors import FileFormatError, InvalidInputError, LimitError
from opensora_core.media import MediaLimits, fit, read_image

RAMP = np.arange(0, 256, dtype=np.uint8).reshape(16, 16)
COLOURS = np.stack([RAMP, RAMP[::-1], RAMP.T], axis=-1)


def test_a_file_an_image_and_an_array_are_the_same(tmp_path: Path) -> None:
    image = Image.fromarray(COLOURS)
    image.save(tmp_path / "a.png")
    for source in (tmp_path / "a.png", str(tmp_path / "a.png"), image, COLOURS):
        pixels = read_image(source)
        np.testing.assert_array_equal(pixels, COLOURS)
        assert pixels.dtype == np.uint8
        assert pixels.flags.writeable


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I", "F"])
def test_every_mode_of_pillow_is_read(mode: str) -> None:
    white = {"I;16": 65535, "I": 65535, "F": 1.0}.get(mode)
    image = Image.new("RGB", (4, 3), "white").convert(mode) if white is None else Image.new(mode, (4, 3), white)
    np.testing.assert_array_equal(read_image(image), np.full((3, 4, 3), 255, np.uint8))


def test_sixteen_bits_are_rounded_to_eight(tmp_path: Path) -> None:
    deep = np.array([[0, 128, 129, 257, 32896, 65407, 65535]], np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert read_image(tmp_path / "deep.png")[0, :, 0].tolist() == [0, 0, 1, 1, 128, 255, 255]
    np.testing.assert_array_equal(read_image(deep), read_image(tmp_path / "deep.png"))


def test_transparency_shows_white(tmp_path: Path) -> None:
    colours = np.zeros((1, 3, 4), np.uint8)
    colours[0, :, 0] = 255
    colours[0, :, 3] = (0, 128, 255)
    expected = [[255, 255, 255], [255, 127, 127], [255, 0, 0]]
    Image.fromarray(colours).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png")[0].tolist() == expected
    assert read_image(colours)[0].tolist() == expected
    palette = Image.new("P", (2, 1), 0)
    palette.putpalette([9, 9, 9, 1, 2, 3])
    palette.putpixel((1, 0), 1)
    palette.save(tmp_path / "p.png", transparency=0)
    assert read_image(tmp_path / "p.png")[0].tolist() == [[255, 255, 255], [1, 2, 3]]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int) -> None:
    stored = COLOURS[:8]
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).save(tmp_path / "photo.png", exif=exif)
    flipped, turned = stored[:, ::-1], np.swapaxes(stored, 0, 1)
    upright = {
        1: stored,
        2: flipped,
        3: stored[::-1, ::-1],
        4: stored[::-1],
        5: turned,
        6: turned[:, ::-1],
        7: turned[::-1, ::-1],
        8: turned[::-1],
    }
    np.testing.assert_array_equal(read_image(tmp_path / "photo.png"), upright[orientation])


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((3, 8, 8), np.uint8), "moveaxis"),
        (np.zeros((2, 8, 8, 3), np.uint8), r"image\[0\]"),
        (np.zeros((8, 8, 2), np.uint8), r"expected \[H, W, 3\]"),
        (np.zeros((0, 8, 3), np.uint8), r"\[0, 8, 3\]"),
        (np.full((8, 8, 3), 200.0), r"200\.\.200"),
        (np.full((8, 8, 3), np.nan), "nan"),
        (np.zeros((8, 8, 3), np.int64), "int64"),
    ],
)
def test_arrays_of_another_kind_are_refused(array: np.ndarray, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        read_image(array)


def test_floats_and_grey_arrays_are_read() -> None:
    assert read_image(np.array([[0.0, 0.5, 1.0]]))[0].tolist() == [[0] * 3, [128] * 3, [255] * 3]
    assert read_image(RAMP[..., None]).shape == (16, 16, 3)


def claimed(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds a few bytes: decoding it would allocate what it claims."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    parts = (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("size", [(9000, 9000), (12000, 12000), (100_000, 100_000), (2**31 - 1, 1)])
def test_a_decompression_bomb_is_refused(tmp_path: Path, size: tuple[int, int]) -> None:
    (tmp_path / "bomb.png").write_bytes(claimed(*size))
    with pytest.raises(LimitError, match=r"bomb\.png"):
        read_image(tmp_path / "bomb.png")


def test_limits_can_be_changed(tmp_path: Path) -> None:
    Image.fromarray(COLOURS).save(tmp_path / "a.png")
    with pytest.raises(LimitError, match=r"16x16 = 256 pixels; the limit is 255.*frame_pixels=256"):
        read_image(tmp_path / "a.png", limits=MediaLimits(frame_pixels=255))
    with pytest.raises(LimitError, match="file_bytes"):
        read_image(tmp_path / "a.png", limits=MediaLimits(file_bytes=10))
    with pytest.raises(LimitError, match="the image"):
        read_image(Image.fromarray(COLOURS), limits=MediaLimits(frame_pixels=255))
    assert read_image(tmp_path / "a.png", limits=MediaLimits(frame_pixels=256)).shape == (16, 16, 3)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp", ".tiff"])
def test_a_truncated_image_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:-1500])
    with pytest.raises(FileFormatError, match=rf"a\{suffix}"):
        read_image(path)


def test_what_is_no_image_is_said(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(FileFormatError, match="convert it to one of: PNG"):
        read_image(tmp_path / "text.png")
    with pytest.raises(InvalidInputError, match="No such file"):
        read_image(tmp_path / "absent.png")
    with pytest.raises(InvalidInputError, match="not a file"):
        read_image(tmp_path)


def reference_fit(image: Image.Image, height: int, width: int) -> np.ndarray:
    """Cover, then crop the centre, as Open-Sora prepares its conditioning images."""
    w, h = image.size
    if height / h > width / w:
        resized = image.resize((round(w * height / h), height), Image.Resampling.BICUBIC)
        left, top = round((resized.width - width) / 2.0), 0
    else:
        resized = image.resize((width, round(h * width / w)), Image.Resampling.BICUBIC)
        left, top = 0, round((resized.height - height) / 2.0)
    return np.asarray(resized.crop((left, top, left + width, top + height)))


@settings(max_examples=40, deadline=None)
@given(source=st.tuples(*[st.integers(1, 40)] * 2), target=st.tuples(*[st.integers(1, 40)] * 2))
def test_fit_covers_and_crops_as_open_sora_does(source: tuple[int, int], target: tuple[int, int]) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, *source, 3), dtype=np.uint8)
    fitted = fit(frames, *target)
    assert fitted.shape == (2, *target, 3)
    np.testing.assert_array_equal(fitted[1], reference_fit(Image.fromarray(frames[1]), *target))
    np.testing.assert_array_equal(fitted[1], fit(frames[1], *target))


def test_fit_is_antialiased_and_centred() -> None:
    stripes = np.zeros((64, 128, 3), np.uint8)
    stripes[:, ::2] = 255
    assert np.abs(fit(stripes, 8, 8).astype(int) - 128).max() < 16  # plain sampling would give 0 or 255
    halves = np.zeros((10, 30, 3), np.uint8)
    halves[:, 15:] = 255
    assert fit(halves, 10, 10)[0, :, 0].tolist() == [0] * 5 + [255] * 5


def test_fit_keeps_frames_of_the_right_size() -> None:
    assert fit(COLOURS, 16, 16) is COLOURS


@pytest.mark.parametrize(
    ("frames", "size", "message"),
    [
        (COLOURS, (0, 8), "height=0"),
        (COLOURS, (8, -1), "width=-1"),
        (COLOURS, (8, 2.5), "width=2.5"),
        (COLOURS.astype(np.float32), (8, 8), "float32"),
        (RAMP, (8, 8), r"\[16, 16\]"),
    ],
)
def test_what_cannot_be_fitted_is_refused(frames: np.ndarray, size: tuple, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        fit(frames, *size)


def test_a_line_cannot_become_a_large_square() -> None:
    with pytest.raises(LimitError, match="covering 512x512"):
        fit(np.zeros((1, 2000, 3), np.uint8), 512, 512)
