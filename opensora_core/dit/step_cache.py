"""Step caching: what the blocks of a denoiser add to its tokens is computed in some steps and extrapolated in others.

An approximation that needs no training. Steps are left out at fixed intervals, as in PAB (Zhao et al. 2024); what is
kept is the residual of all blocks at once, as in TeaCache (Liu et al. 2024), and it goes on along a straight line
through the last two that were computed (TaylorSeer, Liu et al. 2025, order 1). Embeddings and the last layer see the
step's own latents and timestep. Which steps are computed depends on no number that a backend rounds in its own way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ..checks import whole
from ..ops import Array, Ops

FIRST = 0.1
"""Share of the steps that are all computed, at the beginning, where it is settled what the video shows."""


class _Kept(NamedTuple):
    step: int
    residual: Array  # (B, T, S, C)
    slope: Array | None  # per step; None after a single computed step


class StepCache:
    """The residual of the blocks, over the steps of one sampler after another.

    every: the steps 0, every, 2·every, ..., the first tenth and the last one are computed; 1 computes all. num_steps:
    of the sampler, each of which asks the denoiser once; then the next sampler begins with nothing kept. A step whose
    batch, size or given frames are not those of the step before is computed too.
    Raises InvalidInputError unless both are whole numbers of at least 1.
    """

    def __init__(self, every: int, num_steps: int) -> None:
        self.every = whole("step_cache", every, 1)
        self.num_steps = whole("num_steps", num_steps, 1)
        self.reused = 0
        """How many steps have been extrapolated so far."""
        self._next = 0
        self._kept: _Kept | None = None
        self._layout: tuple[object, ...] = ()

    def run(self, ops: Ops, x: Array, x_mask: Array | None, blocks: Callable[[Array], Array]) -> Array:
        """One step: tokens x [B, T, S, C] through the blocks, or with what they are expected to add.

        x_mask: flags of the frames that are not given, of any shape.
        """
        step, layout = self._next, (x.shape, None if x_mask is None else ops.to_numpy(x_mask).tobytes())
        if step == 0 or layout != self._layout:
            self._kept, self._layout = None, layout
        self._next = (step + 1) % self.num_steps
        kept, due = self._kept, step % self.every == 0 or step < FIRST * self.num_steps or self._next == 0
        if kept is not None and not due:
            self.reused += 1
            return x + (kept.residual if kept.slope is None else kept.residual + kept.slope * (step - kept.step))
        out = blocks(x)
        if self.every > 1:
            self._keep(step, out - x)
        return out

    def _keep(self, step: int, residual: Array) -> None:
        """Remember a computed residual, and how it changed since the last one."""
        last = self._kept
        slope = None if last is None else (residual - last.residual) * (1.0 / (step - last.step))
        self._kept = _Kept(step, residual, slope)
