"""Rotary position embedding: adjacent channels turned in one pass."""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiled import STRICT, Array, compiled, frozen, row_numbers
from .threads import share_rows


def rotary(x: Any, cos: Any, sin: Any, threads: int = 1) -> Array:
    """Turn channel pairs (2k, 2k+1) of x [..., D]; cos and sin [..., D/2] broadcast along all axes but the last."""
    out = np.empty(x.shape, x.dtype)
    D = x.shape[-1]
    rows = out.reshape(-1, D)
    tables = (frozen(a, (a.size // (D // 2), D // 2), x.dtype) for a in (cos, sin))
    numbers = (row_numbers(a, x) for a in (cos, sin))
    share_rows(threads, _turn, len(rows), out.size, frozen(x, rows.shape, x.dtype), *tables, *numbers, rows)
    return out


@compiled(STRICT)
def _turn(first: int, last: int, x: Array, cos: Array, sin: Array, of_cos: Array, of_sin: Array, out: Array) -> None:
    for r in range(first, last):
        row, y, c, s = x[r], out[r], cos[of_cos[r]], sin[of_sin[r]]
        for d in range(row.size // 2):
            even, odd = row[2 * d], row[2 * d + 1]
            y[2 * d] = even * c[d] - odd * s[d]
            y[2 * d + 1] = odd * c[d] + even * s[d]
