"""Activation checkpointing: a copy of a model whose blocks are computed again for gradients, to save memory."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import partial
from typing import Any, TypeVar

from .errors import InvalidInputError
from .ops import Array, Ops

M = TypeVar("M")


def checkpointed(module: M) -> M:
    """The same model, each of whose blocks is an `ops.checkpoint`; blocks are the tuples in fields named `*blocks`.

    Gradients then keep what goes into each block and the intermediates of one block at a time, at the cost of
    computing every block twice. The copy shares all weights and computes the same numbers; take the state dict from
    the original. Raises InvalidInputError for a model without blocks.

        loss, grads = ops.value_and_grad(lambda ops, params: loss_of(checkpointed(rebuild(model, params))), params)
    """
    names = [f.name for f in fields(module) if f.name.endswith("blocks")]  # type: ignore[arg-type]
    if not names:
        raise InvalidInputError(f"{type(module).__name__} has no field named *blocks to checkpoint")
    blocks = {name: tuple(map(_Checkpointed, getattr(module, name))) for name in names}
    return replace(module, **blocks)  # type: ignore[type-var]


class _Checkpointed:
    """Stands in for a block."""

    def __init__(self, block: Any) -> None:
        self._block = block

    def __call__(self, ops: Ops, *args: Any) -> Array:
        return ops.checkpoint(partial(self._block, ops), *args)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._block, name)
