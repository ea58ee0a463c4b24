"""How the attention kernels see arrays: sequences named by two indices, rows by strides, tiles in shared memory."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .launching import MOST_ACROSS, ceil_div, dense_rows, element_strides

HEAD_DIMS = range(1, 257)
TEMPORAL_FRAMES = 32  # the longest sequence that temporal_attention.cu takes in one tile


@dataclass(frozen=True)
class Strided:
    """Rows [L, D] of each (outer, inner, head): the array, and the strides of those four axes in elements."""

    array: Any
    strides: tuple[int, int, int, int]  # outer, inner, row, head


def check_head(D: int) -> None:
    """ValueError unless kernels take this head dim."""
    if D not in HEAD_DIMS:
        raise ValueError(f"head dim {D} is outside 1..{HEAD_DIMS[-1]}")


def check_heads_alike(q: Any, k: Any, v: Any) -> None:
    """ValueError unless k and v have the same rows, and all three the same head dim and dtype."""
    if not k.shape[-2:] == v.shape[-2:] == (k.shape[-2], q.shape[-1]) or not q.dtype == k.dtype == v.dtype:
        given = ", ".join(f"{name} {x.shape} {x.dtype}" for name, x in (("q", q), ("k", k), ("v", v)))
        raise ValueError(f"{given} do not share head dim and dtype, or k and v not their rows")


def on_tensor_cores(x: Any) -> bool:
    """Whether the kernels for tensor cores take it: a half-precision dtype, and whole chunks of eight channels."""
    return bool(x.dtype.itemsize == 2 and x.shape[-1] % 8 == 0)


def tokens(x: Any, axes: tuple[int, int, int]) -> Strided:
    """x [B, T, S, H, D] as rows: `axes` are those of (outer, inner, row)."""
    outer, inner, row, head = pick(element_strides(x), (*axes, 3))
    return Strided(x, (outer, inner, row, head))


def strided_rows(xp: Any, x: Any, lead: tuple[int, ...]) -> Strided:
    """x [..., L, D], broadcast to the leading axes, as rows; copied only if kernels cannot read it where it lies."""
    x = dense_rows(xp, x, 16 if on_tensor_cores(x) else 1)
    x = xp.broadcast_to(x, (*lead, *x.shape[-2:])).reshape((*three(lead), *x.shape[-2:]))
    return Strided(x, pick(element_strides(x), (0, 1, 3, 2)))


def mask_bytes(xp: Any, mask: Any, lead: tuple[int, ...], L: int, M: int) -> Any:
    """A mask of booleans as bytes [outer, inner, heads, L, M], broadcast by strides."""
    return xp.broadcast_to(mask, (*lead, L, M)).reshape((*three(lead), L, M)).view(np.uint8)


def key_lengths(xp: Any, mask: Any, q: Any, k: Any, v: Any) -> Any:
    """Up to which key any counts by a mask of keys alone, [B, 1, ..., 1, M], as int32 [B]; None for other masks.

    Found on the device, so that nothing waits for it. B is the first of two leading axes or more of q, k and v.
    """
    lead = np.broadcast_shapes(q.shape[:-2], k.shape[:-2], v.shape[:-2])
    if mask is None or len(lead) < 2 or mask.shape[:-1] != (lead[0], *(1 for _ in lead)) or not mask.size:
        return None
    keys = xp.arange(1, mask.shape[-1] + 1, dtype=np.int32)
    return xp.amax(mask.reshape(lead[0], -1) * keys, axis=1)


def pick(values: tuple[int, ...], at: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """Four of the values, in this order."""
    a, b, c, d = at
    return values[a], values[b], values[c], values[d]


def three(lead: tuple[int, ...]) -> tuple[int, int, int]:
    """Leading axes as (outer, inner, heads): the last are the heads, and what is between the first and it is inner.

    Heads are the second axis of a grid: a last axis too long for it, and one that has none before it, are no heads.
    """
    if len(lead) < 2:
        return math.prod(lead), 1, 1
    if lead[-1] > MOST_ACROSS:
        return lead[0], math.prod(lead[1:]), 1
    return lead[0], math.prod(lead[1:-1]), lead[-1]


def keys_in_tile(D: int) -> int:
    """As in flash_attention.cu."""
    return 64 if D <= 128 else 32 if D <= 224 else 16


def padded_row(D: int) -> int:
    """As in attention.cuh."""
    return D + (0 if D // 8 % 2 else 8)


def padded_floats(D: int) -> int:
    """As in attention.cuh."""
    chunks = ceil_div(D, 4)
    return chunks * 4 + (0 if chunks % 2 else 4)
