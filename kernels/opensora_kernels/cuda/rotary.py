"""Rotation of channel pairs, and the RMS norm of queries or keys before it, on our CUDA kernels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .launching import GetKernel, c_type, ceil_div, dense_rows, element_strides, is_aligned, launch, optional
from .preparation import norm_weight

HELD = (3, 8)  # how many times four channels each of a row's eight lanes may keep; three are D = 72 and 96
ROWS = 16


@dataclass(frozen=True)
class RotaryKernels:
    """Rope and QK-norm on one array library, of float32, float16 or bfloat16 arrays; tables are float32.

    xp: CuPy, or NumPy with a `get_kernel` of the emulation. get_kernel: see `launching.GetKernel`.
    Norm and rotation are computed in float32 and rounded once. ValueError says what does not fit.
    """

    xp: Any
    get_kernel: GetKernel

    def rotary(self, x: Any, cos: Any, sin: Any) -> Any:
        """Turn the pairs (2k, 2k+1) of x [..., D]; cos and sin are broadcastable to x[..., ::2]."""
        return self._rows(x, None, cos, sin, 0.0)

    def rms_norm_rotary(self, x: Any, weight: Any, cos: Any, sin: Any, eps: float = 1e-6) -> Any:
        """RMS norm of x [..., D] times weight [D], and then `rotary`."""
        weight = norm_weight(self.xp, "weight", weight, x.shape[-1], x.dtype)
        return self._rows(x, dense_rows(self.xp, weight, 4 * x.itemsize), cos, sin, eps)

    def _rows(self, x: Any, weight: Any, cos: Any, sin: Any, eps: float) -> Any:
        c_type(x)
        out = self.xp.empty(x.shape, x.dtype)
        if x.size == 0:
            return out
        lead, D = (1,) * (5 - x.ndim) + x.shape[:-1], x.shape[-1]
        sizes = (math.prod(lead[:-3]), *lead[-3:])
        if D % 2:
            raise ValueError(f"rope turns pairs of channels; {D} are odd")
        tables = [self._table(t, (*x.shape[:-1], D // 2), sizes) for t in (cos, sin)]
        x = dense_rows(self.xp, x).reshape((*sizes, D))
        held = _held(x)
        strides = [np.int64(n) for a in (x, *tables) for n in element_strides(a)[:4]]
        rows = math.prod(sizes)
        numbers = (np.int64(rows), *map(np.int32, (D, *sizes[1:])), *strides, np.float32(eps))
        name = f"qk_norm_rope<{c_type(x)}, {held}>" if held else f"qk_norm_rope_any<{c_type(x)}>"
        kernel = self.get_kernel("qk_norm_rope.cu", name)
        launch(kernel, (ceil_div(rows, ROWS),), (8 * ROWS,), (x, out, optional(weight), *tables, *numbers))
        return out

    def _table(self, t: Any, shape: tuple[int, ...], sizes: tuple[int, ...]) -> Any:
        """A table as float32 [n0, n1, n2, n3, D/2], rows dense, seen through strides of zero where it broadcasts."""
        t = self.xp.broadcast_to(t.astype(np.float32, copy=False), shape).reshape((*sizes, shape[-1]))
        return dense_rows(self.xp, t, 8)


def _held(x: Any) -> int:
    """How many accesses of four channels a lane makes, by the next instantiation; 0 if qk_norm_rope_any must serve."""
    D = x.shape[-1]
    if not is_aligned(x, 4 * x.itemsize) or any(n % 4 for n in (D, *element_strides(x)[:-1])):
        return 0
    return next((n for n in HELD if n * 32 >= D), 0)
