"""The loss on what a run never learns from: fixed batches at fixed timesteps, by the averaged weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ..checks import number, one_of, whole
from ..errors import InvalidInputError
from ..schedulers.timesteps import NUM_TIMESTEPS
from .data import Batch
from .stages import WORLDS, Bucket, Stage

if TYPE_CHECKING:
    from .recipe import Recipe
    from .team import Team


@dataclass(frozen=True)
class Validation:
    """How often, and on what: `batches` of the held-out scenes of a world, or of the files in `data`.

    every: steps between two validations; there is one at the end, too. timesteps: in 0..1000, each with a loss of its
    own. world, buckets: by default those of the recipe's last stage. seed: of clips and noise, whatever the run's is.
    """

    every: int = 500
    batches: int = 4
    timesteps: tuple[float, ...] = (100, 300, 500, 700, 900)
    data: str | None = None
    world: str | None = None
    buckets: tuple[Bucket, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        whole("every", self.every, 1)
        whole("batches", self.batches, 1)
        whole("seed", self.seed, 0)
        if not isinstance(self.timesteps, tuple) or not self.timesteps:
            raise InvalidInputError(f"timesteps={self.timesteps!r} must be a list of one or more numbers")
        for t in self.timesteps:
            number("timesteps", t, 0, NUM_TIMESTEPS)
        if self.world is not None:
            one_of("world", self.world, list(WORLDS))
        if self.world is not None and self.data is not None:
            raise InvalidInputError("validation is on files (data) or on a world, not on both")

    def stage(self, last: Stage) -> Stage:
        """The batches as a stage of their own; `last` is that of the recipe. No caption is dropped, no frame given."""
        if last.data is not None and self.data is None and self.world is None:
            raise InvalidInputError('validation of a recipe that learns from files needs files: data = "folder"')
        buckets = self.buckets or last.buckets
        if not buckets and self.data is None:
            raise InvalidInputError("validation on a world needs [[validation.buckets]]: the last stage has none")
        return Stage(
            "validation",
            self.batches,
            buckets,
            world=self.world or last.world,
            caption_dropout=0.0,
            bucket_config=None if self.buckets else last.bucket_config,
            data=self.data,
            frame_interval=None if self.data is None else last.frame_interval,
        )


def held_out(recipe: Recipe) -> Recipe | None:
    """A recipe whose batches are those to validate on, if the recipe asks for any."""
    if recipe.validation is None:
        return None
    stage = recipe.validation.stage(recipe.stages[-1])
    return replace(recipe, stages=(stage,), seed=recipe.validation.seed, validation=None)


class HeldOut:
    """The batches to validate a run on, made when they are first needed; none if the recipe asks for none.

    make: returns the batch of a step of the given recipe.
    team: the processes that share the work; each makes and tries its part, and all get the losses of all.
    """

    def __init__(self, recipe: Recipe, make: Callable[[Recipe, int], Batch], team: Team) -> None:
        self.how, self.recipe, self.team = recipe.validation, held_out(recipe), team
        self._make, self._last = make, recipe.total_steps
        self._batches: dict[int, Batch] = {}

    def due(self, step: int) -> bool:
        """Whether a run is to be validated after so many steps."""
        return self.how is not None and (step % self.how.every == 0 or step == self._last)

    def losses(self, loss: Callable[[Batch], float]) -> dict[str, float]:
        """Mean loss of the batches at every timestep, by its number as text, and the mean of all as "mean".

        Called by all of a team, who get the same figures to the bit. Raises InvalidInputError if the recipe has no
        [validation].
        """
        if self.how is None or self.recipe is None:
            raise InvalidInputError("the recipe has no [validation], which says what to validate on")
        asked = [(i, t) for i in range(self.how.batches) for t in self.how.timesteps]
        mine = {n: loss(_at(self._batch(self.recipe, asked[n][0]), asked[n][1])) for n in self.team.part(len(asked))}
        every = self.team.sum([mine.get(n, 0.0) for n in range(len(asked))])
        by_time = np.reshape(every, (self.how.batches, -1)).mean(axis=0)
        times = [f"{t:g}" for t in self.how.timesteps]
        return {"mean": float(by_time.mean()), **dict(zip(times, by_time.tolist(), strict=True))}

    def _batch(self, recipe: Recipe, i: int) -> Batch:
        if i not in self._batches:
            self._batches[i] = self._make(recipe, i)
        return self._batches[i]


def _at(batch: Batch, t: float) -> Batch:
    return replace(batch, arrays={**batch.arrays, "t": np.full_like(batch.arrays["t"], t)})
