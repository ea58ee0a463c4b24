"""The fused ops that NumPy does in fewer passes over memory than their compositions: in place, and by BLAS.

What is in place is only ever an array made here. Reductions of short rows are slow in NumPy (a sum of 128 numbers takes
three times as long as their product with ones), so means and sums of squares are products.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import ml_dtypes
import numpy as np

from opensora_core.ops import Array, Ops

from .numpy_attention import attention, softmax_in_place
from .numpy_conv import conv

FEW = 4096  # numbers in a group, below which its norm is computed in float64
WIDE = 16  # channels from which a convolution is faster as one product per place of its kernel


def is_half(x: Any) -> bool:
    """Whether an array is of half precision."""
    return x.dtype.type in (np.float16, ml_dtypes.bfloat16)


class NumpyFused(Ops):
    """What `NumpyOps` overrides of the upper tier."""

    def linear(self, x: Array, weight: Array, bias: Array | None = None) -> Array:
        if is_half(x):
            return super().linear(x, weight, bias)
        y = x.reshape(-1, x.shape[-1]) @ weight.T  # one GEMM instead of a batch of small ones
        if bias is not None:
            y += bias
        return y.reshape(*x.shape[:-1], weight.shape[0])

    def gelu(self, x: Array, approximate: Literal["tanh", "none"] = "tanh") -> Array:
        if is_half(x) or approximate != "tanh":
            return super().gelu(x, approximate)
        u = np.asarray(x * x)
        u *= 0.044715 * math.sqrt(2 / math.pi)
        u += math.sqrt(2 / math.pi)
        u *= x
        np.tanh(u, out=u)
        u += 1.0
        u *= x
        u *= 0.5
        return u

    def silu(self, x: Array) -> Array:
        if is_half(x):
            return super().silu(x)
        u = np.asarray(0.5 * x)
        np.tanh(u, out=u)
        u += 1.0
        u *= x
        u *= 0.5
        return u

    def softmax(self, x: Array, axis: int = -1) -> Array:
        if axis not in (-1, x.ndim - 1):
            return np.moveaxis(self.softmax(np.moveaxis(x, axis, -1)), -1, axis)
        if is_half(x):
            return softmax_in_place(x.astype(np.float32, order="C")).astype(x.dtype)
        return softmax_in_place(np.array(x, order="C"))

    def layer_norm(self, x: Array, weight: Array | None = None, bias: Array | None = None, eps: float = 1e-6) -> Array:
        if is_half(x):
            return super().layer_norm(x, weight, bias, eps)
        n = x.dtype.type(x.shape[-1])
        y = x - (np.vecdot(x, np.ones(x.shape[-1], x.dtype)) / n)[..., None]
        variance = np.vecdot(y, y)[..., None] / n  # faster than einsum or a sum, and as exact
        y /= np.sqrt(variance + x.dtype.type(eps))
        if weight is not None:
            y *= weight
        if bias is not None:
            y += bias
        return y

    def rms_norm(self, x: Array, weight: Array, eps: float = 1e-6) -> Array:
        if is_half(x) or weight.dtype != x.dtype:
            return super().rms_norm(x, weight, eps)
        mean_square = np.vecdot(x, x)[..., None] / x.dtype.type(x.shape[-1])
        y = np.asarray(x / np.sqrt(mean_square + x.dtype.type(eps)))
        y *= weight
        return y

    def modulate(self, x: Array, shift: Array, scale: Array, eps: float = 1e-6) -> Array:
        if is_half(x):
            return super().modulate(x, shift, scale, eps)
        y = self.layer_norm(x, eps=eps)
        y *= 1.0 + scale
        y += shift
        return y

    def gated_residual(self, x: Array, branch: Array, gate: Array) -> Array:
        if is_half(x) or not x.dtype == branch.dtype == gate.dtype:
            return super().gated_residual(x, branch, gate)
        y = np.asarray(branch * gate)
        y += x
        return y

    def rotary(self, x: Array, cos: Array, sin: Array) -> Array:
        if is_half(x) or x.strides[-1] != x.itemsize or not x.dtype == cos.dtype == sin.dtype:
            return super().rotary(x, cos, sin)
        turns = np.empty(np.broadcast_shapes(cos.shape, sin.shape), np.result_type(x.dtype, np.complex64))
        turns.real, turns.imag = cos, sin
        return (x.view(turns.dtype) * turns).view(x.dtype)  # pairs as complex numbers: one pass

    def attention(self, q: Array, k: Array, v: Array, mask: Array | None = None, scale: float | None = None) -> Array:
        scale = q.shape[-1] ** -0.5 if scale is None else scale
        if is_half(q):
            return attention(*(a.astype(np.float32) for a in (q, k, v)), mask, scale).astype(v.dtype)
        return attention(q, k, v, mask, scale)

    def conv(
        self,
        x: Array,
        weight: Array,
        bias: Array | None = None,
        stride: Sequence[int] | None = None,
        padding: Sequence[int] | None = None,
    ) -> Array:
        kernel, n = weight.shape[2:], x.ndim - 2
        steps, border = tuple(stride or (1,) * n), tuple(padding or (0,) * n)
        sizes = [(m + 2 * p - k) // s + 1 for m, p, k, s in zip(x.shape[2:], border, kernel, steps, strict=True)]
        if x.shape[1] < WIDE or math.prod(kernel) == 1 or min(sizes) < 1:
            return super().conv(x, weight, bias, stride, padding)
        wide = self.widen(np.pad(x, [(0, 0), (0, 0), *((p, p) for p in border)]) if any(border) else x)
        y = conv(wide, self.widen(weight), sizes, steps)
        if bias is not None:
            y += self.widen(bias).reshape(-1, *(1,) * n)
        return y.astype(x.dtype, copy=False)

    def group_norm(
        self, x: Array, groups: int, weight: Array | None = None, bias: Array | None = None, eps: float = 1e-6
    ) -> Array:
        if x.dtype == np.float32 and math.prod(x.shape[1:]) < FEW * groups:
            # A group of few and nearly equal numbers magnifies the rounding of its mean; here float64 costs nothing.
            weight, bias = (None if w is None else w.astype(np.float64) for w in (weight, bias))
            return super().group_norm(x.astype(np.float64), groups, weight, bias, eps).astype(np.float32)
        return super().group_norm(x, groups, weight, bias, eps)
