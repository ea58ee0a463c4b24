"""Queries and keys made ready for attention: QK-norm and rope in one pass over the packed projection."""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiled import STRICT, SUMS, Array, compiled, frozen
from .threads import share_rows


def norm_and_turn(
    qkv: Any, q_norm: Any, k_norm: Any, cos: Any = None, sin: Any = None, every: int = 1, threads: int = 1
) -> Array:
    """Normalised and turned queries and keys [2, tokens, H, D] of packed tokens qkv [tokens, 3, H, D].

    q_norm, k_norm: RMS-norm weights [D]. cos, sin: rotary tables [length, D/2], a row for `every` tokens one after the
    other, from the first again after the last; without them nothing is turned.
    """
    tokens, _, H, D = qkv.shape
    out = np.empty((2, tokens, H, D), qkv.dtype)
    length = 0 if cos is None else len(cos)
    weights = (frozen(a, (D,), qkv.dtype) for a in (q_norm, k_norm))
    tables = (frozen(() if a is None else a, (length, D // 2), qkv.dtype) for a in (cos, sin))
    share_rows(
        threads, _norm_and_turn, tokens, out.size, frozen(qkv, qkv.shape, qkv.dtype), *weights, *tables, every, out
    )
    return out


@compiled(STRICT)
def _norm_and_turn(
    first: int, last: int, x: Array, of_queries: Array, of_keys: Array, cos: Array, sin: Array, every: int, out: Array
) -> None:
    length = len(cos)
    for r in range(first, last):
        t = r // every % length if length else 0
        for part in range(2):
            weight = of_keys if part else of_queries
            for h in range(x.shape[2]):
                row, y = x[r, part, h], out[part, r, h]
                inverse = _inverse_root(row)
                if length:
                    c, s = cos[t], sin[t]
                    for d in range(c.size):
                        even, odd = row[2 * d] * inverse * weight[2 * d], row[2 * d + 1] * inverse * weight[2 * d + 1]
                        y[2 * d] = even * c[d] - odd * s[d]
                        y[2 * d + 1] = odd * c[d] + even * s[d]
                else:
                    for d in range(row.size):
                        y[d] = row[d] * inverse * weight[d]


@compiled(SUMS)
def _inverse_root(row: Array) -> Any:
    """1 / √(mean square + eps), with the eps of the language's QK-norm."""
    dtype = row.dtype.type
    square = dtype(0.0)
    for d in range(row.size):
        square += row[d] * row[d]
    return dtype(1.0) / np.sqrt(square / dtype(row.size) + dtype(1e-6))
