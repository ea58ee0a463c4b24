"""What the samplers of all releases have in common: a name, options to be changed, and one way to be called."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, TypeVar

from ..checks import one_of
from ..errors import InvalidInputError
from ..ops import Ops
from ..schedulers.stepping import Step
from .task import Task, Text

S = TypeVar("S", bound="Sampler")
DIFFUSION_SAMPLERS = ("iddpm", "ddim", "dpm-solver++")
FLOW_SAMPLERS = ("rflow",)


def check_sampler(name: Any, legal: tuple[str, ...]) -> None:
    """Raise InvalidInputError, naming the legal ones, for a sampler that a model was not trained for."""
    if name in DIFFUSION_SAMPLERS and name not in legal:
        raise InvalidInputError(
            f"sampler={name!r} is not one of {', '.join(legal)}: this model is a rectified flow; "
            f"{', '.join(DIFFUSION_SAMPLERS)} are for v1.0 and v1.1, which predict noise and not a velocity"
        )
    one_of("sampler", name, legal)


@dataclass(frozen=True)
class Sampler(ABC):
    """How a release makes latents out of noise; the fields are what a generation may change, official by default."""

    SAMPLERS: ClassVar[tuple[str, ...]] = FLOW_SAMPLERS

    sampler: str = "rflow"

    def __post_init__(self) -> None:
        """Check the fields."""
        check_sampler(self.sampler, self.SAMPLERS)

    @property
    def keeps_frames(self) -> bool:
        """Whether it can be given frames."""
        return True

    @property
    def least_steps(self) -> int:
        """The fewest steps it can take."""
        return 1

    @abstractmethod
    def __call__(self, ops: Ops, denoiser: Any, task: Task, text: Text, given: Any) -> Iterator[Step]:
        """Yield the steps of one clip from noise to data; the latents of the last are the result, [B, C, T, h, w].

        given: what the video is given, or None: with a method `place` (see `References`) for v1.1 and v1.2, a
        `Condition` for v1.3 and v2.0.
        """

    def changed(self: S, release: str, options: Mapping[str, Any]) -> S:
        """The sampler with these options. InvalidInputError, naming its own, for one that it does not have."""
        own = [field.name for field in fields(self)]
        if unknown := sorted(set(options) - set(own)):
            raise InvalidInputError(
                f"{unknown[0]} is no option of the sampler of {release}, which takes {', '.join(own)}"
            )
        return replace(self, **options)
