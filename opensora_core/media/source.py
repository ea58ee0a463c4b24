"""What every reader hands to `read_video`: an opened clip as a stream of timed frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .images import Pixels
from .record import Record

Show = Callable[[], Pixels]
"""Gives the pixels [H, W, 3] of a frame; converting costs more than decoding, and many frames are dropped."""


@dataclass(frozen=True)
class TimedFrame:
    """A frame with the seconds from which until which it is shown."""

    show: Show
    start: float
    end: float


def shown(pixels: Pixels) -> Show:
    """A frame that has been converted already."""
    return lambda: pixels


@dataclass(frozen=True)
class Source:
    """An opened clip.

    `fps` is None where the file has no rate; `steady` says that its frames need no resampling to follow that rate.
    `num_frames` is what the header promises at that rate, 0 where it is silent.
    """

    name: str
    frames: Iterator[TimedFrame]
    fps: float | None
    steady: bool
    num_frames: int
    record: Record | None = None


def at_rate(frames: Iterator[TimedFrame], rate: float, nominal: float) -> Iterator[Show]:
    """Repeat or drop frames so that frame k of the result is the one nearest to k / rate.

    A frame that stays for long counts as repeated at the `nominal` rate of its source, hence the half interval.
    """
    index, end = 0, 0.0
    held: Show | None = None  # one frame is held back until it is known whether the clip lasts long enough for it
    last: Show | None = None
    for frame in frames:
        last, end = frame.show, frame.end
        while index / rate + 0.5 / nominal < end - 1e-9:
            if held is not None:
                yield held
            held = last
            index += 1
    count = max(1, round(end * rate))
    if held is not None and index <= count:
        yield held
    if last is not None:  # rounding may leave a place, which the last frame takes
        for _ in range(index, count):
            yield last
