"""FLOP and byte formulas of every op of the table; of the two ops that take functions, by running the function once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..interpose import costs
from ..interpose.costs import Formula
from ..interpose.flops import Cost, FlopCounter
from ..ops import Array
from ..registry import get_backend


def _value_and_grad(fun: Callable[..., Array], params: Mapping[str, Array]) -> Cost:
    counter = FlopCounter(get_backend("numpy"))
    counter.value_and_grad(fun, params)
    return counter.total


def _compile(fun: Callable[..., Array], *arrays: Array) -> Cost:
    counter = FlopCounter(get_backend("numpy"))
    fun(counter, *map(counter.asarray, arrays))
    return counter.total


def _part(name: str, run: Callable[..., Cost]) -> Formula:
    def formula(*args: Any) -> int:
        return int(getattr(run(*args), name))

    return formula


_PROGRAMS = {"value_and_grad": _value_and_grad, "compile": _compile}
FLOPS: dict[str, Formula] = {**costs.FLOPS, **{name: _part("flops", run) for name, run in _PROGRAMS.items()}}
BYTES: dict[str, Formula] = {**costs.BYTES, **{name: _part("bytes", run) for name, run in _PROGRAMS.items()}}
