"""Still images as arrays: reading whatever users bring, and bringing frames to a size."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..errors import FileFormatError, InvalidInputError, LimitError, OpenSoraError
from .limits import MediaLimits

if TYPE_CHECKING:
    from PIL import Image

Pixels = npt.NDArray[np.uint8]

# Formats decoded by libraries that are fuzzed in public; not, for instance, EPS, for which Pillow starts Ghostscript.
IMAGE_FORMATS = ("PNG", "JPEG", "MPO", "GIF", "WEBP", "BMP", "TIFF", "PPM", "AVIF")
WHITE = (255, 255, 255)


def read_image(
    source: str | os.PathLike[str] | Image.Image | npt.NDArray[np.generic], *, limits: MediaLimits | None = None
) -> Pixels:
    """One image as uint8 `[H, W, 3]`, RGB, upright.

    `source` is a file (PNG, JPEG, WebP, GIF, BMP, TIFF, PPM, AVIF; of an animation the first frame), a Pillow image, or
    an array: uint8 or uint16 over their full range or float in 0..1, of shape `[H, W]`, `[H, W, 1]`, `[H, W, 3]` or
    `[H, W, 4]`. EXIF orientation is applied; transparency is composited over white, as a page would show it; grey,
    palette, CMYK and 16-bit images become 8-bit RGB.

    Raises InvalidInputError for a missing file or an array of another kind, FileFormatError for a file that cannot be
    decoded, LimitError for one beyond `limits`.
    """
    from PIL import Image

    limits = limits or MediaLimits()
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, Image.Image):
        limits.check_frame("the image", source.height, source.width)
        with decoding("the image"):
            return to_rgb(upright(source))
    path = checked_file(source, limits)
    with open(path, "rb") as file:
        image = open_image(file, str(path), limits)
        if image is None:
            known = ", ".join(IMAGE_FORMATS)
            raise FileFormatError(
                f"{path} is damaged or no image this library reads; convert it to one of: {known}; "
                "a video is continued by extend"
            )
        with decoding(str(path)):
            return to_rgb(upright(image))


def checked_file(source: str | os.PathLike[str], limits: MediaLimits) -> Path:
    """`source` as the path of an existing file within the limits."""
    if not isinstance(source, str | os.PathLike):
        raise InvalidInputError(f"expected the path of a file, got {type(source).__name__}")
    path = Path(source)
    try:
        size = path.stat().st_size
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    if not path.is_file():
        raise InvalidInputError(f"cannot read {path}: it is not a file")
    if not os.access(path, os.R_OK):
        raise InvalidInputError(f"cannot read {path}: no permission")
    if not size:
        raise FileFormatError(f"{path} is empty: the copy or download may have failed")
    limits.check_file(str(path), size)
    return path


def open_image(file: IO[bytes], name: str, limits: MediaLimits) -> Image.Image | None:
    """Read the header of an image and refuse what is too large; None when it is no image.

    Pixels are decoded later, by the caller, inside `decoding`.
    """
    from PIL import Image, UnidentifiedImageError

    Image.init()
    with decoding(name):
        try:
            image = Image.open(file, formats=[known for known in IMAGE_FORMATS if known in Image.OPEN])
        except UnidentifiedImageError:
            return None
    limits.check_frame(name, image.height, image.width)
    return image


@contextmanager
def decoding(name: str) -> Iterator[None]:
    """Turn what Pillow raises on damaged files into FileFormatError, and its own size check into LimitError."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on odd EXIF and on size, which MediaLimits judges
        try:
            yield
        except (OpenSoraError, MemoryError):
            raise
        except Image.DecompressionBombError as error:
            raise LimitError(f"{name} is refused by Pillow: {error} See PIL.Image.MAX_IMAGE_PIXELS.") from error
        except Exception as error:  # decoders of hostile bytes raise OSError, SyntaxError, struct.error, KeyError ...
            raise FileFormatError(
                f"{name} is a damaged or truncated image: {error}; save or download it anew"
            ) from error


def upright(image: Image.Image) -> Image.Image:
    """The image turned and mirrored as its EXIF orientation says."""
    from PIL import ImageOps

    return ImageOps.exif_transpose(image)


