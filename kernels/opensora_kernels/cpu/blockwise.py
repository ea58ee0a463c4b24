"""Attention by BLAS, a block of queries at a time, so that the logits never leave the cache.

The products are BLAS' own (no loop of ours comes near it for more than a few keys). What a whole matrix of logits costs
is memory: of 4096 queries, 300 keys and 16 heads it takes 79 MB, which are written and read five times.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .compiled import Array
from .softmax import write_masked_softmax, write_softmax

BLOCK = 1 << 17  # logits at a time and thread: half a megabyte in float32


def attention(q: Any, k: Any, v: Any, mask: Any, scale: float, threads: int = 1) -> Array:
    """softmax(q kᵀ scale) v; q [..., L, D], k and v [..., M, D] with M > 0, mask [..., L, M] or None, all broadcasting.

    A row that the mask leaves without a key gives zeros.
    """
    shapes = [a.shape[:-2] for a in (q, k, v)] + ([] if mask is None else [mask.shape[:-2]])
    batch = np.broadcast_shapes(*shapes)
    L, M = q.shape[-2], k.shape[-2]
    out = np.empty((*batch, L, v.shape[-1]), q.dtype)
    q, k, v = (np.broadcast_to(a, (*batch, *a.shape[-2:])) for a in (q, k, v))
    mask = None if mask is None else np.broadcast_to(mask, (*batch, *(1,) * max(0, 2 - mask.ndim), *mask.shape[-2:]))
    rows = max(1, min(L, threads * BLOCK // M))
    logits, weights = np.empty((2, rows, M), q.dtype)
    factor = q.dtype.type(scale)
    for index in np.ndindex(batch):
        keys, values = k[index].T, v[index]
        for first in range(0, L, rows):
            block = slice(first, min(first + rows, L))
            n = block.stop - block.start
            np.matmul(q[index][block] * factor, keys, out=logits[:n])
            if mask is None:
                write_softmax(logits[:n], weights[:n], threads)
            else:
                seen = mask[index]
                write_masked_softmax(logits[:n], seen if len(seen) == 1 else seen[block], weights[:n], threads)
            np.matmul(weights[:n], values, out=out[index][block])
    return out


def is_large(q: Any, k: Any) -> bool:
    """Whether there are so many logits that block by block is better, and enough of each matrix to fill blocks."""
    return math.prod(q.shape[:-1]) * k.shape[-2] > 4 * BLOCK and q.shape[-2] * k.shape[-2] >= BLOCK // 8
