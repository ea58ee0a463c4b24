"""What the fused ops of a backend take besides their result, where it has kernels of its own for them.

An op that is not in the table of its backend is counted as its default composition. Of Torch these are the CPU's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ...ops import HALF
from ..box import Box
from ..costs.sizes import nbytes

if TYPE_CHECKING:
    from .counter import MemoryCounter

WIDE = 4  # bytes of float32
FEW_CHANNELS = 16  # below which NumPy lays all patches side by side
BLOCK = 1 << 17  # logits that NumPy has, and numbers that its convolution reads, at a time where there are many
LEAST_ROWS = 128  # queries in a block of attention at least
SHORT_ROW = 64  # up to so many keys, NumPy finds the largest logit in a copy
Kernel = Callable[..., Any]


def _one(c: MemoryCounter, x: Box, *rest: Any) -> Box:
    """A result like x, and nothing else of that size."""
    return c.new(x.shape, x.dtype, [x])


def _half(c: MemoryCounter, x: Box) -> bool:
    return c.dtype_name(x) in HALF


# ---------------------------------------------------------------------- NumPy: in place where it can, but not in half


def _unless_half(op: str, kernel: Kernel) -> Kernel:
    def choose(c: MemoryCounter, x: Box, *args: Any) -> Any:
        return c.whole_default(op, x, *args) if _half(c, x) else kernel(c, x, *args)

    return choose


def _in_float32(most: int, last: int, kernel: Kernel) -> Kernel:
    """In half precision as many float32 arrays like x: at most, and beside the result.

    They are fewer than in the default composition, for NumPy computes `a * b + c` in the memory of `a * b`.
    """

    def choose(c: MemoryCounter, x: Box, *args: Any) -> Any:
        if not _half(c, x):
            return kernel(c, x, *args)
        wide = WIDE * x.value.layout.size
        c.ledger.passing(most * wide)
        return c.new(x.shape, x.dtype, [x], passing=last * wide)

    return choose


def _linear(c: MemoryCounter, x: Box, weight: Box, bias: Any) -> Box:
    rows = c.reshape(x, (-1, x.shape[-1]))  # a copy, unless x lies in memory row by row
    y = c.new((rows.shape[0], weight.shape[0]), x.dtype)
    out: Box = c.reshape(y, (*x.shape[:-1], weight.shape[0]))
    return out


def _gelu(c: MemoryCounter, x: Box, approximate: str) -> Any:
    return _one(c, x) if approximate == "tanh" else c.whole_default("gelu", x, approximate)


def _rotary_numpy(c: MemoryCounter, x: Box, cos: Box, sin: Box) -> Box:
    return c.new(x.shape, x.dtype, [x], passing=nbytes(x))  # two products of half the size


def _attention_numpy(c: MemoryCounter, q: Box, k: Box, v: Box, mask: Any, scale: Any) -> Box:
    """Logits of all pairs, which become weights in place, and queries scaled; of many a block of queries at a time."""
    L, M = q.shape[-2], k.shape[-2]
    logits, half = math.prod(q.shape[:-1]) * M, _half(c, q)
    if logits > 4 * BLOCK and L * M >= BLOCK // 8:
        rows = min(L, max(BLOCK // M, LEAST_ROWS))
        needed = rows * (2 * M + q.shape[-1])
    else:
        needed = logits + max(math.prod(q.shape), logits if M <= SHORT_ROW else 0)
    shape = (*q.shape[:-1], v.shape[-1])
    copies = sum(math.prod(x.shape) for x in (q, k, v)) + math.prod(shape) if half else 0
    wide = WIDE if half else q.dtype.itemsize
    return c.new(shape, v.dtype, passing=wide * (needed + copies))


def _conv_numpy(c: MemoryCounter, x: Box, weight: Box, bias: Any, stride: Any, padding: Any) -> Any:
    """x with its border and the kernel; of a block the cells that a place is of, their product, and the sum."""
    if x.shape[1] < FEW_CHANNELS or math.prod(weight.shape[2:]) == 1:
        return c.whole_default("conv", x, weight, bias, stride, padding)
    shape, half = _conv_shape(x, weight, stride, padding), _half(c, x)
    edges = padding or (0,) * (x.ndim - 2)
    bordered = math.prod(x.shape[:2]) * math.prod(n + 2 * p for n, p in zip(x.shape[2:], edges, strict=True))
    block = min(math.prod(shape[2:]), max(1, BLOCK // x.shape[1])) * (x.shape[1] + 2 * shape[1])
    copies = (bordered if any(edges) or half else 0) + (math.prod(shape) if half else 0)
    wide = WIDE if half else x.dtype.itemsize
    return c.new(shape, x.dtype, passing=wide * (copies + math.prod(weight.shape) * (2 if half else 1) + block))


def _conv_shape(x: Box, weight: Box, stride: Any, padding: Any) -> tuple[int, ...]:
    n = x.ndim - 2
    sizes = zip(x.shape[2:], weight.shape[2:], stride or (1,) * n, padding or (0,) * n, strict=True)
    return x.shape[0], weight.shape[0], *((size + 2 * p - k) // s + 1 for size, k, s, p in sizes)


# ---------------------------------------------------------------------- Torch on the CPU


def _softmax(c: MemoryCounter, x: Box, axis: int) -> Box:
    return _one(c, x)


def _layer_norm_torch(c: MemoryCounter, x: Box, weight: Any, bias: Any, eps: float) -> Box:
    wide = c.dense(c.widen(x))
    y: Box = c.astype(c.new(wide.shape, wide.dtype), x.dtype)
    return y


def _gated_residual_torch(c: MemoryCounter, x: Box, branch: Box, gate: Box) -> Any:
    alike = x.dtype == branch.dtype == gate.dtype
    return _one(c, x) if alike else c.whole_default("gated_residual", x, branch, gate)


def _rotary_torch(c: MemoryCounter, x: Box, cos: Box, sin: Box) -> Box:
    w = c.widen(x)
    strides = [s // w.dtype.itemsize for s in w.value.layout.strides]
    aligned = strides[-1] == 1 and not any(s % 2 for s in strides[:-1])
    pairs = w if aligned else c.dense(w)  # complex numbers are made of neighbours
    turned: Box = c.astype(c.new(w.shape, w.dtype, [pairs]), x.dtype)
    return turned


def _attention_torch(c: MemoryCounter, q: Box, k: Box, v: Box, mask: Any, scale: Any) -> Any:
    if mask is None and q.ndim > 4 and q.shape[:-2] == k.shape[:-2]:
        rows, keys, values = (c.reshape(x, (math.prod(x.shape[:-3]), *x.shape[-3:])) for x in (q, k, v))
        return c.reshape(_attention_torch(c, rows, keys, values, None, scale), (*q.shape[:-1], v.shape[-1]))
    if q.ndim != 4:  # no kernel: logits, weights, and queries and keys scaled
        logits = math.prod(q.shape[:-1]) * k.shape[-2] * q.dtype.itemsize
        return c.new((*q.shape[:-1], v.shape[-1]), q.dtype, passing=2 * logits + nbytes(q) + nbytes(k))
    B, H, L, _ = q.shape
    out = c.permute_dims(c.new((B, L, H, v.shape[-1]), q.dtype), (0, 2, 1, 3))
    return out if mask is None else _one(c, out)  # rows without keys become zeros


def _conv_torch(c: MemoryCounter, x: Box, weight: Box, bias: Any, stride: Any, padding: Any) -> Box:
    y = c.new(_conv_shape(x, weight, stride, padding), x.dtype)
    c.ledger.passing(nbytes(x) + nbytes(weight) + nbytes(y))  # all three in the order that oneDNN computes in
    return y


KERNELS: dict[str, dict[str, Kernel]] = {
    "numpy": {
        "linear": _unless_half("linear", _linear),
        "gelu": _in_float32(4, 3, _gelu),
        "silu": _in_float32(3, 2, _one),
        "softmax": _softmax,
        "layer_norm": _unless_half("layer_norm", _one),
        "modulate": _in_float32(3, 2, _one),
        "gated_residual": _in_float32(2, 1, _one),
        "rotary": _unless_half("rotary", _rotary_numpy),
        "attention": _attention_numpy,
        "conv": _conv_numpy,
    },
    "torch": {
        "linear": _linear,
        "gelu": _gelu,
        "silu": _one,
        "softmax": _softmax,
        "layer_norm": _layer_norm_torch,
        "gated_residual": _gated_residual_torch,
        "rotary": _rotary_torch,
        "attention": _attention_torch,
        "conv": _conv_torch,
    },
}