def to_rgb(image: Image.Image) -> Pixels:
    """Any Pillow image as uint8 `[H, W, 3]`, transparency composited over white."""
    from PIL import Image

    if image.mode in ("I;16", "I;16L", "I;16B", "I;16N", "I", "F"):
        return _from_array(_deep_grey(image))
    if image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        canvas = Image.new("RGBA", image.size, (*WHITE, 255))
        image = Image.alpha_composite(canvas, image)
    return np.array(image.convert("RGB"), dtype=np.uint8)


def fit(frames: Pixels, height: int, width: int) -> Pixels:
    """Resize `[H, W, 3]` or `[T, H, W, 3]` uint8 frames to cover `height` × `width`, then crop the centre.

    The aspect ratio is kept; bicubic and antialiased, the arithmetic of Open-Sora's `resize_crop_to_fill` for its
    conditioning images. Frames that have the size already are returned as they are.

    Raises InvalidInputError for other shapes or dtypes or a size below 1, LimitError where the intermediate image would
    exceed the default `MediaLimits` (a line-shaped image asked to become a square).
    """
    _check_fit(frames, height, width)
    if frames.shape[-3:-1] == (height, width):
        return frames
    if frames.ndim == 3:
        return _cover(frames, height, width)
    return np.stack([_cover(frame, height, width) for frame in frames])


def _check_fit(frames: Pixels, height: int, width: int) -> None:
    if not isinstance(frames, np.ndarray) or frames.dtype != np.uint8:
        kind = frames.dtype if isinstance(frames, np.ndarray) else type(frames).__name__
        raise InvalidInputError(f"fit takes uint8 frames, got {kind}")
    if frames.ndim not in (3, 4) or frames.shape[-1] != 3 or 0 in frames.shape:
        raise InvalidInputError(f"fit takes frames [H, W, 3] or [T, H, W, 3], got {list(frames.shape)}")
    for name, size in (("height", height), ("width", width)):
        if not isinstance(size, int | np.integer) or size < 1:
            raise InvalidInputError(f"{name}={size!r} must be a whole number of at least 1 pixel")


def _cover(frame: Pixels, height: int, width: int) -> Pixels:
    from PIL import Image

    H, W = frame.shape[:2]
    factor = max(height / H, width / W)
    size = (width, round(H * factor)) if width / W >= height / H else (round(W * factor), height)
    MediaLimits().check_frame(f"covering {width}x{height} with a {W}x{H} image", size[1], size[0])
    resized = np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC))
    top = round((size[1] - height) / 2)
    left = round((size[0] - width) / 2)
    return resized[top : top + height, left : left + width].copy()


def _deep_grey(image: Image.Image) -> npt.NDArray[np.generic]:
    values = np.asarray(image)
    if image.mode == "F":
        return values
    if values.min() < 0 or values.max() > 65535:
        raise InvalidInputError(f"a 32-bit image holds {values.min()}..{values.max()}; expected at most 16 bits")
    return values.astype(np.uint16)


def _from_array(array: npt.NDArray[np.generic]) -> Pixels:
    pixels = _eight_bits(_colour_last(array))
    if pixels.shape[2] == 1:
        return np.repeat(pixels, 3, axis=2)
    if pixels.shape[2] == 4:
        alpha = pixels[..., 3:].astype(np.uint32)
        mixed = pixels[..., :3] * alpha + np.array(WHITE, np.uint32) * (255 - alpha)
        return ((mixed + 127) // 255).astype(np.uint8)
    return pixels.copy()


def _colour_last(array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or 0 in array.shape:
        hint = ""
        if array.ndim == 3 and array.shape[0] in (1, 3, 4):
            hint = "; move the channels last with np.moveaxis(image, 0, -1)"
        if array.ndim == 4:
            hint = "; pass one frame of it, image[0]"
        raise InvalidInputError(f"the image has the shape {list(array.shape)}; expected [H, W, 3]{hint}")
    return array


def _eight_bits(array: npt.NDArray[np.generic]) -> Pixels:
    if array.dtype == np.uint8:
        return array.astype(np.uint8, copy=False)
    if array.dtype == np.uint16:
        return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if array.dtype.kind == "f":
        values = array.astype(np.float64)
        if not (values.min() >= 0 and values.max() <= 1):  # NaN fails too
            raise InvalidInputError(f"the image holds {values.min():g}..{values.max():g}; floats are expected in 0..1")
        return (values * 255).round().astype(np.uint8)
    raise InvalidInputError(
        f"the image is {array.dtype}; expected uint8 in 0..255, uint16 in 0..65535 or float in 0..1"
    )
