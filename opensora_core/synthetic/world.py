"""Which scenes there are: a choice of words from the full lists, split into trained and held-out ones."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInputError
from .renderer import render
from .scene import (
    BACKGROUNDS,
    COLORS,
    MOTIONS,
    NEW_MOTIONS,
    RESIZING_MOTIONS,
    SHAPES,
    SIZES,
    Scene,
    held_out,
    why_invisible,
)

Split = Literal["train", "heldout", "any"]


@dataclass(frozen=True)
class World:
    """A set of scenes, every combination of its lists that can be seen, each motion equally often.

    `free_placement` is the probability (0 to 1) that a clip starts anywhere in the frame instead of near the middle.
    What grows or shrinks is always of size "medium", the size that prompts need not name, whatever `sizes` holds.

    Raises:
        InvalidInputError: for a word outside the full lists, an empty list or a probability out of range.
    """

    shapes: tuple[str, ...]
    colors: tuple[str, ...]
    backgrounds: tuple[str, ...]
    sizes: tuple[str, ...]
    motions: tuple[str, ...]
    free_placement: float

    def __post_init__(self) -> None:
        full = {"shapes": SHAPES, "colors": COLORS, "backgrounds": BACKGROUNDS, "sizes": SIZES}
        full["motions"] = (*MOTIONS, *NEW_MOTIONS)
        for name, legal in full.items():
            words = getattr(self, name)
            strange = [word for word in words if word not in legal]
            if strange or not words:
                raise InvalidInputError(f"{name}={words!r} must name one or more of {', '.join(legal)}")
        if not 0 <= self.free_placement <= 1:
            raise InvalidInputError(f"free_placement={self.free_placement} is a probability, from 0 to 1")

    def sample(self, rng: np.random.Generator, split: Split = "any") -> Scene:
        """A random scene: of those that training may see, of those it never sees, or of any."""
        scenes = self.scenes(split)
        if not scenes:
            raise InvalidInputError(f"this world has no scene in split {split!r}: give it more words")
        return scenes[rng.integers(len(scenes))]

    def scenes(self, split: Split = "any") -> tuple[Scene, ...]:
        """All scenes in a fixed order; what grows or shrinks is repeated once per size, to be drawn as often."""
        if split not in get_args(Split):
            raise InvalidInputError(f"split={split!r} is not one of {', '.join(get_args(Split))}")
        every = _scenes(self.shapes, self.colors, self.backgrounds, self.sizes, self.motions)
        return every[split]

    def render(
        self,
        scene: Scene,
        rng: np.random.Generator,
        *,
        num_frames: int = 17,
        height: int = 64,
        width: int = 64,
        fps: float = 8.0,
        start: float = 0.0,
    ) -> NDArray[np.uint8]:
        """Frames uint8 [T, H, W, 3] as by `render`, placed freely with this world's probability."""
        free = bool(rng.random() < self.free_placement)
        return render(scene, rng, num_frames=num_frames, height=height, width=width, fps=fps, start=start, free=free)


@lru_cache(maxsize=8)
def _scenes(
    shapes: tuple[str, ...],
    colors: tuple[str, ...],
    backgrounds: tuple[str, ...],
    sizes: tuple[str, ...],
    motions: tuple[str, ...],
) -> dict[str, tuple[Scene, ...]]:
    every = [
        Scene(shape, color, background, "medium" if motion in RESIZING_MOTIONS else size, motion)
        for shape, color, background, size, motion in product(shapes, colors, backgrounds, sizes, motions)
        if why_invisible(shape, color, background, motion) is None
    ]
    return {
        "any": tuple(every),
        "train": tuple(scene for scene in every if not held_out(scene)),
        "heldout": tuple(scene for scene in every if held_out(scene)),
    }


EASY = World(
    shapes=("circle", "square", "triangle", "cross"),
    colors=COLORS,
    backgrounds=BACKGROUNDS,
    sizes=("medium", "large"),
    motions=("right", "left", "up", "down", "grow", "shrink", "orbit", "still"),
    free_placement=0.0,
)
"""Where learning is quickest to judge: four shapes, eight motions, all near the middle of the frame."""

FULL = World(SHAPES, COLORS, BACKGROUNDS, SIZES, MOTIONS, free_placement=1.0)
"""The whole world, which the embedded model covers."""

SWING = replace(EASY, motions=NEW_MOTIONS)
"""The easy world's objects in a motion that neither of the two has: to fine-tune on."""
