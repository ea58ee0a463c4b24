"""Denoisers larger than memory: each block's weights stay in their file and are brought when its turn comes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, TypeVar

from ..module import rebuild
from ..ops import Ops
from ..serialization.arriving import Arriving, Offloaded, Weight
from ..serialization.checked import Checked

M = TypeVar("M")
OFFLOAD_TYPES = ("none", "block_level")
"""Names of diffusers: all weights on the backend, or those of one block at a time."""


def offloaded(ops: Ops, shell: M, weights: Mapping[str, Weight], dtype: str | None = None) -> M:
    """The weightless model with its weights on the backend, but for those of its blocks."""
    model: Any = shell
    weights = Checked(weights, dtype or ops.dtype)
    lists = {f.name: getattr(model, f.name) for f in fields(model) if f.name.endswith("blocks")}
    resident = rebuild(replace(model, **dict.fromkeys(lists, ())), Arriving(ops, weights, dtype))
    blocks = {
        name: tuple(Offloaded(block, weights, f"{name}.{i}.", dtype) for i, block in enumerate(listed))
        for name, listed in lists.items()
    }
    whole: M = replace(resident, **blocks)
    return whole
