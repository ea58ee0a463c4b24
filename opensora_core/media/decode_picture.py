"""Stills, animations and folders of PNG frames as clips, through Pillow."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

from ..errors import FileFormatError
from .images import checked_file, decoding, open_image, read_image, to_rgb, upright
from .limits import MediaLimits
from .record import EXIF_DESCRIPTION, Record
from .source import Source, TimedFrame, shown

if TYPE_CHECKING:
    from PIL import Image

FRAME_NAME = re.compile(r"frame_(\d{4,})\.png")
_ANIMATED = ("GIF", "WEBP", "PNG", "AVIF")  # not MPO and TIFF, whose further pages are no later moments
_JITTER = 10.0  # ms; GIF counts in these: 24 fps alternates 40 and 50


def open_picture(file: IO[bytes], name: str, limits: MediaLimits) -> Source | None:
    """The clip in an image file, or None when it is no image."""
    image = open_image(file, name, limits)
    if image is None:
        file.seek(0)
        return None
    record = _record(image, name)
    with decoding(name):
        count = getattr(image, "n_frames", 1) if image.format in _ANIMATED else 1
    limits.check_length(name, count, 0.0)
    if count == 1:
        return _still(image, name, record)
    fps, steady = _rhythm(image, name, count, record)
    frames = _animation(image, name, count, fps if steady else None)
    return Source(name, frames, fps, steady, count, record)


def open_folder(folder: Path, limits: MediaLimits) -> Source:
    """The clip in a folder of files named frame_0000.png, frame_0001.png, and so on."""
    numbered = sorted(
        (int(match[1]), entry) for entry in folder.iterdir() if (match := FRAME_NAME.fullmatch(entry.name))
    )
    if not numbered:
        raise FileFormatError(f"{folder} holds no frames; expected files named frame_0000.png, frame_0001.png, ...")
    limits.check_length(str(folder), len(numbered), 0.0)
    paths = [path for _, path in numbered]
    with open(checked_file(paths[0], limits), "rb") as file:
        image = open_image(file, str(paths[0]), limits)
        record = _record(image, str(paths[0])) if image else None
    fps = record.fps if record else None
    step = 1 / (fps or 1.0)
    frames = (
        TimedFrame(shown(read_image(path, limits=limits)), index * step, (index + 1) * step)
        for index, path in enumerate(paths)
    )
    return Source(str(folder), frames, fps, steady=True, num_frames=len(paths), record=record)


def _record(image: Image.Image, name: str) -> Record | None:
    with decoding(f"the comment of {name}"):
        comment = image.info.get("comment") or image.info.get("Comment") or image.getexif().get(EXIF_DESCRIPTION)
    return Record.from_comment(comment)


def _still(image: Image.Image, name: str, record: Record | None) -> Source:
    """One image; encoders store a clip without motion as one, which then stays for the whole time."""
    with decoding(name):
        pixels = to_rgb(upright(image))
    seconds = record.num_frames / record.fps if record else 0.0
    frames = iter([TimedFrame(shown(pixels), 0.0, seconds)])
    count = record.num_frames if record else 1
    return Source(name, frames, record.fps if record else None, steady=False, num_frames=count, record=record)


def _animation(image: Image.Image, name: str, count: int, steady_fps: float | None) -> Iterator[TimedFrame]:
    start = 0.0
    for index in range(count):
        with decoding(name):
            image.seek(index)
            pixels = to_rgb(image)
            end = (index + 1) / steady_fps if steady_fps else start + _milliseconds(image) / 1000
        yield TimedFrame(shown(pixels), start, end)
        start = end


def _rhythm(image: Image.Image, name: str, count: int, record: Record | None) -> tuple[float, bool]:
    """The rate of an animation, and whether its frames keep it."""
    if record is not None:
        return record.fps, count == record.num_frames
    durations = []
    for index in range(count):
        with decoding(name):
            image.seek(index)
            image.load()
            durations.append(_milliseconds(image))
    if max(durations) - min(durations) <= _JITTER:
        return count * 1000 / sum(durations), True
    return 1000 / min(durations), False


def _milliseconds(image: Image.Image) -> float:
    """How long the current frame stays; browsers take up to 10 ms as "unset" and show such frames for 100 ms."""
    milliseconds = float(image.info.get("duration") or 0)
    return milliseconds if milliseconds > 10 else 100.0
