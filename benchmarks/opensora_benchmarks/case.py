"""A case: one op at one size, what it is fed, and how a part of its result is found again without the whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes  # noqa: F401 - teaches NumPy the name "bfloat16"
import numpy as np
from numpy.typing import NDArray

from opensora_core.testing.strategies import Call

HostArray = NDArray[Any]
Args = tuple[Any, ...]
Rng = np.random.Generator
Index = tuple[Any, ...]


@dataclass(frozen=True)
class Data:
    """An argument in the dtype under test: normal numbers around `mean`."""

    shape: tuple[int, ...]
    scale: float = 1.0
    mean: float = 0.0

    def draw(self, dtype: str, rng: Rng) -> HostArray:
        """Draw them anew."""
        return (rng.standard_normal(self.shape, np.float32) * self.scale + self.mean).astype(np.dtype(dtype))

    def stand_in(self, dtype: str) -> HostArray:
        """Return an array of this shape and dtype that takes no memory."""
        return np.broadcast_to(np.zeros((), np.dtype(dtype)), self.shape)


Part = Callable[[Rng, Args], tuple[Args, Index]]
"""Picks a part of the result at random: arguments of the same op that give just this part, and where it lies."""


@dataclass(frozen=True)
class Case:
    """One op at one size.

    op: of the op table, or what `program`, a function of (ops, *arguments), is called. arguments: `Data`, mappings of
    names to it, and fixed ones as they are. cost: FLOPs and least bytes of a call on such arguments. quick: whether
    `--quick` runs it. shape: what a report shows. logits: of attention written out, which take memory.
    """

    op: str
    name: str
    arguments: Args
    part: Part
    cost: Callable[[Args], tuple[int, int]]
    result_shape: tuple[int, ...]
    logits: int = 0
    suite: str = "op"
    program: Callable[..., Any] | None = None
    quick: bool = False
    shape: dict[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """op/name."""
        return f"{self.op}/{self.name}"

    def draw(self, dtype: str, rng: Rng) -> Args:
        """Fresh arguments on the host."""
        return tuple(map_data(lambda spec: spec.draw(dtype, rng), arg) for arg in self.arguments)

    def costs(self, dtype: str) -> tuple[int, int]:
        """FLOPs, and bytes that have to move at least."""
        return self.cost(stand_ins(self.arguments, dtype))

    def each(self, function: Callable[..., Any], args: Args, *others: Args) -> Args:
        """The arguments with every drawn array replaced by function(array, those at the same place in others)."""

        def change(spec: Any, arg: Any, *rest: Any) -> Any:
            if not isinstance(spec, Mapping):
                return function(arg, *rest) if isinstance(spec, Data) else arg
            new = {name: function(x, *(r[name] for r in rest)) for name, x in arg.items()}
            return arg if all(new[name] is arg[name] for name in arg) else new

        return tuple(change(*places) for places in zip(self.arguments, args, *others, strict=True))

    def call(self, args: Args) -> Call:
        """The arguments as the judge takes them: those in the dtype under test are float64."""
        wide = (self._widened(spec, arg) for spec, arg in zip(self.arguments, args, strict=True))
        return Call((self.program, *wide) if self.program else tuple(wide))

    @staticmethod
    def _widened(spec: Any, arg: Any) -> Any:
        if isinstance(spec, Mapping):
            return {name: np.asarray(x, np.float64) for name, x in arg.items()}
        return np.asarray(arg, np.float64) if isinstance(spec, Data) else arg


def map_data(function: Callable[[Data], Any], arg: Any) -> Any:
    """Apply a function to what is drawn; leave what is fixed."""
    if isinstance(arg, Mapping):
        return {name: function(spec) for name, spec in arg.items()}
    return function(arg) if isinstance(arg, Data) else arg


def stand_ins(arguments: Args, dtype: str) -> Args:
    """Arguments that have a shape and a dtype and take no memory."""
    return tuple(map_data(lambda spec: spec.stand_in(dtype), arg) for arg in arguments)
