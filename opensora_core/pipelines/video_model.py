"""What every model that makes videos can be asked for, in terms of one `stream`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from ..checks import whole
from ..errors import InvalidInputError
from ..media.video import Video
from ..ops import Ops
from .inputs import as_video


class Wanted(Protocol):
    """A request, with every default of the model filled in."""

    @property
    def num_frames(self) -> int:
        """Of the finished video, what it begins with included."""

    @property
    def height(self) -> int:
        """Pixels."""

    @property
    def width(self) -> int:
        """Pixels."""

    @property
    def fps(self) -> float:
        """Frames per second."""

    @property
    def seed(self) -> int:
        """Of all noise."""

    def settings(self) -> Mapping[str, Any]:
        """All of it, by the names of the options."""


class VideoModel(ABC):
    """Text, image and clip to video."""

    ops: Ops

    @abstractmethod
    def request(self, **options: Any) -> Wanted:
        """What a generation with these options makes: None and what is not named are filled in, all is checked."""

    @abstractmethod
    def stream(
        self,
        prompt: str,
        *,
        image: Any = None,
        video: Video | None = None,
        condition_frames: int | None = None,
        **options: Any,
    ) -> Iterator[Any]:
        """Generate step by step: yields progress after every step and the finished Video at the end."""

    def generate_from_text(self, prompt: str, **options: Any) -> Video:
        """Make a video of what the prompt says; options as for `stream`, each with the model's own default."""
        return _last(self.stream(prompt, **options))

    def generate_from_image(self, image: Any, prompt: str = "", **options: Any) -> Video:
        """Make a video that begins with an image (path, PIL image or uint8 array [H, W, 3]), which is kept.

        The image is scaled to cover the video's size and cropped around its centre; the size is the model's own unless
        height and width are given. Other options as for `generate_from_text`.
        """
        if image is None:
            raise InvalidInputError("image=None must be a path, a PIL image or a uint8 array [H, W, 3]")
        return _last(self.stream(prompt, image=image, **options))

    def extend_video(
        self, video: Any, prompt: str = "", num_frames: int = 16, condition_frames: int | None = None, **options: Any
    ) -> Video:
        """Continue a video (Video, path or uint8 frames) by num_frames new frames; the given frames stay as they are.

        condition_frames: how many of its last frames the model sees, by default what suits it. Size and fps are the
        video's own (fps says the rate of frames that have none, by default 8); other options as for
        `generate_from_text`.
        """
        clip = as_video(video, options.get("fps"))
        total = clip.num_frames + whole("num_frames", num_frames, 1)
        return _last(self.stream(prompt, video=clip, num_frames=total, condition_frames=condition_frames, **options))

    def generate_custom(self, prompt: str, num_frames: int, height: int, width: int, **options: Any) -> Video:
        """Make a video of any length, size and aspect ratio; other options as for `generate_from_text`."""
        return self.generate_from_text(prompt, num_frames=num_frames, height=height, width=width, **options)


def _last(stream: Iterator[Any]) -> Video:
    for item in stream:
        if isinstance(item, Video):
            return item
    raise AssertionError("a stream ends with its video")
