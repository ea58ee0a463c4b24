"""What an encoder says of the latents: a Gaussian per number (Kingma & Welling 2014)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from ..derived import split
from ..ops import Array, Ops

Draw = Callable[[Sequence[int]], Array]
"""draw(shape): standard normal numbers, drawn on the host one array after another, in the latents' dtype."""

LOWEST, HIGHEST = -30.0, 20.0  # of the logarithm of the variance


class Posterior(NamedTuple):
    """Mean and logarithm of the variance of each latent number, both [B, C, ...]."""

    mean: Array
    log_variance: Array

    @classmethod
    def of(cls, ops: Ops, moments: Array) -> Posterior:
        """From what an encoder puts out, [B, 2C, ...]: means first; the log-variance is clamped to [-30, 20]."""
        mean, log_variance = split(ops, moments, 2, axis=1)
        return cls(mean, -ops.maximum(-ops.maximum(log_variance, LOWEST), -HIGHEST))

    def std(self, ops: Ops) -> Array:
        """Standard deviations."""
        return ops.exp(self.log_variance * 0.5)

    def sample(self, ops: Ops, draw: Draw | None) -> Array:
        """mean + std · draw(shape); the mean, which is also the mode, where draw is None."""
        if draw is None:
            return self.mean
        return self.mean + self.std(ops) * draw(tuple(self.mean.shape))
