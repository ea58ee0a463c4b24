"""Costs and shapes, found out by running ops and programs on arrays that have a shape and take no memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from opensora_core.interpose import FlopCounter
from opensora_core.interpose.memory import MemoryCounter
from opensora_core.testing.running import arrays_in

from .case import Args


def program_cost(program: Callable[..., Any]) -> Callable[[Args], tuple[int, int]]:
    """FLOPs of a program's ops together, and the bytes of its arguments and result, which have to move at least."""

    def cost(args: Args) -> tuple[int, int]:
        counter = FlopCounter(MemoryCounter("numpy"))
        result = program(counter, *_outlines(counter, args))
        sizes = [x.size * x.dtype.itemsize for x in arrays_in(list(args))]
        return counter.total.flops, sum(sizes) + math.prod(result.shape) * result.dtype.itemsize

    return cost


def result_shape(op: str, args: Args) -> tuple[int, ...]:
    """Shape of an op's result."""
    counter = MemoryCounter("numpy")
    return tuple(getattr(counter, op)(*_outlines(counter, args)).shape)


def _outlines(ops: Any, arg: Any) -> Any:
    """The arguments with arrays of the counter in place of the host's."""
    if isinstance(arg, Mapping):
        return {name: _outlines(ops, x) for name, x in arg.items()}
    if isinstance(arg, tuple):
        return tuple(_outlines(ops, x) for x in arg)
    return ops.asarray(arg) if hasattr(arg, "dtype") else arg
