"""Softmax in place and attention by it, whole for few tokens and a block of queries at a time for many."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from opensora_core.ops import NEVER
from opensora_kernels.cpu.row_blocks import by_blocks, is_large

Array = NDArray[Any]
SHORT, MANY = 64, 1024  # numbers in a row and in all: many short rows are faster reduced another way


def attention(q: Any, k: Any, v: Any, mask: Any, scale: float) -> Array:
    """softmax(q kᵀ scale) v in the dtype of q, float32 or float64; shapes as in `Ops.attention`."""
    if is_large(q, k):
        return by_blocks(q, k, v, mask, scale, softmax_in_place)
    logits = np.matmul(q * q.dtype.type(scale), np.swapaxes(k, -1, -2))
    if mask is not None and np.broadcast_shapes(mask.shape, logits.shape) != logits.shape:
        logits = np.broadcast_to(logits, np.broadcast_shapes(mask.shape, logits.shape)).copy()
    return np.matmul(softmax_in_place(logits, mask), v)


def softmax_in_place(w: Array, mask: Any = None, scratch: Any = None) -> Array:
    """Turn rows [..., M] into their softmax and return them; what the mask forbids gets zero, in a row of nothing too.

    w lies in row-major order. scratch is not used: this needs none.
    """
    if not w.size:
        return w
    if mask is not None:
        np.copyto(w, NEVER, where=~mask)
    w -= _largest(w)
    np.exp(w, out=w)
    w /= _total(w)
    if mask is not None and not (some := mask.any(axis=-1, keepdims=True)).all():
        w *= some
    return w


def _largest(w: Array) -> Array:
    """Maximum of each row: [..., 1]."""
    M = w.shape[-1]
    if M > SHORT or w.size < MANY:
        return np.maximum.reduce(w, axis=-1, keepdims=True)
    columns = np.ascontiguousarray(w.reshape(-1, M).T)  # then NumPy compares many rows at once
    return np.maximum.reduce(columns, axis=0).reshape(*w.shape[:-1], 1)


def _total(w: Array) -> Array:
    """Sum of each row: [..., 1]."""
    if w.shape[-1] > SHORT or w.size < MANY:
        return np.add.reduce(w, axis=-1, keepdims=True)
    return np.matmul(w, np.ones((w.shape[-1], 1), w.dtype))
