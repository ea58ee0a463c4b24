"""Attention a block of queries at a time, with the softmax of `softmax`."""

from __future__ import annotations

from typing import Any

from .row_blocks import by_blocks
from .softmax import write_masked_softmax, write_softmax


def attention(q: Any, k: Any, v: Any, mask: Any, scale: float, threads: int = 1) -> Any:
    """softmax(q kᵀ scale) v; q [..., L, D], k and v [..., M, D] with M > 0, mask [..., L, M] or None, all broadcasting.

    A row that the mask leaves without a key gives zeros.
    """

    def weigh(logits: Any, mask: Any, out: Any) -> Any:
        if mask is None:
            return write_softmax(logits, out, threads)
        return write_masked_softmax(logits, mask, out, threads)

    return by_blocks(q, k, v, mask, scale, weigh, threads)
