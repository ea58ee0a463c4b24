"""What each block of the denoiser contributes: the loss without it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ...dit.blocks import STDiT3Block
from ...module import named_modules, replace_part
from ...ops import Array, Ops
from ..components import Components
from ..learning import loss_of


def layer_importance(ops: Ops, parts: Components, batch: Mapping[str, Array]) -> dict[str, float]:
    """Rise of the training loss when one block lets its input through unchanged, by the block's name."""
    whole = _loss(ops, parts, batch)
    names = [name for name, module in named_modules(parts.denoiser) if isinstance(module, STDiT3Block)]
    return {
        name: _loss(ops, replace(parts, denoiser=replace_part(parts.denoiser, name, _Skipped)), batch) - whole
        for name in names
    }


def _loss(ops: Ops, parts: Components, batch: Mapping[str, Array]) -> float:
    return float(ops.to_numpy(loss_of(ops, parts, batch)))


class _Skipped:
    """A block that does nothing, with the parts of the one it stands for."""

    def __init__(self, block: STDiT3Block) -> None:
        self._block = block

    def __call__(self, ops: Ops, x: Array, *rest: Any) -> Array:
        return x

    def __getattr__(self, name: str) -> Any:
        return getattr(self._block, name)
