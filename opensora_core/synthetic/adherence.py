"""How often clips show what was asked for, attribute by attribute."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInputError
from .reader import Reading, read
from .scene import RESIZING_MOTIONS, Scene

ATTRIBUTES = ("background", "color", "shape", "motion", "size")


@dataclass(frozen=True)
class Adherence:
    """Shares of n clips, 0 to 1, that show the attribute asked for; `all` shows every one of them."""

    background: float
    color: float
    shape: float
    motion: float
    size: float
    all: float
    iou: float  # mean overlap with the shape read, right or wrong
    n: int

    def to_dict(self) -> dict[str, float]:
        """A form that JSON can hold."""
        return asdict(self)


def score(videos: Sequence[NDArray[np.uint8]], scenes: Sequence[Scene], *, still_images: bool = False) -> Adherence:
    """Reads each clip uint8 [T, H, W, 3] and compares it with its scene.

    Any size is right for what is to grow or shrink. With `still_images` any motion is right.

    Raises:
        InvalidInputError: if there are no clips, or not as many as scenes.
    """
    if len(videos) != len(scenes) or not scenes:
        raise InvalidInputError(f"{len(videos)} clips and {len(scenes)} scenes: give one scene for each clip")
    readings = [read(video) for video in videos]
    right = np.array([_right(reading, scene, still_images) for reading, scene in zip(readings, scenes, strict=True)])
    shares = dict(zip(ATTRIBUTES, right.mean(0).tolist(), strict=True))
    return Adherence(
        **shares,
        all=float(right.all(1).mean()),
        iou=float(np.mean([reading.iou for reading in readings])),
        n=len(scenes),
    )


def misread(video: NDArray[np.uint8], scene: Scene, *, still_image: bool = False) -> tuple[str, ...]:
    """The attributes that a clip uint8 [T, H, W, 3] shows otherwise than its scene says."""
    right = _right(read(video), scene, still_image)
    return tuple(name for name, good in zip(ATTRIBUTES, right, strict=True) if not good)


def _right(reading: Reading, scene: Scene, still_image: bool) -> list[bool]:
    right = {name: getattr(reading, name) == getattr(scene, name) for name in ATTRIBUTES}
    right["size"] |= scene.motion in RESIZING_MOTIONS
    right["motion"] |= still_image
    return list(right.values())
