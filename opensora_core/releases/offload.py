"""Denoisers larger than memory: each block's weights stay in their file and are brought when its turn comes."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from functools import partial
from typing import Any, TypeVar

from ..module import named_leaves, rebuild
from ..ops import Ops
from ..serialization.pages import forget_pages
from .loading import Arriving, Weight

M = TypeVar("M")
OFFLOAD_TYPES = ("none", "block_level")
"""Names of diffusers: all weights on the backend, or those of one block at a time."""


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


def offloaded(ops: Ops, shell: M, weights: Mapping[str, Weight], dtype: str | None = None) -> M:
    """The weightless model with its weights on the backend, but for those of its blocks."""
    model: Any = shell
    lists = {f.name: getattr(model, f.name) for f in fields(model) if f.name.endswith("blocks")}
    resident = rebuild(replace(model, **dict.fromkeys(lists, ())), Arriving(ops, weights, dtype))
    blocks = {
        name: tuple(Offloaded(block, weights, f"{name}.{i}.", dtype) for i, block in enumerate(listed))
        for name, listed in lists.items()
    }
    whole: M = replace(resident, **blocks)
    return whole
