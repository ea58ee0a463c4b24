"""`Video`: the frames a pipeline returns, with their rate and how they were made."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..errors import InvalidInputError
from .record import plain_metadata

if TYPE_CHECKING:
    from PIL import Image

    from .limits import MediaLimits

Frames = npt.NDArray[np.uint8]

MAX_FPS = 1000.0


@dataclass(frozen=True, eq=False)
class Video:
    """A clip: `frames` uint8 `[T, H, W, 3]` (RGB, 0..255, read-only), `fps` frames a second, `metadata` (JSON types).

    `len(video)` is T; `video[3]` and `video[4:12]` are Videos, along time; `a + b` plays one after the other. A step,
    as in `video[::2]`, lowers fps with it, so that the speed of what is seen stays. In a notebook it shows itself.

    Raises InvalidInputError when frames are not uint8 `[T, H, W, 3]` with T, H, W >= 1, when fps is not in (0, 1000],
    or when metadata does not fit into JSON. A writable array is copied, a read-only one is kept as it is.
    """

    frames: Frames
    fps: float
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "frames", _checked_frames(self.frames))
        object.__setattr__(self, "fps", checked_fps(self.fps))
        object.__setattr__(self, "metadata", plain_metadata(self.metadata))

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """`(T, H, W, 3)`."""
        return self.num_frames, self.height, self.width, 3

    @property
    def num_frames(self) -> int:
        """T."""
        return int(self.frames.shape[0])

    @property
    def height(self) -> int:
        """Rows of a frame, in pixels."""
        return int(self.frames.shape[1])

    @property
    def width(self) -> int:
        """Columns of a frame, in pixels."""
        return int(self.frames.shape[2])

    @property
    def duration(self) -> float:
        """Seconds from the first frame until the last one has been shown: T / fps."""
        return self.num_frames / self.fps

    def __len__(self) -> int:
        return self.num_frames

    def __iter__(self) -> Iterator[Video]:
        return (self[index] for index in range(self.num_frames))

    def __getitem__(self, index: int | slice) -> Video:
        if isinstance(index, slice):
            frames = self.frames[index]
            if not len(frames):
                raise InvalidInputError(f"video[{_text(index)}] is empty: the video has {self.num_frames} frames")
            return Video(frames, self.fps / abs(index.step or 1), self.metadata)
        if not -self.num_frames <= index < self.num_frames:
            raise IndexError(f"video[{index}]: the video has {self.num_frames} frames")
        position = index % self.num_frames
        return Video(self.frames[position : position + 1], self.fps, self.metadata)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Video):
            return NotImplemented
        same = self.fps == other.fps and self.metadata == other.metadata
        return same and np.array_equal(self.frames, other.frames)

    __hash__ = None  # type: ignore[assignment]  # equal by content, and content is large

    def __reduce__(self) -> tuple[type[Video], tuple[Frames, float, dict[str, Any]]]:
        return Video, (self.frames, self.fps, dict(self.metadata))  # an unpickled array is writable: check it anew

    def __repr__(self) -> str:
        return f"Video({self.num_frames} frames, {self.width}x{self.height}, {self.fps:g} fps, {self.duration:.3g} s)"

    def __add__(self, other: Video) -> Video:
        if not isinstance(other, Video):
            return NotImplemented
        return Video.concatenate([self, other])

    @staticmethod
    def concatenate(videos: Sequence[Video]) -> Video:
        """One clip after the other; all of one size and one rate.

        The metadata of the parts is kept once where all agree, and as the list `metadata["parts"]` where they differ.
        Raises InvalidInputError for no videos, or where size or rate differ.
        """
        if not videos:
            raise InvalidInputError("concatenate needs at least one video, got none")
        first = videos[0]
        for number, video in enumerate(videos):
            if video.shape[1:] != first.shape[1:] or video.fps != first.fps:
                raise InvalidInputError(
                    f"video {number} is {video}, the first is {first}: bring both to one size with fit(height, width) "
                    "and to one rate with resample(fps)"
                )
        same = all(video.metadata == first.metadata for video in videos)
        metadata = first.metadata if same else {"parts": [video.metadata for video in videos]}
        return Video(_locked(np.concatenate([video.frames for video in videos])), first.fps, metadata)

    def resample(self, fps: float) -> Video:
        """The same clip at another rate: each new frame is the one nearest in time, none is blended."""
        fps = checked_fps(fps)
        count = max(1, round(self.duration * fps))
        nearest = np.floor(np.arange(count) * (self.fps / fps) + 0.5).astype(int)
        return Video(_locked(self.frames[np.minimum(nearest, self.num_frames - 1)]), fps, self.metadata)

    def fit(self, height: int, width: int) -> Video:
        """The clip at another size: resized to cover `height` × `width`, the overhang cropped evenly on both sides."""
        from .images import fit

        return Video(_locked(fit(self.frames, height, width)), self.fps, self.metadata)

    def psnr(self, other: Video) -> float:
        """Peak signal-to-noise ratio over all frames, in dB: higher is closer, `inf` when every pixel is equal."""
        return psnr(self.frames, other.frames)

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        scale: int = 1,
        crf: int = 12,
        lossless: bool | None = None,
        overwrite: bool = True,
    ) -> Path:
        """Write the video in the format its suffix names, whole or not at all, and return the path.

        - `.mp4`: H.264, yuv420p, BT.709, index in front: plays in browsers, QuickTime, Windows and on phones. `crf` is
          the encoder's quality (0 best, 51 worst). yuv420p halves the resolution of colour and needs even sizes: odd
          ones are padded by one repeated row or column, which `Video.load` takes away again.
        - `.gif`: at most 256 colours a frame and 50 frames a second; loops.
        - `.webp`: animated, loops, at most 90 frames a second; `lossless` keeps every pixel, and is the default up to
          16 MiB of raw frames, where it costs little.
        - `.png`: one image; the video must have one frame.
        - an existing folder, a path that ends in "/", or one without suffix: PNG files frame_0000.png and so on, with a
          manifest. An older folder is replaced as a whole, and only if it is empty or was written by this library.

        `scale` repeats every pixel that many times each way, so that a tiny video can be watched at a pleasant size; an
        even one also keeps its colours crisp in mp4. Rate, size and metadata are written into the file's comment;
        `Video.load` reads them and undoes `scale`. With `overwrite=False` whatever exists is refused.

        Raises InvalidInputError for an unknown suffix, a path that cannot be written, or options outside their range.
        """
        from .encode import save

        return save(self, path, scale=scale, crf=crf, lossless=lossless, overwrite=overwrite)

    @staticmethod
    def load(path: str | os.PathLike[str], *, limits: MediaLimits | None = None) -> Video:
        """Read a video, an animated or still image, or a folder of PNG frames: see `read_video`."""
        from .decode import read_video

        return read_video(path, limits=limits)

    def contact_sheet(
        self, *, columns: int | None = None, scale: float | None = None, every: int = 1, labels: bool = True
    ) -> Image.Image:
        """Frames side by side in one image, in reading order, each with its number: see `display.contact_sheet`."""
        from .display import contact_sheet

        return contact_sheet(self, columns=columns, scale=scale, every=every, labels=labels)

    def _repr_html_(self) -> str:
        from .display import to_html

        return to_html(self)


def psnr(a: Frames, b: Frames) -> float:
    """Peak signal-to-noise ratio of uint8 frames of one shape, in dB; `inf` when every pixel is equal.

    Raises InvalidInputError when the shapes differ.
    """
    if a.shape != b.shape:
        raise InvalidInputError(f"psnr compares videos of one shape: {a.shape} against {b.shape}")
    total = 0.0
    for ours, theirs in zip(a, b, strict=True):  # one by one: float64 of a long clip takes much memory
        total += float(np.square(ours.astype(np.float64) - theirs).sum())
    return 10 * math.log10(255**2 * a.size / total) if total else math.inf


def checked_fps(fps: float) -> float:
    """`fps` as a float in (0, 1000], or InvalidInputError."""
    try:
        rate = float(fps)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"fps={fps!r} is not a number; expected frames a second, such as 24") from error
    if not 0 < rate <= MAX_FPS:
        raise InvalidInputError(f"fps={fps!r} is out of range; expected above 0 and at most {MAX_FPS:g}")
    return rate


def _checked_frames(frames: object) -> Frames:
    if not isinstance(frames, np.ndarray):
        raise InvalidInputError(f"frames are a {type(frames).__name__}; expected a uint8 array of shape [T, H, W, 3]")
    if frames.ndim != 4 or frames.shape[3] != 3 or 0 in frames.shape:
        hint = "; add the time axis with frames[None]" if frames.ndim == 3 and frames.shape[2] == 3 else ""
        raise InvalidInputError(f"frames have the shape {list(frames.shape)}; expected [T, H, W, 3], none zero{hint}")
    if frames.dtype != np.uint8:
        hint = "; for values in 0..1: (frames * 255).round().astype(np.uint8)" if frames.dtype.kind == "f" else ""
        raise InvalidInputError(f"frames are {frames.dtype}; expected uint8 in 0..255{hint}")
    return _locked(frames.copy()) if frames.flags.writeable else frames


def _locked(frames: Frames) -> Frames:
    """An array nobody else holds, made read-only where it stands: a Video then need not copy it."""
    frames.flags.writeable = False
    return frames


def _text(index: slice) -> str:
    start, stop, step = ("" if part is None else str(part) for part in (index.start, index.stop, index.step))
    return f"{start}:{stop}" + (f":{step}" if step else "")
