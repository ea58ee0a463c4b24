"""Processes that train one model together: what the trainer asks of them, as one process alone answers it."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from ..errors import InvalidInputError
from ..ops import Ops
from ..registry import backends
from .optimizer import AdamState, AdamW
from .recipe import Recipe


class Team:
    """This process, number `rank` of `size`; alone unless a backend's own team says otherwise (see `join`).

    What every process must call at the same time says so; the first of them, rank 0, writes logs and checkpoints.
    """

    rank = 0
    size = 1

    def check(self, recipe: Recipe) -> None:
        """Raise InvalidInputError for a bucket whose batches cannot be shared evenly."""
        for stage in recipe.stages:
            for bucket in stage.buckets:
                self._check_size(bucket.batch_size, f"stage {stage.name!r}")

    def rows(self, batch: Mapping[str, NDArray[Any]], where: str) -> dict[str, NDArray[Any]]:
        """Return this process's part of a batch: as many rows as every other has, in the order of the ranks."""
        total = len(batch["latents"])
        self._check_size(total, where)
        share = total // self.size
        return {name: array[self.rank * share : (self.rank + 1) * share] for name, array in batch.items()}

    def _check_size(self, batch_size: int, where: str) -> None:
        if batch_size % self.size:
            raise InvalidInputError(
                f"{where} has batch_size={batch_size}, which {self.size} processes cannot share evenly: "
                f"make it a multiple of {self.size}"
            )

    def optimizer(self, plain: AdamW) -> AdamW:
        """Return an optimizer that does what `plain` does to the mean of all processes' gradients."""
        return plain

    def whole(self, ops: Ops, moments: AdamState, count: int) -> AdamState:
        """Moments of all `count` parameters, of which a process may hold its share only. Called by all."""
        return moments

    def share(self, ops: Ops, moments: AdamState) -> AdamState:
        """What this process holds of all the moments."""
        return moments

    def part(self, count: int) -> range:
        """Which of so many pieces of work are this process's: one after the other, as evenly as can be."""
        return range(self.rank * count // self.size, (self.rank + 1) * count // self.size)

    def sum(self, values: Sequence[float]) -> list[float]:
        """Sum of each value over the processes. Called by all."""
        return list(values)

    def mean(self, value: float) -> float:
        """Mean over the processes. Called by all."""
        return value

    def any(self, said: bool) -> bool:
        """Whether one process says so; raises KeyboardInterrupt if one was interrupted. Called by all."""
        return said

    def barrier(self) -> None:
        """Wait for all."""

    def leave(self) -> None:
        """Stop working together."""


def join(ops: Ops) -> Team:
    """Return the team that this process is part of: alone, unless `torchrun` or its like says otherwise.

    Raises InvalidInputError when several processes were started and the backend cannot share work among them.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return Team()
    known = backends()
    if ops.name not in known or known[ops.name].team is None:
        able = ", ".join(name for name, backend in known.items() if backend.team)
        raise InvalidInputError(
            f"{size} processes were started, and backend {ops.name!r} computes in one: use --backend {able}, or start "
            "one process, without torchrun"
        )
    module, _, attribute = str(known[ops.name].team).partition(":")
    made: Team = getattr(importlib.import_module(module), attribute)(ops)
    return made
