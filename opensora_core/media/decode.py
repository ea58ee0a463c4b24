"""Reading clips: video files through PyAV, animations and stills through Pillow, folders of PNG frames.

Every source becomes a stream of timed frames that is cut, resampled and bounded while it is decoded, so that nothing is
held in memory but what is returned.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np

from ..errors import FileFormatError, InvalidInputError
from .decode_picture import open_folder, open_picture
from .decode_stream import open_stream
from .images import Pixels, checked_file, fit
from .limits import MediaLimits
from .record import Record
from .source import Show, Source, at_rate
from .video import Video, checked_fps

DEFAULT_FPS = 24.0  # for stills and folders that carry no rate


def read_video(
    path: str | os.PathLike[str],
    *,
    limits: MediaLimits | None = None,
    start: int = 0,
    num_frames: int | None = None,
    fps: float | None = None,
    size: tuple[int, int] | None = None,
) -> Video:
    """Read a clip: a video file, an animated GIF, WebP, PNG or AVIF, a still image (one frame), a folder of PNG frames.

    `fps` resamples to that rate by the nearest frame in time; without it, frames come as they are stored, at their
    average rate. `start` and `num_frames` count frames at the rate that is returned; where the clip ends sooner, fewer
    come back. `size` (height, width) fits every frame as it is decoded, see `fit`, so that no large one is kept. Stills
    and folders without a rate take `fps`, or 24. Rotation written by cameras is applied, transparency composited over
    white. A file that `Video.save` wrote comes back at its original size, rate and metadata.

    Raises InvalidInputError for a missing file or a start beyond the end, FileFormatError for a file that is damaged or
    no video, LimitError for one beyond `limits` (before decoding where the header tells, else while decoding).
    """
    limits = limits or MediaLimits()
    _check_range(start, num_frames)
    wanted = None if fps is None else checked_fps(fps)
    stop = None if num_frames is None else start + num_frames
    with ExitStack() as stack:
        claims = limits if size is None else replace(limits, total_bytes=sys.maxsize)  # of frames that are not kept
        source = _open(path, claims, start, stop, wanted, stack)
        rate = wanted or source.fps or DEFAULT_FPS
        frames = _pixels(islice(_frames(source, rate), start, stop), source.record)
        if size is not None:
            frames = (fit(pixels, *size) for pixels in frames)
        kept = _bounded(source.name, frames, limits, start, rate)
    if not kept:
        raise InvalidInputError(f"start={start} is beyond the end of {source.name}; count from 0 and start sooner")
    stacked = np.stack(kept)
    stacked.flags.writeable = False
    return Video(stacked, rate, source.record.metadata if source.record else {})


@dataclass(frozen=True)
class MediaInfo:
    """What a file holds: frames at its own rate (as the header says, or counted), their size, and that rate."""

    num_frames: int
    height: int
    width: int
    fps: float


def probe_video(path: str | os.PathLike[str], *, limits: MediaLimits | None = None) -> MediaInfo:
    """Look at a file of any kind that `read_video` reads, decoding its first frame only, where the header counts them.

    Raises what `read_video` raises.
    """
    limits = limits or MediaLimits()
    with ExitStack() as stack:
        source = _open(path, limits, 0, 1, None, stack)
        rate = source.fps or DEFAULT_FPS
        frames = _pixels(_frames(source, rate), source.record)
        height, width, _ = next(frames).shape
        count = source.num_frames or 1 + sum(1 for _ in frames)
    return MediaInfo(count, height, width, rate)


def _open(
    path: str | os.PathLike[str],
    limits: MediaLimits,
    start: int,
    stop: int | None,
    wanted: float | None,
    stack: ExitStack,
) -> Source:
    if isinstance(path, str | os.PathLike) and os.path.isdir(path):
        return open_folder(Path(path), limits)
    checked = checked_file(path, limits)
    file = stack.enter_context(checked.open("rb"))
    picture = open_picture(file, str(checked), limits)
    return picture or open_stream(file, str(checked), limits, start, stop, wanted, stack)


def _frames(source: Source, rate: float) -> Iterator[Show]:
    if source.fps is None or (source.steady and rate == source.fps):
        return (frame.show for frame in source.frames)
    return at_rate(source.frames, rate, source.fps)


def _bounded(name: str, frames: Iterator[Pixels], limits: MediaLimits, start: int, rate: float) -> list[Pixels]:
    kept: list[Pixels] = []
    for pixels in frames:
        H, W, _ = pixels.shape
        if kept and pixels.shape != kept[0].shape:
            first = kept[0].shape
            raise FileFormatError(
                f"frame {len(kept)} of {name} is {W}x{H}, the first is {first[1]}x{first[0]}: bring all to one size"
            )
        reached = start + len(kept) + 1
        limits.check_length(name, reached, reached / rate)
        limits.check_total(name, len(kept) + 1, H, W)
        kept.append(pixels)
    return kept


def _pixels(frames: Iterator[Show], record: Record | None) -> Iterator[Pixels]:
    """Frames at the size they had when `Video.save` enlarged them."""
    for show in frames:
        pixels = show()
        if record is not None and _is_unedited(pixels, record):
            s = record.scale
            rows = slice(s // 2, s * record.height, s)  # the middle of each enlarged pixel; padding lies beyond
            columns = slice(s // 2, s * record.width, s)
            pixels = np.ascontiguousarray(pixels[rows, columns])
        yield pixels


def _is_unedited(pixels: Pixels, record: Record) -> bool:
    """Whether a frame still has the size it was saved with: programs that resize a video keep its comment."""
    H, W, _ = pixels.shape
    height, width = record.height * record.scale, record.width * record.scale
    return H in (height, height + height % 2) and W in (width, width + width % 2)


def _check_range(start: int, num_frames: int | None) -> None:
    if not isinstance(start, int) or start < 0:
        raise InvalidInputError(f"start={start!r} must be a frame number, 0 or above")
    if num_frames is not None and (not isinstance(num_frames, int) or num_frames < 1):
        raise InvalidInputError(f"num_frames={num_frames!r} must be at least 1, or None for all")
