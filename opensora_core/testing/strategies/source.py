"""What strategies draw from: a seed, a shape and a scale are drawn, not every element."""

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

SCALES = (1.0, 1e-3, 30.0)
LAYOUTS = ("plain", "transposed", "strided", "reversed")


@dataclass(frozen=True)
class Call:
    """Arguments of one op call, in signature order.

    float64 arrays stand for the dtype under test, float32 arrays for float32 or wider; integers, booleans and all else
    stay as they are. layout: how arrays lie in memory, one of LAYOUTS.
    """

    args: tuple[Any, ...]
    layout: str = "plain"


class Source:
    """What a strategy draws from: sizes one by one, numbers from one seed."""

    def __init__(self, draw: Draw) -> None:
        self.draw = draw
        self.rng = np.random.default_rng(draw(st.integers(0, 2**16)))
        self.scale: float = draw(st.sampled_from(SCALES))

    def size(self, low: int = 1, high: int = 5) -> int:
        """Draw a length."""
        return int(self.draw(st.integers(low, high)))

    def shape(self, min_dims: int = 0, max_dims: int = 4, low: int = 0) -> Shape:
        """Draw a shape with axes of low to 5."""
        return tuple(self.draw(st.lists(st.integers(low, 5), min_size=min_dims, max_size=max_dims)))

    def pick(self, *options: Any) -> Any:
        """Draw one of the options."""
        return self.draw(st.sampled_from(options))

    def normal(self, *shape: int) -> Floats:
        """Normal numbers of the drawn scale."""
        return np.asarray(self.rng.standard_normal(shape) * self.scale)

    def unit(self, *shape: int) -> Floats:
        """Normal numbers of scale 1."""
        return np.asarray(self.rng.standard_normal(shape))

    def away_from_zero(self, *shape: int) -> Floats:
        """Numbers of either sign, 0.5 to 2 in size."""
        return np.asarray(self.rng.uniform(0.5, 2.0, shape) * self.rng.choice([-1.0, 1.0], shape))

    def steps(self, *shape: int) -> Floats:
        """Whole numbers of -2 to 2: ties are frequent, and every dtype holds them."""
        return np.asarray(self.rng.integers(-2, 3, shape), np.float64)

    def mask(self, *shape: int) -> NDArray[np.bool_]:
        """Booleans, one in three false."""
        return np.asarray(self.rng.random(shape) > 1 / 3)

    def part(self, shape: Shape) -> Shape:
        """Draw a shape that broadcasts to the given one: axes of length 1, or missing in front."""
        ones = [n if self.pick(True, True, False) else 1 for n in shape]
        return tuple(ones[self.size(0, len(shape)) if self.pick(False, False, True) else 0 :])

    def call(self, *args: Any) -> Call:
        """Put the arguments together, in a drawn memory layout."""
        return Call(args, self.pick(*LAYOUTS))


Build = Callable[[Source], Call]


def strategy(build: Build) -> st.SearchStrategy[Call]:
    """Turn a function that draws a call from a source into a Hypothesis strategy."""
    return st.composite(lambda draw: build(Source(draw)))()
