"""Which videos a run shows of itself while it trains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..checks import whole
from ..errors import InvalidInputError

SIZES = ("num_frames", "height", "width", "num_inference_steps")


@dataclass(frozen=True)
class Samples:
    """Videos of these prompts, always from one seed, by the averaged weights, in a picture for each time.

    every: steps between two pictures; there is one at the end, too. Sizes and steps of the sampler are by default the
    model's own.
    """

    prompts: tuple[str, ...]
    every: int = 1000
    seed: int = 0
    num_frames: int | None = None
    height: int | None = None
    width: int | None = None
    num_inference_steps: int | None = None

    def __post_init__(self) -> None:
        texts = isinstance(self.prompts, tuple) and all(isinstance(p, str) and p for p in self.prompts)
        if not texts or not self.prompts:
            raise InvalidInputError(f"prompts={self.prompts!r} must be a list of one or more prompts")
        whole("every", self.every, 1)
        whole("seed", self.seed, 0)
        for name, value in self.sizes.items():
            whole(name, value, 1)

    @property
    def sizes(self) -> dict[str, Any]:
        """The options of a generation that are given."""
        return {name: getattr(self, name) for name in SIZES if getattr(self, name) is not None}
