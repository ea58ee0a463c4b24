"""Video files as clips, through PyAV."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache, partial
from typing import IO, TYPE_CHECKING

import numpy as np

from ..errors import FileFormatError
from .images import Pixels
from .limits import MediaLimits
from .record import Record
from .source import Show, Source, TimedFrame
from .whole import check_whole

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

# Containers whose readers open nothing but the given file; not, for instance, playlists, which name files and URLs.
CONTAINERS = "mov,matroska,avi,mpegts,mpeg,flv,asf,ogg,ivf,h264,hevc,m4v,mpegvideo,yuv4mpegpipe,mxf,dv"
_UNSPECIFIED = 2  # AVCOL_SPC_UNSPECIFIED
_HD_HEIGHT = 720  # from here on players take untagged video as BT.709, below as BT.601


def open_stream(
    file: IO[bytes],
    name: str,
    limits: MediaLimits,
    start: int,
    stop: int | None,
    wanted: float | None,
    stack: ExitStack,
) -> Source:
    """The clip in a video file; what its header claims is held against the limits before anything is decoded."""
    import av

    check_whole(file, name)
    with _reading(name):
        container = stack.enter_context(
            av.open(file, "r", container_options={"format_whitelist": CONTAINERS}, metadata_errors="replace")
        )
    if not container.streams.video:
        raise FileFormatError(f"{name} holds no video stream, only {_kinds(container)}")
    stream = container.streams.video[0]
    if stream.codec_context.height < _HD_HEIGHT:
        stream.codec_context.thread_count = 1  # starting threads takes longer than decoding
    else:
        stream.thread_type = "AUTO"
    stream.codec_context.options = {"max_pixels": str(limits.frame_pixels)}  # sizes may change inside the stream
    record = Record.from_comment(container.metadata.get("comment"))
    fps = _rate(stream, record)
    seconds = _duration(container, stream)
    _check_claims(stream, name, limits, start, stop, wanted or fps, seconds)
    frames = _timed(_decoded(container, stream, name, limits), fps)
    claimed = stream.frames or round(seconds * fps)
    return Source(name, frames, fps, steady=wanted is None, num_frames=claimed, record=record)


def _decoded(container: InputContainer, stream: VideoStream, name: str, limits: MediaLimits) -> Iterator[VideoFrame]:
    """Frames in order of time; damage that the decoder would paper over is an error."""
    frames = container.decode(stream)
    count = 0
    while True:
        with _reading(f"frame {count} of {name}"):
            frame = next(frames, None)
        if frame is None:
            break
        if frame.is_corrupt:
            raise FileFormatError(f"frame {count} of {name} is damaged; copy, download or re-encode the file anew")
        count += 1
        limits.check_frame(name, frame.height, frame.width)
        limits.check_length(name, count, frame.time or 0.0)
        yield frame
    if not count:
        raise FileFormatError(f"{name} holds a video stream without a single frame; it may be cut off")


def _timed(frames: Iterator[VideoFrame], fps: float) -> Iterator[TimedFrame]:
    """Frames with their times from the first one on; a frame stays until the next one comes."""
    origin = 0.0
    previous: tuple[Show, float] | None = None
    length = 1 / fps
    for frame in frames:
        time = float(frame.time) if frame.time is not None else 0.0
        if previous is None:
            origin = time
            previous = _deferred(frame), 0.0
            continue
        begin = max(time - origin, previous[1]) if frame.time is not None else previous[1] + length
        yield TimedFrame(previous[0], previous[1], begin)
        previous = _deferred(frame), begin
    if previous is not None:
        yield TimedFrame(previous[0], previous[1], previous[1] + length)


def _deferred(frame: VideoFrame) -> Show:
    return cache(partial(to_rgb, frame))  # a frame that is repeated is converted once


def to_rgb(frame: VideoFrame) -> Pixels:
    """A decoded frame as uint8 `[H, W, 3]`, upright."""
    from av.video.reformatter import Colorspace, Interpolation

    # The default conversion repeats chroma samples; interpolating them gains 14 dB on smooth content.
    careful = Interpolation.BICUBIC | Interpolation.FULL_CHR_H_INT | Interpolation.ACCURATE_RND
    untagged_hd = frame.colorspace == _UNSPECIFIED and frame.height >= _HD_HEIGHT
    space = Colorspace.ITU709 if untagged_hd else None
    pixels = frame.reformat(format="rgb24", src_colorspace=space, interpolation=careful, threads=1).to_ndarray()
    quarter_turns = round(frame.rotation / 90) % 4  # counter-clockwise
    return np.ascontiguousarray(np.rot90(pixels, quarter_turns))


def _check_claims(
    stream: VideoStream,
    name: str,
    limits: MediaLimits,
    start: int,
    stop: int | None,
    rate: float,
    seconds: float,
) -> None:
    height, width = stream.codec_context.height, stream.codec_context.width
    limits.check_frame(name, height, width)
    available = round(seconds * rate) if seconds else stream.frames
    needed = available if stop is None else min(stop, available or stop)
    limits.check_length(name, needed, needed / rate)
    limits.check_total(name, max(0, needed - start), height, width)


def _duration(container: InputContainer, stream: VideoStream) -> float:
    """Seconds as the header claims, 0 when it is silent."""
    if stream.duration and stream.time_base:
        return max(0.0, float(stream.duration * stream.time_base))
    return max(0.0, (container.duration or 0) / 1_000_000)


def _rate(stream: VideoStream, record: Record | None) -> float:
    stored = float(stream.average_rate or stream.guessed_rate or 0) or 24.0
    if record is not None and abs(record.fps - stored) <= 0.01 * stored:
        return record.fps  # exact, where the container rounds
    return min(stored, 1000.0)


def _kinds(container: InputContainer) -> str:
    return ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"


@contextmanager
def _reading(name: str) -> Iterator[None]:
    """Turn what FFmpeg raises on damaged files into FileFormatError."""
    from av.error import FFmpegError

    try:
        yield
    except FFmpegError as error:
        raise FileFormatError(
            f"{name} cannot be read as a video or an image ({error.strerror}): it may be damaged, cut off, or of "
            "another kind than its suffix says; re-encode it, for instance with `ffmpeg -i INPUT -c:v libx264 out.mp4`"
        ) from error
