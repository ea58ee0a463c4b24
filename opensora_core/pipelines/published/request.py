"""One request to a published release, checked before anything is read."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from typing import Any

from ...checks import number, whole
from ...errors import InvalidInputError
from ...releases.release import Release
from ...releases.task import Task
from ..config import NUMBERS, WHOLE
from .clips import Clip


@dataclass(frozen=True)
class PublishedRequest:
    """What to generate: frames, pixels, frame rate, sampler settings and the seed (0 is a seed)."""

    num_frames: int
    height: int
    width: int
    fps: float
    num_inference_steps: int
    guidance_scale: float
    image_guidance_scale: float
    seed: int

    @classmethod
    def create(cls, release: Release, **asked: Any) -> PublishedRequest:
        """Fill what was not asked (None) from the release's defaults and check every name and value.

        Raises InvalidInputError with the legal range or the nearest legal size.
        """
        names = [field.name for field in fields(cls)]
        if unknown := sorted(set(asked) - set(names)):
            raise InvalidInputError(f"unknown options {unknown}; known: {', '.join(names)}")
        values: dict[str, Any] = {}
        for name in names[:-1]:
            value = getattr(release, name) if asked.get(name) is None else asked[name]
            bounds = NUMBERS.get(name, NUMBERS["guidance_scale"])
            values[name] = whole(name, value, *WHOLE[name]) if name in WHOLE else number(name, value, *bounds)
        seed = asked.get("seed")
        seed = int.from_bytes(os.urandom(4), "little") if seed is None else whole("seed", seed, 0, 2**64 - 1)
        release.check_size(values["height"], values["width"])
        return cls(**values, seed=seed)

    def task(self, shape: tuple[int, int, int, int], clip: Clip) -> Task:
        """What the sampler of one clip works on."""
        return Task(
            shape,
            clip.num_frames,
            self.height,
            self.width,
            self.fps,
            self.num_inference_steps,
            self.guidance_scale,
            self.seed,
            self.image_guidance_scale,
            clip.index,
        )

    def settings(self) -> dict[str, Any]:
        """As recorded on the result."""
        return dict(vars(self))
