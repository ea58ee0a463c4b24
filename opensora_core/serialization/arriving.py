"""Weights on their way from mapped files to a backend: those asked for, or those of a block while it runs."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import is_dataclass
from functools import partial
from typing import Any

from numpy.typing import NDArray

from ..module import named_leaves, rebuild
from ..ops import Ops
from .checked import Checked
from .on_demand import OnDemand
from .pages import forget_pages

Weight = NDArray[Any]


class Arriving(OnDemand[Any]):
    """Mapped weights, each looked at and brought to the backend, cast to `dtype`, when it is asked for.

    The memory of what was read is given back at once, so that beside the weights asked for there is one more at most.
    dtype: by default the backend's.
    """

    def __init__(self, ops: Ops, weights: Mapping[str, Weight], dtype: str | None = None) -> None:
        self._ops, self._dtype = ops, dtype or ops.dtype
        super().__init__(weights if isinstance(weights, Checked) else Checked(weights, self._dtype))

    def __getitem__(self, name: str) -> Any:
        array = self._source[name]
        arrived = self._ops.asarray(array, self._dtype)
        forget_pages(array)
        return arrived


class Offloaded:
    """A block, or a part of one, that is used as if its weights were there: every call reads them anew.

    They are cast as always, so that the numbers are the same to the last bit. Attributes that are modules are offloaded
    too; their methods take the ops first, as all do.
    """

    def __init__(self, shell: Any, weights: Mapping[str, Weight], prefix: str, dtype: str | None) -> None:
        self._shell, self._weights, self._prefix, self._dtype = shell, weights, prefix, dtype

    def __call__(self, ops: Ops, *args: Any, **named: Any) -> Any:
        """Bring the weights, call the block, let them go."""
        return self._run("__call__", ops, *args, **named)

    def __getattr__(self, name: str) -> Any:
        part = getattr(self._shell, name)
        if is_dataclass(part):
            return Offloaded(part, self._weights, f"{self._prefix}{name}.", self._dtype)
        return partial(self._run, name) if inspect.ismethod(part) else part

    def _run(self, method: str, ops: Ops, *args: Any, **named: Any) -> Any:
        block = rebuild(self._shell, Arriving(ops, self._weights, self._dtype), self._prefix)
        try:
            return getattr(block, method)(ops, *args, **named)
        finally:
            for name, _ in named_leaves(self._shell, self._prefix):  # a view of the file was read by the block
                forget_pages(self._weights[name])
