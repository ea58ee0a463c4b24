"""NumPy: the reference interpreter. float64, float32, and half precision with float32 arithmetic inside.

NumPy has no fast half-precision loops and would accumulate sums in half precision, so contractions and reductions of
float16 and bfloat16 (ml_dtypes) run in float32 and are cast back.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import ml_dtypes
import numpy as np

from opensora_core.errors import InvalidInputError
from opensora_core.ops import HALF, Array, Axis, DType, Ops


def _np_dtype(dtype: DType) -> np.dtype[Any]:
    return np.dtype(ml_dtypes.bfloat16) if dtype == "bfloat16" else np.dtype(dtype)


def _is_half(x: Any) -> bool:
    return isinstance(x, np.ndarray | np.generic) and x.dtype.name in HALF


def _alike(a: Array, b: Array) -> tuple[Array, Array]:
    """Give a Python number beside a half-precision array its dtype: ml_dtypes would promote to float32."""
    if isinstance(b, int | float) and _is_half(a):
        return a, np.asarray(b, a.dtype)
    if isinstance(a, int | float) and _is_half(b):
        return np.asarray(a, b.dtype), b
    return a, b


def _unary(function: Callable[[Array], Array], x: Array) -> Array:
    """Apply an elementwise function; through float32 for bfloat16, whose own loops are 2 to 18 times slower."""
    return function(x.astype(np.float32)).astype(x.dtype) if x.dtype == ml_dtypes.bfloat16 else function(x)


_FEW = 4096  # numbers in a group, below which its norm is computed in float64
_WIDE = 16  # channels from which a convolution is faster as one product per place of its kernel


class NumpyOps(Ops):
    """Arrays are np.ndarray on the host."""

    name = "numpy"

    def __init__(self, device: str = "cpu", dtype: str = "float32") -> None:
        if device != "cpu":
            raise InvalidInputError(f"the {self.name} backend runs on device 'cpu', not {device!r}")
        super().__init__(device, dtype)

    # ------------------------------------------------------------------ data

    def asarray(self, x: Any, dtype: DType | None = None) -> Array:
        return np.asarray(x, None if dtype is None else _np_dtype(dtype))

    def to_numpy(self, x: Array) -> Any:
        return np.asarray(x)

    def astype(self, x: Array, dtype: DType) -> Array:
        return np.asarray(x).astype(_np_dtype(dtype), copy=False)

    def full(self, shape: Sequence[int], value: float, dtype: DType = "float32") -> Array:
        return np.full(tuple(shape), value, _np_dtype(dtype))

    def arange(self, stop: int, dtype: DType = "float32") -> Array:
        return np.arange(stop).astype(_np_dtype(dtype))

    # ------------------------------------------------------------------ elementwise

    def negative(self, x: Array) -> Array:
        return np.negative(x)

    def exp(self, x: Array) -> Array:
        return _unary(np.exp, x)

    def log(self, x: Array) -> Array:
        return _unary(np.log, x)

    def sqrt(self, x: Array) -> Array:
        return _unary(np.sqrt, x)

    def sin(self, x: Array) -> Array:
        return _unary(np.sin, x)

    def cos(self, x: Array) -> Array:
        return _unary(np.cos, x)

    def tanh(self, x: Array) -> Array:
        return _unary(np.tanh, x)

    def erf(self, x: Array) -> Array:
        wide = np.asarray(x, np.float64)
        return np.asarray(_ERF(wide), np.float64).reshape(wide.shape).astype(x.dtype)

    def add(self, a: Array, b: Array) -> Array:
        return np.add(*_alike(a, b))

    def subtract(self, a: Array, b: Array) -> Array:
        return np.subtract(*_alike(a, b))

    def multiply(self, a: Array, b: Array) -> Array:
        return np.multiply(*_alike(a, b))

    def divide(self, a: Array, b: Array) -> Array:
        return np.divide(*_alike(a, b))

    def pow(self, a: Array, b: Array) -> Array:
        return np.power(*_alike(a, b))

    def maximum(self, a: Array, b: Array) -> Array:
        return np.maximum(*_alike(a, b))

    def equal(self, a: Array, b: Array) -> Array:
        return np.equal(a, b)

    def less(self, a: Array, b: Array) -> Array:
        return np.less(a, b)

    def where(self, condition: Array, a: Array, b: Array) -> Array:
        dtype = next(v.dtype for v in (a, b) if isinstance(v, np.ndarray | np.generic))
        return np.where(condition, np.asarray(a, dtype), np.asarray(b, dtype))

    # ------------------------------------------------------------------ contraction and reduction

    def matmul(self, a: Array, b: Array) -> Array:
        if _is_half(a):
            return np.matmul(a.astype(np.float32), b.astype(np.float32)).astype(a.dtype)
        return np.matmul(a, b)

    def sum(self, x: Array, axis: Axis = None, keepdims: bool = False) -> Array:
        if _is_half(x):
            return np.sum(x.astype(np.float32), axis=axis, keepdims=keepdims).astype(x.dtype)
        return np.sum(x, axis=axis, keepdims=keepdims, dtype=x.dtype)

    def max(self, x: Array, axis: Axis = None, keepdims: bool = False) -> Array:
        if _is_half(x):
            return np.max(x.astype(np.float32), axis=axis, keepdims=keepdims).astype(x.dtype)  # 4 to 15 times faster
        return np.max(x, axis=axis, keepdims=keepdims)

    # ------------------------------------------------------------------ shape

    def reshape(self, x: Array, shape: Sequence[int]) -> Array:
        return np.reshape(x, tuple(shape))

    def permute_dims(self, x: Array, axes: Sequence[int]) -> Array:
        return np.transpose(x, tuple(axes))

    def broadcast_to(self, x: Array, shape: Sequence[int]) -> Array:
        return np.broadcast_to(x, tuple(shape))

    def concat(self, arrays: Sequence[Array], axis: int = 0) -> Array:
        return np.concatenate(list(arrays), axis=axis)

    def slice(self, x: Array, start: Sequence[int], stop: Sequence[int], step: Sequence[int]) -> Array:
        return x[tuple(map(slice, start, stop, step))]

    def pad(self, x: Array, low: Sequence[int], high: Sequence[int], interior: Sequence[int]) -> Array:
        spread = [n + max(n - 1, 0) * gap for n, gap in zip(x.shape, interior, strict=True)]
        out = np.zeros([a + n + b for a, n, b in zip(low, spread, high, strict=True)], x.dtype)
        out[tuple(slice(a, a + n, gap + 1) for a, n, gap in zip(low, spread, interior, strict=True))] = x
        return out

    def take(self, x: Array, indices: Array, axis: int = 0) -> Array:
        return np.take(x, indices, axis=axis)

    def index_add(self, x: Array, indices: Array, values: Array, axis: int = 0) -> Array:
        out = np.moveaxis(np.array(x, np.float32 if _is_half(x) else x.dtype), axis, 0)
        np.add.at(out, indices, np.moveaxis(values, axis, 0))
        return np.moveaxis(out, 0, axis).astype(x.dtype, copy=False)

    def stop_gradient(self, x: Array) -> Array:
        return x

    # ------------------------------------------------------------------ fused ops that pay: fewer passes, no copies

    def linear(self, x: Array, weight: Array, bias: Array | None = None) -> Array:
        if _is_half(x):
            return super().linear(x, weight, bias)
        y = x.reshape(-1, x.shape[-1]) @ weight.T  # one GEMM instead of a batch of small ones
        if bias is not None:
            y += bias
        return y.reshape(*x.shape[:-1], weight.shape[0])

    def gelu(self, x: Array, approximate: Literal["tanh", "none"] = "tanh") -> Array:
        if _is_half(x) or approximate != "tanh":
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
        if _is_half(x):
            return super().silu(x)
        u = np.asarray(0.5 * x)
        np.tanh(u, out=u)
        u += 1.0
        u *= x
        u *= 0.5
        return u

    def softmax(self, x: Array, axis: int = -1) -> Array:
        w = x.astype(np.float32) if _is_half(x) else x
        e = w - w.max(axis=axis, keepdims=True)
        np.exp(e, out=e)
        e /= e.sum(axis=axis, keepdims=True)
        return e.astype(x.dtype, copy=False)

    def layer_norm(self, x: Array, weight: Array | None = None, bias: Array | None = None, eps: float = 1e-6) -> Array:
        if _is_half(x):
            return super().layer_norm(x, weight, bias, eps)
        y = x - x.mean(axis=-1, keepdims=True)
        variance = np.vecdot(y, y)[..., None] / x.dtype.type(x.shape[-1])  # faster than einsum or a sum, and as exact
        y /= np.sqrt(variance + x.dtype.type(eps))
        if weight is not None:
            y *= weight
        if bias is not None:
            y += bias
        return y

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
        if x.shape[1] < _WIDE or math.prod(kernel) == 1 or min(sizes) < 1:
            return super().conv(x, weight, bias, stride, padding)
        # One product per place of the kernel, summed up: no copy of x per place, as all patches side by side would be,
        # and sums of C products instead of 27·C, which err less.
        dtype, shape = x.dtype, (*x.shape[:2], math.prod(sizes))
        wide = self.widen(np.pad(x, [(0, 0), (0, 0), *((p, p) for p in border)]) if any(border) else x)
        y = np.zeros((x.shape[0], weight.shape[0], shape[2]), wide.dtype)
        for place in np.ndindex(*kernel):
            cells = (slice(o, o + (m - 1) * s + 1, s) for o, m, s in zip(place, sizes, steps, strict=True))
            y += np.matmul(self.widen(weight[(..., *place)]), wide[(slice(None), slice(None), *cells)].reshape(shape))
        if bias is not None:
            y += self.widen(bias)[:, None]
        return y.reshape(*y.shape[:2], *sizes).astype(dtype, copy=False)

    def group_norm(
        self, x: Array, groups: int, weight: Array | None = None, bias: Array | None = None, eps: float = 1e-6
    ) -> Array:
        if x.dtype == np.float32 and math.prod(x.shape[1:]) < _FEW * groups:
            # A group of few and nearly equal numbers magnifies the rounding of its mean; here float64 costs nothing.
            weight, bias = (None if w is None else w.astype(np.float64) for w in (weight, bias))
            return super().group_norm(x.astype(np.float64), groups, weight, bias, eps).astype(np.float32)
        return super().group_norm(x, groups, weight, bias, eps)

    def modulate(self, x: Array, shift: Array, scale: Array, eps: float = 1e-6) -> Array:
        if _is_half(x):
            return super().modulate(x, shift, scale, eps)
        y = self.layer_norm(x, eps=eps)
        y *= 1.0 + scale
        y += shift
        return y

    def rotary(self, x: Array, cos: Array, sin: Array) -> Array:
        if _is_half(x):
            return super().rotary(x, cos, sin)
        even, odd = x[..., 0::2], x[..., 1::2]
        out = np.empty_like(x)
        out[..., 0::2] = even * cos - odd * sin
        out[..., 1::2] = odd * cos + even * sin
        return out


_ERF = np.vectorize(math.erf, otypes=[np.float64])
