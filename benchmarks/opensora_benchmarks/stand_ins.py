"""Costs and shapes, found out by running ops and programs on arrays that have a shape and take no memory."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from opensora_core import get_backend
from opensora_core.interpose import FlopCounter
from opensora_core.ops import Array, Ops
from opensora_core.testing.running import arrays_in

from .case import Args

KEEP_SHAPE = (
    "modulate", "gated_residual", "gelu", "softmax", "layer_norm", "rms_norm", "rotary", "rms_norm_rotary",
    "group_norm_silu",
)  # fmt: skip


def program_cost(program: Callable[..., Any]) -> Callable[[Args], tuple[int, int]]:
    """FLOPs of a program's ops together, and the bytes of its arguments and result, which have to move at least."""

    def cost(args: Args) -> tuple[int, int]:
        counter = FlopCounter(shapes_only())
        result = program(counter, *args)
        sizes = [x.size * x.dtype.itemsize for x in arrays_in(list(args))]
        return counter.total.flops, sum(sizes) + int(np.prod(result.shape)) * result.dtype.itemsize

    return cost


def result_shape(op: str, args: Args) -> tuple[int, ...]:
    """Shape of an op's result."""
    return tuple(getattr(shapes_only(), op)(*args).shape)


def _conv(self: Ops, x: Array, weight: Array, bias: Any, stride: Any, padding: tuple[int, ...]) -> Array:
    """With stride 1, as in all cases."""
    sizes = (n + 2 * p - k + 1 for n, k, p in zip(x.shape[2:], weight.shape[2:], padding, strict=True))
    return _like((x.shape[0], weight.shape[0], *sizes), x)


def _reshape(self: Ops, x: Array, shape: Sequence[int]) -> Array:
    if any(x.strides):  # an array of its own, such as a rate of frames, whose numbers are used
        return np.reshape(x, shape)
    rest = math.prod(n for n in shape if n >= 0)
    return _like(tuple(x.size // rest if n < 0 else n for n in shape), x)


def _concat(self: Ops, arrays: Sequence[Array], axis: int = 0) -> Array:
    shape = list(arrays[0].shape)
    shape[axis] = sum(x.shape[axis] for x in arrays)
    return _like(tuple(shape), arrays[0])


def _like(shape: tuple[int, ...], x: Array) -> Array:
    return np.broadcast_to(np.zeros((), x.dtype), shape)


@functools.cache
def shapes_only() -> Ops:
    """NumPy, but what takes time returns zeros of the right shape that take no memory."""
    methods: dict[str, Callable[..., Array]] = {
        "add": lambda self, a, b: _like(np.broadcast_shapes(a.shape, b.shape), a),
        "linear": lambda self, x, weight, bias=None: _like((*x.shape[:-1], weight.shape[0]), x),
        "attention": lambda self, q, k, v, mask=None, scale=None: _like((*q.shape[:-1], v.shape[-1]), q),
        "attention_3d": lambda self, qkv, *rest: _like((*qkv.shape[:3], *qkv.shape[4:]), qkv),
        "conv": _conv,
        "reshape": _reshape,
        "concat": _concat,
        **dict.fromkeys(KEEP_SHAPE, lambda self, x, *rest: _like(x.shape, x)),
    }
    numpy_ops = get_backend("numpy", device="cpu", dtype="float32")
    made: Ops = type("ShapesOnly", (type(numpy_ops),), methods)()
    return made
