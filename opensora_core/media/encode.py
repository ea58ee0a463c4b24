"""Writing a `Video`: mp4 through PyAV; GIF, WebP and PNG through Pillow. Every file appears whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from ..errors import InvalidInputError, MissingDependencyError, OpenSoraError
from ..serialization.atomic import atomic_file, atomic_folder
from .record import EXIF_DESCRIPTION, Record
from .yuv import to_yuv420

if TYPE_CHECKING:
    from .images import Pixels
    from .video import Video

# Browsers show frames of 10 ms or less for 100 ms; GIF counts in 10 ms, WebP in 1 ms.
_MAX_RATES = {".gif": 50.0, ".webp": 90.0}
SUFFIXES = (".mp4", ".gif", ".webp", ".png")
_SMALL_BYTES = 16 << 20  # of raw frames
_MAX_SIDES = {".mp4": 16384, ".gif": 65535, ".webp": 16383}


def save(
    video: Video,
    path: str | os.PathLike[str],
    *,
    scale: int = 1,
    crf: int = 12,
    lossless: bool | None = None,
    overwrite: bool = True,
) -> Path:
    """Write `video` in the format that the suffix of `path` names: see `Video.save`."""
    target = Path(path)
    suffix = check(video, path, scale=scale, crf=crf, lossless=lossless)
    record = Record(video.fps, video.num_frames, video.height, video.width, scale, dict(video.metadata))
    pictures = enlarged(video, scale)
    if not suffix:
        _write_folder(target, pictures, record, overwrite)
        return target
    with atomic_file(target, overwrite=overwrite) as temporary:
        if suffix == ".mp4":
            write_mp4(temporary, pictures, record, crf)
        elif suffix == ".gif":
            _write_gif(temporary, pictures, record)
        elif suffix == ".webp":
            write_webp(temporary, pictures, record, is_small(video) if lossless is None else lossless)
        else:
            _write_png(temporary, next(pictures), record)
    return target


def check(
    video: Video, path: str | os.PathLike[str], *, scale: int = 1, crf: int = 12, lossless: bool | None = None
) -> str:
    """Refuse what the format could not hold, as `save` does; return the suffix, "" for a folder of frames.

    Looks at length, size and rate of `video`, not at its frames: one of zeros tells beforehand.
    """
    target = Path(path)
    suffix = suffix_of(path)
    _check_options(suffix, scale, crf, lossless)
    _check_fits(video, target, suffix, scale)
    return suffix


def suffix_of(path: str | os.PathLike[str]) -> str:
    """The suffix in lower case, "" for a folder of frames; InvalidInputError for a format that is not written."""
    text, target = os.fspath(path), Path(path)
    suffix = target.suffix.lower()
    if text and (text.endswith(("/", os.sep)) or not suffix or (target.is_dir() and suffix not in SUFFIXES)):
        return ""
    if text and target.is_dir():
        raise InvalidInputError(f"{text} is a folder: name a file in it, or write '{text}/' to fill it with PNG frames")
    if suffix not in SUFFIXES:
        raise InvalidInputError(
            f"cannot save a video as {suffix!r} ({text!r}); choose .mp4, .gif, .webp, .png for one frame, or a path "
            "that ends in '/' for a folder of PNG frames"
        )
    return suffix


def enlarged(video: Video, scale: int) -> Iterator[Pixels]:
    """The frames `[H, W, 3]` one by one, every pixel repeated `scale` times each way."""
    for pixels in video.frames:
        yield pixels if scale == 1 else pixels.repeat(scale, axis=0).repeat(scale, axis=1)


def is_small(video: Video) -> bool:
    """Whether lossless WebP costs little; of a tiny clip it is smaller than a lossy one, and colours stay crisp."""
    return video.frames.nbytes <= _SMALL_BYTES


def _check_options(suffix: str, scale: int, crf: int, lossless: bool | None) -> None:
    if not isinstance(scale, int) or not 1 <= scale <= 64:
        raise InvalidInputError(f"scale={scale!r} must be a whole number from 1 to 64")
    if not isinstance(crf, int) or not 0 <= crf <= 51:
        raise InvalidInputError(f"crf={crf!r} must be a whole number from 0 (best) to 51 (smallest file)")
    if lossless and suffix in (".mp4", ".gif"):
        raise InvalidInputError(f"{suffix} cannot be lossless here; save as .webp or as a folder of PNG frames")


def _check_fits(video: Video, target: Path, suffix: str, scale: int) -> None:
    """What a format cannot hold is refused before anything is written."""
    fastest = _MAX_RATES.get(suffix)
    if fastest is not None and video.fps > fastest:
        raise InvalidInputError(
            f"{suffix} shows at most {fastest:g} frames a second, the video has {video.fps:g}: save it as .mp4, or "
            f"video.resample({fastest:g})"
        )
    side = max(video.height, video.width) * scale
    if side > _MAX_SIDES.get(suffix, side):
        raise InvalidInputError(
            f"{suffix} holds at most {_MAX_SIDES[suffix]} pixels a side, the video would have {side}"
        )
    if suffix == ".png" and video.num_frames > 1:
        raise InvalidInputError(
            f"{target} can hold one frame, the video has {video.num_frames}: make one frame only, save all into the "
            f"folder '{target.with_suffix('')}/', or save a contact sheet"
        )


def write_mp4(path: Path, pictures: Iterable[Pixels], record: Record, crf: int) -> None:
    """H.264 in yuv420p, tagged BT.709, limited range; odd sizes padded by repeating the last row or column."""
    import av
    from av.error import FFmpegError

    if "libx264" not in av.codecs_available:
        raise MissingDependencyError("this PyAV has no H.264 encoder; install the one from PyPI: pip install av")
    try:
        # "file:" and an absolute path, as FFmpeg would take a colon in a name for a protocol
        with av.open(f"file:{path.absolute()}", "w", format="mp4", options={"movflags": "faststart"}) as container:
            container.metadata["comment"] = record.to_comment()
            stream = _h264_stream(container, record, crf)
            for index, pixels in enumerate(pictures):
                frame = av.VideoFrame.from_ndarray(to_yuv420(_even(pixels)), format="yuv420p")
                frame.pts = index
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    except FFmpegError as error:
        size = f"{record.width * record.scale}x{record.height * record.scale}"
        raise OpenSoraError(f"the H.264 encoder failed on {record.num_frames} frames of {size}: {error}") from error


def _h264_stream(container: Any, record: Record, crf: int) -> Any:
    from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc

    stream = container.add_stream("libx264", rate=Fraction(record.fps).limit_denominator(1001))
    height, width = record.height * record.scale, record.width * record.scale
    stream.height, stream.width = height + height % 2, width + width % 2
    stream.pix_fmt = "yuv420p"
    stream.options = {"crf": str(crf), "preset": "medium"}
    context = stream.codec_context  # tagged, or players guess the matrix from the size and shift the colours
    context.colorspace = Colorspace.ITU709
    context.color_primaries = ColorPrimaries.BT709
    context.color_trc = ColorTrc.BT709
    context.color_range = ColorRange.MPEG
    return stream


def _even(pixels: Pixels) -> Pixels:
    H, W, _ = pixels.shape
    return np.pad(pixels, ((0, H % 2), (0, W % 2), (0, 0)), mode="edge")


def write_webp(file: Path | IO[bytes], pictures: Iterable[Pixels], record: Record, lossless: bool) -> None:
    """Animated WebP that loops for ever."""
    from PIL import Image

    exif = Image.Exif()
    exif[EXIF_DESCRIPTION] = record.to_comment()
    first, *rest = (Image.fromarray(pixels) for pixels in pictures)
    durations = _durations(record, unit=1)
    options: dict[str, Any] = {"lossless": lossless, "quality": 90, "method": 4, "exif": exif, "loop": 0}
    first.save(file, "WEBP", save_all=True, append_images=rest, duration=durations, **options)


def _write_gif(path: Path, pictures: Iterable[Pixels], record: Record) -> None:
    from PIL import Image

    first, *rest = (Image.fromarray(pixels) for pixels in pictures)
    options: dict[str, Any] = {"duration": _durations(record, unit=10), "loop": 0, "comment": record.to_comment()}
    first.save(path, "GIF", save_all=True, append_images=rest, **options)


def _durations(record: Record, unit: int) -> list[int]:
    """Milliseconds of each frame in whole units, so that no rounding adds up along the clip."""
    times = [round(index * 1000 / (record.fps * unit)) * unit for index in range(record.num_frames + 1)]
    return [later - sooner for sooner, later in pairwise(times)]


def _write_png(path: Path, pixels: Pixels, record: Record) -> None:
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("Comment", record.to_comment())
    Image.fromarray(pixels).save(path, "PNG", pnginfo=info)


def _write_folder(folder: Path, pictures: Iterable[Pixels], record: Record, overwrite: bool) -> None:
    with atomic_folder(folder, overwrite=overwrite) as temporary:
        for index, pixels in enumerate(pictures):
            _write_png(temporary / f"frame_{index:04d}.png", pixels, record)
