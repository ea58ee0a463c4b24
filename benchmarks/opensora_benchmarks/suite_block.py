"""The suite "block": a spatial and a temporal block of STDiT3, of the embedded model and of XL/2, with its text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from opensora_core.dit.blocks import STDiT3Block
from opensora_core.dit.config import STDiT3Config
from opensora_core.module import rebuild, state_dict
from opensora_core.nn.attention import KeysValues, Rope
from opensora_core.nn.init import ShapeInit
from opensora_core.ops import Array, Ops

from . import parts
from .case import Case, Data
from .stand_ins import program_cost
from .suite_op import BUCKETS, HEADS, TEXT, D, rope, text_mask


def block_cases() -> Iterator[Case]:
    """All of them."""
    yield from _pair("embedded", B=2, T=5, S=32, H=4, D=32, L=24, quick=True)  # as with guidance
    yield from _pair("small", B=1, T=16, S=64, H=4, D=D, L=24, quick=True)
    for name, (T, S) in BUCKETS.items():
        yield from _pair(f"xl2-{name}", B=1, T=T, S=S, H=HEADS, D=D, L=TEXT, quick=False)


def _pair(name: str, B: int, T: int, S: int, H: int, D: int, L: int, quick: bool) -> Iterator[Case]:
    config = STDiT3Config(hidden_size=H * D, num_heads=H, depth=1)
    shape = {"B": B, "T": T, "S": S, "H": H, "D": D, "L": L}
    for temporal in (False, True):
        block = STDiT3Block.create(ShapeInit(), config, temporal=temporal)
        title = "stdit3-temporal" if temporal else "stdit3-spatial"
        text = Data((B, H, L, D))
        arguments = (
            {name: weight(leaf) for name, leaf in state_dict(block).items()},
            Data((B, T, S, H * D)), Data((B, 1, 6, H * D)), text, text, text_mask(L), *rope(T, D),
        )  # fmt: skip
        part = parts.places if temporal else parts.frame
        program, result, logits = _Program(block), (B, T, S, H * D), B * T * S * H * max(L, T if temporal else S)
        cost = program_cost(program)
        yield Case("block", f"{title}-{name}", arguments, part, cost, result, logits, "block", program, quick, shape)


def weight(leaf: Array) -> Data:
    """How a weight is drawn: rows that shrink with their length."""
    return Data(leaf.shape, 0.2 if leaf.ndim == 1 else leaf.shape[-1] ** -0.5)


class _Program:
    """A block as a function of (ops, weights, x, modulation, keys, values, mask, cos, sin)."""

    def __init__(self, block: STDiT3Block) -> None:
        self._block, self._weights, self._whole = block, None, block

    def __call__(self, ops: Ops, weights: Any, x: Array, modulation: Array, *text_and_rope: Array) -> Array:
        if weights is not self._weights:  # a model puts its weights into place once
            self._weights, self._whole = weights, rebuild(self._block, weights)
        keys, values, mask, cos, sin = text_and_rope
        return self._whole(ops, x, modulation, KeysValues(keys, values), mask, Rope(cos, sin))
