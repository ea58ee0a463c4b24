"""Initial weights: random ones for training, weightless ones for loading a checkpoint into."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..random import generator

Weight = NDArray[Any]


class RandomInit:
    """Draws float32 weights one after another from one seeded host stream."""

    def __init__(self, seed: int = 0) -> None:
        self._rng = generator(seed, "init")

    def xavier_uniform(self, out: int, *fan_in: int) -> Weight:
        """Glorot & Bengio (2010) for a weight [out, *fan_in], fan_in flattened."""
        bound = (6.0 / (out + int(np.prod(fan_in)))) ** 0.5
        return self._rng.uniform(-bound, bound, (out, *fan_in)).astype(np.float32)

    def normal(self, shape: Sequence[int], std: float) -> Weight:
        """Zero-mean Gaussian weights."""
        return self._rng.standard_normal(tuple(shape), dtype=np.float32) * np.float32(std)

    def zeros(self, *shape: int) -> Weight:
        """All zeros."""
        return np.zeros(shape, np.float32)

    def ones(self, *shape: int) -> Weight:
        """All ones."""
        return np.ones(shape, np.float32)


class ShapeInit(RandomInit):
    """Weights that have a shape and take no memory: what a checkpoint is checked against before it is loaded."""

    def xavier_uniform(self, out: int, *fan_in: int) -> Weight:
        """Return a read-only array of zero strides."""
        return self.zeros(out, *fan_in)

    def normal(self, shape: Sequence[int], std: float) -> Weight:
        """Return a read-only array of zero strides."""
        return self.zeros(*shape)

    def zeros(self, *shape: int) -> Weight:
        """Return a read-only array of zero strides."""
        return np.broadcast_to(np.float32(0), shape)

    ones = zeros
