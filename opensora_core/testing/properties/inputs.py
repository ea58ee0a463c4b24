"""Numbers for properties: the same draw for every interpreter, dtype and truth."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...accuracy import eps, rounded, shaken
from ...ops import HALF, Array, Ops
from ..running import HostArray


class Inputs:
    """Draws from one seed; floating numbers are rounded to `dtype` and then handed over in it.

    exact: hand them over in float64 instead, after the rounding: what the truth is computed from.
    shake: a seed by which every number moves one rounding step of its dtype up or down: how far a result goes with it
    is how far nobody can be blamed for.
    """

    def __init__(self, ops: Ops, seed: int, dtype: str, *, exact: bool = False, shake: int | None = None) -> None:
        self.ops, self.dtype = ops, dtype
        self.rng = np.random.default_rng(seed)
        self._exact = exact
        self._shaker = None if shake is None else np.random.default_rng(shake)

    @property
    def wide(self) -> str:
        """The dtype of latents and tables: float32 where models are half precision."""
        return "float32" if self.dtype in HALF else self.dtype

    def size(self, low: int, high: int) -> int:
        """Draw a length, both ends included."""
        return int(self.rng.integers(low, high + 1))

    def normal(self, *shape: int) -> Array:
        """Standard normal numbers."""
        return self.place(self.rng.standard_normal(shape))

    def quarters(self, *shape: int) -> Array:
        """Multiples of 1/4 from -2 to 2: every dtype adds a few of them without rounding."""
        return self.place(self.rng.integers(-8, 9, shape) / 4)

    def latents(self, *shape: int) -> Array:
        """Standard normal numbers in float32 or better."""
        return self.place(self.rng.standard_normal(shape), self.wide)

    def tables(self, length: int, head_dim: int) -> tuple[HostArray, HostArray]:
        """Cosine and sine [length, head_dim/2] of random angles, on the host."""
        angles = self.rng.uniform(0, 100, (length, head_dim // 2))
        return np.cos(angles), np.sin(angles)

    def place(self, x: HostArray, dtype: str | None = None) -> Array:
        """Hand over host numbers, rounded to `dtype` or that of the draw."""
        dtype = dtype or self.dtype
        x = rounded(x, dtype)
        if self._shaker is not None:
            x = shaken(x, eps(dtype), self._shaker)
        return self.ops.asarray(x if self._exact else x.astype(np.dtype(dtype)))

    def indices(self, x: Any) -> Array:
        """Hand over whole numbers."""
        return self.ops.asarray(np.asarray(x, np.int64))

    def flags(self, x: Any) -> Array:
        """Hand over booleans."""
        return self.ops.asarray(np.asarray(x, bool))
