"""Attention by BLAS, a block of queries at a time, so that the logits never leave the cache.

The products are BLAS' own (no loop of ours comes near it for more than a few keys). What a whole matrix of logits costs
is memory: of 4096 queries, 300 keys and 16 heads it takes 79 MB, which are written and read five times. Of a block the
memory grows with the number of keys alone. This module is plain NumPy; who calls it brings the softmax.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Weigh = Callable[[Array, Any, Array], Array]
"""weigh(logits [rows, M], mask [1 or rows, 1 or M] or None, scratch [rows, M]) -> weights, in either of the two."""

BLOCK = 1 << 17  # logits at a time and thread: half a megabyte in float32
LEAST = 128  # queries of a block at least, since products of fewer are slow


def by_blocks(q: Any, k: Any, v: Any, mask: Any, scale: float, weigh: Weigh, threads: int = 1) -> Array:
    """weigh(q kᵀ scale) v; q [..., L, D], k and v [..., M, D] with M > 0, mask [..., L, M] or None.

    All of them broadcast in their leading axes, the mask in the last two as well.
    """
    shapes = [a.shape[:-2] for a in (q, k, v)] + ([] if mask is None else [mask.shape[:-2]])
    batch = np.broadcast_shapes(*shapes)
    L, M = q.shape[-2], k.shape[-2]
    out = np.empty((*batch, L, v.shape[-1]), q.dtype)
    q, k, v = (np.broadcast_to(a, (*batch, *a.shape[-2:])) for a in (q, k, v))
    mask = None if mask is None else np.broadcast_to(mask, (*batch, *(1,) * max(0, 2 - mask.ndim), *mask.shape[-2:]))
    rows = min(L, max(threads * BLOCK // M, LEAST))
    logits, scratch = np.empty((2, rows, M), q.dtype)
    factor = q.dtype.type(scale)
    for index in np.ndindex(batch):
        keys, values = k[index].T, v[index]
        seen = None if mask is None else mask[index]
        for first in range(0, L, rows):
            block = slice(first, min(first + rows, L))
            n = block.stop - block.start
            np.matmul(q[index][block] * factor, keys, out=logits[:n])
            weights = weigh(logits[:n], seen if seen is None or len(seen) == 1 else seen[block], scratch[:n])
            np.matmul(weights, values, out=out[index][block])
    return out


def is_large(q: Any, k: Any) -> bool:
    """Whether there are so many logits that block by block is better, and enough of each matrix to fill blocks."""
    return math.prod(q.shape[:-1]) * k.shape[-2] > 4 * BLOCK and q.shape[-2] * k.shape[-2] >= BLOCK // 8
