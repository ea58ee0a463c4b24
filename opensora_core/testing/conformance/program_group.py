"""The checks of a program: a function of (ops, *arrays) made of many ops, on inputs of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from ...ops import Array, Ops
from ...random import generator
from ..strategies import Call
from .checks import ASPECTS, Failure, Level, Settings, checks_in, needing
from .expected import expect_of_program
from .observe import PROGRAM, Expected, observe
from .repro import check_repro
from .target import Target

Size = tuple[int, int, int, int]  # B, T, H, W
SIZES: tuple[Size, ...] = ((2, 3, 4, 6), (1, 1, 3, 5))
Inputs = Callable[[np.random.Generator, Size], tuple[Any, ...]]


@dataclass(frozen=True)
class Program:
    """A part of the model, or of its use, as a function of the language.

    function: (ops, *inputs) to an array, or several. inputs: draws them for a size; float64 arrays stand for the dtype
    under test, float32 ones for float32 or wider, as in a `Call`. A mapping of names to arrays is the weights.
    """

    level: Level
    title: str
    function: Callable[..., Any]
    inputs: Inputs
    dtypes: tuple[str, ...]

    @property
    def name(self) -> str:
        """level/title."""
        return f"{self.level}/{self.title}"

    def checks(self, dtypes: Iterable[str]) -> list[str]:
        """Every aspect in every dtype."""
        return checks_in(self.name, [dtype for dtype in dtypes if dtype in self.dtypes])

    def run(self, target: Target, settings: Settings) -> dict[str, Failure]:
        """Run the program in all sizes and dtypes."""
        failures: dict[str, Failure] = {}
        for dtype in settings.dtypes:
            if dtype in self.dtypes:
                failures |= self._run(target, dtype)
        return failures

    def _run(self, target: Target, dtype: str) -> dict[str, Failure]:
        failures: dict[str, Failure] = {}
        for size in SIZES:
            call, expected = expectation(self, dtype, size)
            seen = observe(target.ops, PROGRAM, call, dtype, expected)
            wrong = {aspect: f"{text}, at B, T, H, W = {size}" for aspect, text in seen.wrong.items()}
            runs = f"{self.name}/{dtype}/runs"
            if seen.lacks or "runs" in wrong:
                failures |= {f"{self.name}/{dtype}/{aspect}": needing(runs) for aspect in ASPECTS}
            if seen.lacks:
                failures[runs] = needing(f"ops/{seen.lacks}/signature")
            for aspect, text in wrong.items():
                check = f"{self.name}/{dtype}/{aspect}"
                failures[check] = Failure(text, check_repro(target, check))
        return failures


@cache
def expectation(program: Program, dtype: str, size: Size) -> tuple[Call, list[Expected]]:
    """The call of a program in one size, and what it must give."""
    call = Call((program.function, *program.inputs(generator(0, f"conformance/{program.name}"), size)))
    return call, expect_of_program(call, dtype)


def draw(rng: np.random.Generator, *shape: int, scale: float = 1.0) -> Array:
    """Standard normal numbers in float64."""
    return rng.standard_normal(shape) * scale


def weights_of(module: Any, rng: np.random.Generator) -> dict[str, Array]:
    """Weights by name for a weightless module, none of them zero; rows shrink with their length, gains lie near 1."""
    from ...module import state_dict

    drawn = {}
    for name, leaf in state_dict(module).items():
        gain = leaf.ndim == 1 and name.endswith(("norm.weight", "norm1.weight", "norm2.weight", "scale"))
        spread = draw(rng, *leaf.shape, scale=0.2 if leaf.ndim == 1 else float(np.prod(leaf.shape[1:])) ** -0.5)
        drawn[name] = 1.0 + spread if gain else spread
    return drawn


def with_module(module: Any, use: Callable[..., Any]) -> Callable[..., Any]:
    """Turn use(ops, module, *inputs) into a program whose first input is the module's weights."""
    from ...module import rebuild

    def program(ops: Ops, weights: dict[str, Array], *inputs: Any) -> Any:
        return use(ops, rebuild(module, weights), *inputs)

    return program
