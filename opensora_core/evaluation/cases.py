"""What a model is asked: held-out scenes, their prompts and their real clips, the same whatever model is asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from ..errors import InvalidInputError
from ..media.video import Frames
from ..random import generator
from ..synthetic.motion import SECONDS
from ..synthetic.prompts import describe
from ..synthetic.scene import Scene
from ..synthetic.world import World

if TYPE_CHECKING:
    from ..pipelines.config import OpenSoraConfig

Wording = Literal["mixed", "canonical", "free"]


@dataclass(frozen=True)
class Case:
    """One question: a scene, the prompt that describes it, and the seed to generate with."""

    index: int
    scene: Scene
    prompt: str

    @property
    def seed(self) -> int:
        """Sample i is generated with seed i."""
        return self.index


@dataclass(frozen=True)
class ClipShape:
    """Length, size and rate of the clips that are compared."""

    num_frames: int
    height: int
    width: int
    fps: float

    @classmethod
    def of(cls, config: OpenSoraConfig, num_frames: int | None = None) -> ClipShape:
        """The model's own; with another number of frames, at the rate that shows one full motion (images: any)."""
        if num_frames is None:
            return cls(config.num_frames, config.height, config.width, config.fps)
        if num_frames < 1:
            raise InvalidInputError(f"num_frames={num_frames} must be at least 1")
        fps = (num_frames - 1) / SECONDS if num_frames > 1 else config.fps
        return cls(num_frames, config.height, config.width, fps)

    @property
    def is_image(self) -> bool:
        """Whether there is no motion to judge."""
        return self.num_frames == 1

    def to_dict(self) -> dict[str, Any]:
        """As `OpenSora.stream` and `World.render` take it."""
        return dict(vars(self))


def held_out_cases(
    world: World, n: int, *, seed: int = 0, wording: Wording = "mixed", still_images: bool = False
) -> list[Case]:
    """Return n held-out scenes with prompts; case i depends on seed and i alone, so fewer cases are the first of more.

    wording: the one plain sentence, free wording, or (mixed) each for every other case. still_images: prompts without
    motion.
    """
    if n < 1:
        raise InvalidInputError(f"n={n} must be at least 1 case")
    if wording not in get_args(Wording):
        raise InvalidInputError(f"wording={wording!r} is not one of {', '.join(get_args(Wording))}")
    cases = []
    for index in range(n):
        rng = generator(seed, "evaluation/scene", index)
        canonical = wording == "canonical" or (wording == "mixed" and index % 2 == 0)
        scene = world.sample(rng, "heldout")
        cases.append(Case(index, scene, describe(scene, rng, canonical=canonical, still_image=still_images)))
    return cases


def render_real(world: World, case: Case, shape: ClipShape, *, seed: int = 0) -> Frames:
    """The clip uint8 [T, H, W, 3] that the world itself makes of a case."""
    return world.render(case.scene, generator(seed, "evaluation/render", case.index), **shape.to_dict())
