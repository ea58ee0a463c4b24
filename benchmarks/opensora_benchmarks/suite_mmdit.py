"""Blocks of the MMDiT of Open-Sora v2.0, in the suite "block": text and video in two streams, then in one."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from opensora_core.dit.mmdit_blocks import DoubleBlock, SingleBlock
from opensora_core.dit.mmdit_config import MMDiTConfig
from opensora_core.dit.mmdit_layers import JointAttention, joint_rope
from opensora_core.module import rebuild, state_dict
from opensora_core.nn.attention import Rope
from opensora_core.nn.init import ShapeInit
from opensora_core.ops import Array, Ops
from opensora_core.registry import get_backend

from . import parts
from .case import Case, Data, HostArray
from .stand_ins import program_cost
from .suite_block import weight

V2 = MMDiTConfig()
SIZES = {  # heads, tokens of text, grid of video tokens
    "narrow": (3, 32, (2, 4, 8)),
    "v2-256px-image": (V2.num_heads, 512, (1, 16, 16)),
    "v2-256px": (V2.num_heads, 512, (33, 16, 16)),
    "v2-768px": (V2.num_heads, 512, (33, 48, 48)),
}


def mmdit_cases() -> Iterator[Case]:
    """All of them."""
    for name, (heads, L, grid) in SIZES.items():
        for single in (False, True):
            yield _case(name, heads, L, grid, single)


def _case(name: str, heads: int, L: int, grid: tuple[int, int, int], single: bool) -> Case:
    config = dataclasses.replace(V2, num_heads=heads, hidden_size=heads * sum(V2.axes_dim))
    N, C = grid[0] * grid[1] * grid[2], config.hidden_size
    block: Any = (SingleBlock if single else DoubleBlock).create(ShapeInit(), config)
    program = _Program(block, config, L)
    weights = {name: weight(leaf) for name, leaf in state_dict(block).items()}
    rope: tuple[HostArray, ...] = tuple(
        joint_rope(get_backend("numpy", device="cpu"), L, grid, config.axes_dim, config.theta)
    )
    arguments = (weights, Data((1, L + N, C)), Data((1, C)), *rope)
    shape = {"N": N, "L": L, "H": heads if heads == V2.num_heads else f"{heads} of {V2.num_heads}", "D": C // heads}
    title, cost, logits = "single" if single else "double", program_cost(program), heads * (L + N) ** 2
    return Case(
        "block", f"mmdit-{title}-{name}", arguments, parts.whole, cost, (1, L + N, C), logits, "block", program,
        name == "narrow", shape,
    )  # fmt: skip


class _Program:
    """A block as a function of (ops, weights, text and video tokens together, vector, cos, sin)."""

    def __init__(self, block: Any, config: MMDiTConfig, text_length: int) -> None:
        self._block, self._weights, self._whole = block, None, block
        self._config, self._text_length = config, text_length

    def __call__(self, ops: Ops, weights: Any, tokens: Array, vector: Array, cos: Array, sin: Array) -> Array:
        if weights is not self._weights:  # a model puts its weights into place once
            self._weights, self._whole = weights, rebuild(self._block, weights)
        attend = JointAttention(Rope(cos, sin), self._config.num_heads, self._config.use_liger_rope)
        if isinstance(self._block, SingleBlock):
            return self._whole(ops, tokens, vector, attend)
        L = self._text_length
        video, text = self._whole(ops, tokens[:, L:], tokens[:, :L], vector, attend)
        return ops.concat([text, video], axis=1)
