"""Attention to few keys: the products by BLAS, a softmax of all queries at once between them.

Rows of logits that are as short as a prompt or a frame of few patches leave most of a vector register empty. So the
logits are computed the other way round, [keys, queries]: every loop runs along the queries, and a key that the mask
forbids for all of them costs nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiled import STRICT, Array, compiled, frozen, row_numbers
from .exponential import exp_negative
from .threads import share_rows

MOST_KEYS, FEWEST_QUERIES = 64, 4
"""Between them this is faster than softmax row by row."""


def serves(q: Any, k: Any, v: Any, mask: Any = None) -> bool:
    """Whether q, k, v [..., heads, L, D] and mask [..., 1, M] are of the shapes that `attention` takes."""
    batch = q.shape[:-2]
    alike = q.ndim >= 3 and batch == k.shape[:-2] == v.shape[:-2] and q.size and v.size
    if not (alike and 0 < k.shape[-2] <= MOST_KEYS and q.shape[-2] >= FEWEST_QUERIES):
        return False
    if mask is None:
        return True
    if mask.ndim < 2 or mask.shape[-2:] != (1, k.shape[-2]):
        return False
    return np.broadcast_shapes(mask.shape[:-2], batch) == batch


def attention(q: Any, k: Any, v: Any, mask: Any, scale: float, threads: int = 1, out: Any = None) -> Array:
    """softmax(q kᵀ scale) v of what `serves` names; a mask without any key gives zeros.

    out: where to write the result [..., heads, L, D]; else it is new, and lies in memory as [..., L, heads, D].
    """
    if out is None:
        *batch, heads = q.shape[:-2]
        out = np.empty((*batch, q.shape[-2], heads, v.shape[-1]), v.dtype).swapaxes(-3, -2)
    weights = np.matmul(k, q.swapaxes(-1, -2))  # (..., M, L)
    M, L = weights.shape[-2:]
    seen = np.ones((1, M), bool) if mask is None else mask[..., 0, :]
    share_rows(
        threads, _softmax_over_keys, weights.size // (M * L), weights.size,
        frozen(seen, (seen.size // M, M), seen.dtype), row_numbers(seen, weights[..., 0]), weights.dtype.type(scale),
        weights.reshape(-1, M, L),
    )  # fmt: skip
    return np.matmul(weights.swapaxes(-1, -2), v, out=out)


@compiled(STRICT)
def _softmax_over_keys(first: int, last: int, mask: Array, which: Array, scale: Any, logits: Array) -> None:
    """Turn logits [..., keys, queries] into weights, in place.

    NaN may be passed over where the largest is sought: its exponential is NaN and makes the sum so.
    """
    dtype = logits.dtype.type
    nothing, zero, one = dtype(-np.inf), dtype(0.0), dtype(1.0)
    _, M, L = logits.shape
    most, total = np.empty(L, logits.dtype), np.empty(L, logits.dtype)
    for r in range(first, last):
        rows, seen = logits[r], mask[which[r]]
        for i in range(L):
            most[i], total[i] = nothing, zero
        for j in range(M):
            if seen[j]:
                row = rows[j]
                for i in range(L):
                    value = row[i] * scale
                    row[i] = value
                    most[i] = most[i] if most[i] > value else value
        for j in range(M):
            row = rows[j]
            if seen[j]:
                for i in range(L):
                    weight = exp_negative(row[i] - most[i])
                    row[i] = weight
                    total[i] += weight
            else:
                for i in range(L):
                    row[i] = zero
        for i in range(L):
            total[i] = one / (one if total[i] == zero else total[i])
        for j in range(M):
            if seen[j]:
                row = rows[j]
                for i in range(L):
                    row[i] *= total[i]
