"""Running part of an autoencoder in the dtype of its weights, and in float32 where half precision overflows."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from ..module import named_leaves, tree_map
from ..nn.layers import sequential
from ..ops import HALF, Array, Ops


class PrecisionWarning(UserWarning):
    """Half precision was not enough, and something was computed again in float32."""


def run(ops: Ops, steps: tuple[Any, ...], x: Array) -> Array:
    """x through modules one after another in the dtype of their weights; the result is float32 at least.

    Where weights in half precision make numbers that are not finite of x, the steps run again in float32, and a
    PrecisionWarning says so.
    """
    _, weight = next(named_leaves(steps))
    if ops.dtype_name(weight) not in HALF:
        return sequential(ops, steps, ops.astype(x, weight.dtype))
    with np.errstate(over="ignore", invalid="ignore"):  # what NumPy would warn of is looked for here
        y = ops.widen(sequential(ops, steps, ops.astype(x, weight.dtype)))
        finite = _is_finite(ops, y)
    if finite or not _is_finite(ops, x):
        return y
    name = type(steps[-1]).__name__
    message = f"{ops.dtype_name(weight)} overflowed in an autoencoder ({name}), which is computed again in float32"
    warnings.warn(message, PrecisionWarning, stacklevel=3)
    return sequential(ops, tree_map(ops.widen, steps), ops.widen(x))


def _is_finite(ops: Ops, x: Array) -> bool:
    return math.isfinite(float(ops.to_numpy(ops.max(ops.maximum(x, -x)))))
