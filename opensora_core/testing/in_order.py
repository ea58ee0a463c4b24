"""The plain implementation once more, adding one element after another: the loop of a textbook.

A library may add in any order, and some orders are luckier than others: adding in pairs, or in eight registers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..ops import Array, Axis, Ops


def in_order(backend: type[Ops]) -> type[Ops]:
    """The same backend, whose arrays are NumPy's, with sums and matrix products in order; half precision in float32."""
    methods: dict[str, Callable[..., Any]] = {"matmul": _matmul, "sum": _sum}
    return type(f"InOrder{backend.__name__}", (backend,), methods)


def _matmul(self: Ops, a: Array, b: Array) -> Array:
    left, right = np.asarray(self.widen(a)), np.asarray(self.widen(b))
    shape = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    total = np.zeros((*shape, left.shape[-2], right.shape[-1]), left.dtype)
    for k in range(left.shape[-1]):
        total = total + left[..., :, k, None] * right[..., k, None, :]
    return total.astype(a.dtype)


def _sum(self: Ops, x: Array, axis: Axis = None, keepdims: bool = False) -> Array:
    wide = np.asarray(self.widen(x))
    axes = tuple(range(x.ndim)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    axes = tuple(a % x.ndim for a in axes)
    kept = tuple(1 if a in axes else n for a, n in enumerate(x.shape))
    rest = [n for a, n in enumerate(x.shape) if a not in axes]
    last = np.moveaxis(wide, axes, tuple(range(-len(axes), 0)))
    rows = last.reshape(*rest, math.prod(x.shape[a] for a in axes))
    total = np.zeros(rows.shape[:-1], wide.dtype)
    for place in range(rows.shape[-1]):
        total = total + rows[..., place]
    return (total.reshape(kept) if keepdims else total).astype(x.dtype)
