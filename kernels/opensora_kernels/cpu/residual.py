"""The gated residual: one pass over memory, without an array for the product."""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiled import STRICT, Array, compiled, frozen, row_numbers
from .threads import share_rows


def gated_residual(x: Any, branch: Any, gate: Any, threads: int = 1) -> Array:
    """x + gate * branch; gate has the last axis of x [..., D] and broadcasts along all others."""
    out = np.empty(x.shape, x.dtype)
    D = x.shape[-1]
    rows = out.reshape(-1, D)
    inputs = (frozen(a, (a.size // D, D), x.dtype) for a in (x, branch, gate))
    share_rows(threads, _gated_residual, len(rows), out.size, *inputs, row_numbers(gate, x), rows)
    return out


@compiled(STRICT)
def _gated_residual(first: int, last: int, x: Array, branch: Array, gate: Array, which: Array, out: Array) -> None:
    for r in range(first, last):
        row, other, factor, y = x[r], branch[r], gate[which[r]], out[r]
        for d in range(row.size):
            y[d] = row[d] + factor[d] * other[d]
