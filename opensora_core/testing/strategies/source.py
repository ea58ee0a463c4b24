"""What strategies draw from: a seed, a shape, a scale and a kind of numbers are drawn, not every element."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

Shape = tuple[int, ...]
Draw = Callable[[st.SearchStrategy[Any]], Any]
Floats = NDArray[np.float64]

KINDS = ("normal", "normal", "normal", "normal", "constant", "huge", "tiny", "subnormal")  # half the draws are normal
SCALES = (1.0, 1e-3, 30.0)
HUGE = 1e4
LENGTHS = (1, 2, 3, 5, 7, 13)  # of sequences: one, and primes
WIDTHS = (1, 2, 3, 7, 17, 67, 72, 128)  # of channels: odd ones leave a rest in every vector register
HEAD_DIMS = (1, 2, 7, 8, 64, 72, 80, 128, 129, 130)
LAYOUTS = ("plain", "transposed", "strided", "reversed", "read-only")
SUBNORMALS = ((-24, -15), (-149, -127), (-1074, -1023))  # powers of two: float16; float32, bfloat16; float64


@dataclass(frozen=True)
class Call:
    """Arguments of one op call, in signature order.

    float64 arrays stand for the dtype under test, float32 arrays for float32 or wider; integers, booleans and all else
    stay as they are. layout: how arrays lie in memory, one of LAYOUTS.
    """

    args: tuple[Any, ...]
    layout: str = "plain"


class Source:
    """What a strategy draws from: sizes one by one, numbers from one seed.

    kind: "normal" numbers of a drawn scale, rows of one such number ("constant"), "huge" ones around 1e4, "tiny" ones
    down to 1e-30, or numbers that are "subnormal" in one of the four dtypes.
    """

    def __init__(self, draw: Draw) -> None:
        self.draw = draw
        self.rng = np.random.default_rng(draw(st.integers(0, 2**16)))
        self.kind: str = draw(st.sampled_from(KINDS))
        self.scale: float = HUGE if self.kind == "huge" else draw(st.sampled_from(SCALES))

    # ------------------------------------------------------------------ sizes

    def pick(self, *options: Any) -> Any:
        """Draw one of the options."""
        return self.draw(st.sampled_from(options))

    def size(self, low: int = 1, high: int = 5) -> int:
        """Draw a length."""
        return int(self.draw(st.integers(low, high)))

    def batch(self) -> int:
        """Draw 0 to 3."""
        return self.size(0, 3)

    def length(self) -> int:
        """Draw the length of a sequence."""
        return int(self.pick(*LENGTHS))

    def width(self) -> int:
        """Draw a number of channels."""
        return int(self.pick(*WIDTHS))

    def head_dim(self) -> int:
        """Draw 1 to 130 channels of a head, every other time one that kernels treat apart."""
        return int(self.pick(*HEAD_DIMS)) if self.pick(True, False) else self.size(1, 130)

    def shape(self, min_dims: int = 0, max_dims: int = 4, low: int = 0) -> Shape:
        """Draw a shape with axes of low to 5; now and then the last one is long."""
        shape = self.draw(st.lists(st.integers(low, 5), min_size=min_dims, max_size=max_dims))
        long = bool(shape) and self.pick(False, False, False, True)
        return (*shape[:-1], self.width()) if long else tuple(shape)

    def part(self, shape: Shape) -> Shape:
        """Draw a shape that broadcasts to the given one: axes of length 1, or missing in front."""
        ones = [n if self.pick(True, True, False) else 1 for n in shape]
        return tuple(ones[self.size(0, len(shape)) if self.pick(False, False, True) else 0 :])

    # ------------------------------------------------------------------ numbers

    def normal(self, *shape: int) -> Floats:
        """Numbers of the drawn kind and scale."""
        if self.kind in ("tiny", "subnormal"):
            return np.asarray(self.magnitudes(*shape) * self.rng.choice([-1.0, 1.0], shape))
        rows = (*shape[:-1], 1) if self.kind == "constant" and shape else shape
        return np.array(np.broadcast_to(self.rng.standard_normal(rows) * self.scale, shape))

    def magnitudes(self, *shape: int) -> Floats:
        """Positive numbers of the drawn kind and scale, none near zero that need not be."""
        if self.kind == "tiny":
            return np.asarray(10.0 ** self.rng.uniform(-30, -4, shape))
        if self.kind == "subnormal":
            low, high = np.moveaxis(self.rng.choice(np.array(SUBNORMALS), shape), -1, 0)
            return np.asarray(2.0 ** self.rng.uniform(low, high))
        return np.abs(self.away_from_zero(*shape)) * self.scale

    def unit(self, *shape: int) -> Floats:
        """Normal numbers of scale 1."""
        return np.asarray(self.rng.standard_normal(shape))

    def away_from_zero(self, *shape: int) -> Floats:
        """Numbers of either sign, 0.5 to 2 in size."""
        return np.asarray(self.rng.uniform(0.5, 2.0, shape) * self.rng.choice([-1.0, 1.0], shape))

    def steps(self, *shape: int) -> Floats:
        """Whole numbers of -2 to 2, times 2^13 or 2^-20: ties are frequent, and every dtype holds them."""
        unit = {"huge": 2.0**13, "tiny": 2.0**-20, "subnormal": 2.0**-24}.get(self.kind, 1.0)
        return np.asarray(self.rng.integers(-2, 3, shape) * unit)

    def forbid(self, x: Floats) -> Floats:
        """Put -inf into one element in three, but never into the first of an axis, so that no row is empty."""
        chosen = np.asarray(self.rng.random(x.shape) < 1 / 3)
        for axis in range(x.ndim):
            chosen[(slice(None),) * axis + (slice(1),)] = False
        return np.where(chosen, -np.inf, x)

    def mask(self, *shape: int) -> NDArray[np.bool_]:
        """Booleans, one in three false."""
        return np.asarray(self.rng.random(shape) > 1 / 3)

    def call(self, *args: Any) -> Call:
        """Put the arguments together, in a drawn memory layout."""
        return Call(args, self.pick(*LAYOUTS))


Build = Callable[[Source], Call]


def strategy(build: Build) -> st.SearchStrategy[Call]:
    """Turn a function that draws a call from a source into a Hypothesis strategy."""
    return st.composite(lambda draw: build(Source(draw)))()
