"""Rotation of channel pairs, and the RMS norm of queries and keys before it, on our CUDA kernels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .launching import GetKernel, c_type, ceil_div, dense_rows, element_strides, is_aligned, launch, optional

HELD = (3, 8)  # how many times four channels each of a row's eight lanes may keep; three are D = 72 and 96
ROWS = 16
TABLE_AXES = {"spatial": (2,), "temporal": (1,), "full": (1, 2)}  # of [B, T, S, H], along which positions count


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
        return self._rows(x, _vector(self.xp, weight, x.dtype), cos, sin, eps)

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
        self._launch(x, out.reshape(x.shape), weight, None, *tables, eps)
        return out

    def qk_norm_rope(
        self,
        qkv: Any,
        pattern: str,
        q_norm: Any = None,
        k_norm: Any = None,
        cos: Any = None,
        sin: Any = None,
        eps: float = 1e-6,
        *,
        in_place: bool = False,
    ) -> Any:
        """Queries and keys of qkv [B, T, S, 3, H, D], normed by weights [D], then turned by tables [L, D/2].

        pattern: "spatial", "temporal" or "full", whose positions the tables are of. Returns [B, T, S, 2, H, D], dense;
        in_place writes them over qkv, whose last axis must be dense, and returns their view of it.
        """
        c_type(qkv)
        B, T, S, _, H, D = qkv.shape
        if cos is not None and D % 2:
            raise ValueError(f"rope turns pairs of channels; {D} are odd")
        if in_place and D > 1 and qkv.strides[-1] != qkv.itemsize:
            raise ValueError(f"a last axis of stride {qkv.strides[-1]} cannot be written in place: make it dense")
        out = qkv[:, :, :, :2] if in_place else self.xp.empty((B, T, S, 2, H, D), qkv.dtype)
        if out.size == 0:
            return out
        qkv = qkv if in_place else dense_rows(self.xp, qkv)
        q_norm, k_norm = (None if w is None else _vector(self.xp, w, qkv.dtype) for w in (q_norm, k_norm))
        if cos is not None:
            along = [n if axis in TABLE_AXES[pattern] else 1 for axis, n in enumerate((B, T, S, H))]
            cos, sin = (
                self._table(t.reshape((*along, D // 2)), (B, T, S, H, D // 2), (B, T, S, H)) for t in (cos, sin)
            )
        self._launch(qkv[:, :, :, :2], out, q_norm, k_norm, cos, sin, eps)
        return out

    def _table(self, t: Any, shape: tuple[int, ...], sizes: tuple[int, ...]) -> Any:
        """A table as float32 [n0, n1, n2, n3, D/2], rows dense, seen through strides of zero where it broadcasts."""
        t = self.xp.broadcast_to(t.astype(np.float32, copy=False), shape).reshape((*sizes, shape[-1]))
        return dense_rows(self.xp, t, 8)

    def _launch(self, x: Any, out: Any, q_norm: Any, k_norm: Any, cos: Any, sin: Any, eps: float) -> None:
        """x and out: [n0, n1, n2, n3, D], or [n0, n1, n2, 2, n3, D] of queries and keys."""
        both, D = x.ndim == 6, x.shape[-1]
        sizes = (*x.shape[:3], x.shape[-2])
        rows = math.prod(sizes)
        held = next((n for n in HELD if n * 32 >= D), 0) if D % 4 == 0 else 0
        places = [n * x.itemsize for a in (x, out) for n in element_strides(a)[:-1]]
        if any(n % (4 * x.itemsize) for n in places) or not all(is_aligned(a, 4 * x.itemsize) for a in (x, out)):
            held = 0
        strides = [_steps(a, both) for a in (x, out)] + [
            (0,) * 4 if t is None else _steps(t, False) for t in (cos, sin)
        ]
        keys = [element_strides(a)[3] if both else 0 for a in (x, out)]
        arrays = (x, out, *map(optional, (q_norm, k_norm, cos, sin)))
        numbers = (np.int64(rows), *map(np.int32, (D, *sizes[1:])))
        args = (*arrays, *numbers, *(np.int64(n) for four in strides for n in four), *map(np.int64, keys))
        name = f"qk_norm_rope<{c_type(x)}, {held}>" if held else f"qk_norm_rope_any<{c_type(x)}>"
        grid = (ceil_div(rows, ROWS), 2 if both else 1)
        launch(self.get_kernel("qk_norm_rope.cu", name), grid, (8 * ROWS,), (*args, np.float32(eps)))


def _steps(a: Any, both: bool) -> tuple[int, ...]:
    """Strides of the four leading axes of rows, in elements."""
    steps = element_strides(a)
    return (*steps[:3], steps[4 if both else 3])


def _vector(xp: Any, w: Any, dtype: Any) -> Any:
    return dense_rows(xp, xp.ascontiguousarray(w.astype(dtype, copy=False)), 4 * dtype.itemsize)
