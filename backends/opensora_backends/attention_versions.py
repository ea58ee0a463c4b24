"""Versions of attention on the CPU, from the obvious one to what a backend calls for many tokens.

A backend picks one by the size of its arguments; here each takes every size, so that the choice can be measured. Half
precision goes by way of float32, as in the backends.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from opensora_core.ops import HALF
from opensora_kernels.cpu.row_blocks import by_blocks

from .numpy_attention import softmax_in_place

Function = Callable[..., Any]


def numpy_whole(q: Any, k: Any, v: Any, mask: Any, scale: float) -> Any:
    """All logits at once; softmax in place."""
    return _whole(softmax_in_place, q, k, v, mask, scale)


def numpy_blocked(q: Any, k: Any, v: Any, mask: Any, scale: float) -> Any:
    """A block of queries at a time; softmax in place."""
    return by_blocks(q, k, v, mask, scale, softmax_in_place)


def numba_whole(q: Any, k: Any, v: Any, mask: Any, scale: float) -> Any:
    """All logits at once; softmax by the compiled kernel."""
    from opensora_kernels.cpu.softmax import masked_softmax, softmax

    return _whole(lambda x, seen: softmax(x) if seen is None else masked_softmax(x, seen), q, k, v, mask, scale)


def numba_blocked(q: Any, k: Any, v: Any, mask: Any, scale: float) -> Any:
    """A block of queries at a time; softmax by the compiled kernel."""
    from opensora_kernels.cpu.blockwise import attention

    return attention(q, k, v, mask, scale)


def _whole(softmax: Function, q: Any, k: Any, v: Any, mask: Any, scale: float) -> Any:
    logits = np.matmul(q * q.dtype.type(scale), np.swapaxes(k, -1, -2))
    return np.matmul(softmax(logits, mask), v)


def _as_op(version: Function) -> Function:
    """The arguments of `Ops.attention`: mask and scale may be left out, and half precision is allowed."""

    def attention(q: Any, k: Any, v: Any, mask: Any = None, scale: float | None = None) -> Any:
        wide = [x.astype(np.float32) if x.dtype.name in HALF else x for x in (q, k, v)]
        out = version(*wide, mask, q.shape[-1] ** -0.5 if scale is None else scale)
        return out.astype(q.dtype, copy=False)

    return attention


VERSIONS = {
    "numpy:whole": _as_op(numpy_whole),
    "numpy:blocked": _as_op(numpy_blocked),
    "numba:whole": _as_op(numba_whole),
    "numba:blocked": _as_op(numba_blocked),
}
