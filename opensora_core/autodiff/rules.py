"""How a gradient passes back through each op, written in the language.

A rule receives (ops, ans, *args): the ops to compute with, the op's result, and every argument of its signature. It
returns one map per argument, from the gradient of the result to the gradient of that argument; None where nothing
flows; arguments after the last array may be left out. The maps are computed with `ops`, so a tape underneath
differentiates them again. A map holds on to what it closes over: a rule that needs only a shape keeps only the shape.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from ..ops import Array, Axis, Ops

Back = Callable[[Array], Array]
Rule = Callable[..., Sequence[Back | None]]

RULES: dict[str, Rule] = {}
CONSTANT = ("full", "arange", "equal", "less", "stop_gradient", "to_numpy")  # primitives through which nothing flows


def rule(function: Rule) -> Rule:
    """Register the rule of the op of the same name."""
    RULES[function.__name__] = function
    return function


# ---------------------------------------------------------------------- helpers


def fit(ops: Ops, x: Any) -> Back:
    """The map back through broadcasting and promotion: sum a gradient to the shape of x and cast it to its dtype."""
    shape, dtype = tuple(getattr(x, "shape", ())), getattr(x, "dtype", None)

    def back(g: Array) -> Array:
        if tuple(g.shape) != shape:
            lead = g.ndim - len(shape)
            repeated = [lead + i for i, n in enumerate(shape) if n == 1 and g.shape[lead + i] != 1]
            g = ops.reshape(ops.sum(g, axis=(*range(lead), *repeated)), shape)
        return g if g.dtype == dtype else ops.astype(g, dtype)

    return back


def swap(ops: Ops, x: Array) -> Array:
    """Transpose the last two axes."""
    n = x.ndim
    return ops.permute_dims(x, (*range(n - 2), n - 1, n - 2))


def floating(ops: Ops, x: Array) -> bool:
    """Whether gradients flow through arrays of this dtype."""
    return ops.dtype_name(x).startswith(("float", "bfloat"))


def halve(ops: Ops, g: Array) -> Array:
    """g / 2 in g's dtype."""
    return ops.astype(ops.widen(g) * 0.5, g.dtype)


def kept(shape: tuple[int, ...], axis: Axis) -> tuple[int, ...]:
    """The shape that a reduction with keepdims=True would give."""
    axes = range(len(shape)) if axis is None else (axis,) if isinstance(axis, int) else axis
    gone = {a % len(shape) for a in axes} if shape else set()
    return tuple(1 if i in gone else n for i, n in enumerate(shape))


# ---------------------------------------------------------------------- elementwise


@rule
def negative(ops: Ops, ans: Array, x: Array) -> Sequence[Back]:
    return (lambda g: -g,)


@rule
def exp(ops: Ops, ans: Array, x: Array) -> Sequence[Back]:
    return (lambda g: g * ans,)


@rule
def log(ops: Ops, ans: Array, x: Array) -> Sequence[Back]:
    return (lambda g: g / x,)


@rule
def sqrt(ops: Ops, ans: Array, x: Array) -> Sequence[Back]:
    return (lambda g: g / (ans + ans),)


@rule
def sin(ops: Ops, ans: Array, x: Array) -> Sequence[Back]:
    return (lambda g: g * ops.cos(x),)


@rule
def cos(ops: Ops, ans: Array, x: Array) -> Sequence[Back]:
    return (lambda g: -g * ops.sin(x),)


@rule
def tanh(ops: Ops, ans: Array, x: Array) -> Sequence[Back]:
    return (lambda g: g - g * (ans * ans),)


@rule
def erf(ops: Ops, ans: Array, x: Array) -> Sequence[Back]:
    def back(g: Array) -> Array:
        w = ops.widen(x)
        return ops.astype(ops.widen(g) * ops.exp(-(w * w)) * (2 / math.sqrt(math.pi)), x.dtype)

    return (back,)


@rule
def add(ops: Ops, ans: Array, a: Array, b: Array) -> Sequence[Back]:
    return fit(ops, a), fit(ops, b)


@rule
def subtract(ops: Ops, ans: Array, a: Array, b: Array) -> Sequence[Back]:
    to_b = fit(ops, b)
    return fit(ops, a), lambda g: to_b(-g)


@rule
def multiply(ops: Ops, ans: Array, a: Array, b: Array) -> Sequence[Back]:
    to_a, to_b = fit(ops, a), fit(ops, b)
    return lambda g: to_a(g * b), lambda g: to_b(g * a)


@rule
def divide(ops: Ops, ans: Array, a: Array, b: Array) -> Sequence[Back]:
    to_a, to_b = fit(ops, a), fit(ops, b)
    return lambda g: to_a(g / b), lambda g: to_b(-g * ans / b)


@rule
def pow(ops: Ops, ans: Array, a: Array, b: Array) -> Sequence[Back]:
    to_a, to_b = fit(ops, a), fit(ops, b)

    def back_a(g: Array) -> Array:
        if isinstance(b, int | float):
            return to_a(g * (b * ops.pow(a, b - 1))) if b else to_a(g * 0.0)
        one_less = ops.where(ops.equal(b, 0.0), 0.0, b - 1.0)  # x**0 is flat, also at x = 0
        return to_a(g * (b * ops.pow(a, one_less)))

    def back_b(g: Array) -> Array:
        if isinstance(a, int | float):
            return to_b(g * ans * math.log(a)) if a else to_b(g * 0.0)
        return to_b(g * ans * ops.log(ops.where(ops.equal(a, 0.0), 1.0, a)))  # 0**y is flat for y > 0

    return back_a, back_b


@rule
def maximum(ops: Ops, ans: Array, a: Array, b: Array) -> Sequence[Back]:
    """A tie shares the gradient equally."""
    to_a, to_b = fit(ops, a), fit(ops, b)
    tie, a_wins, b_wins = ops.equal(a, b), ops.less(b, a), ops.less(a, b)
    return (
        lambda g: to_a(ops.where(tie, halve(ops, g), ops.where(a_wins, g, 0.0))),
        lambda g: to_b(ops.where(tie, halve(ops, g), ops.where(b_wins, g, 0.0))),
    )


@rule
def where(ops: Ops, ans: Array, condition: Array, a: Array, b: Array) -> Sequence[Back | None]:
    to_a, to_b = fit(ops, a), fit(ops, b)
    return None, lambda g: to_a(ops.where(condition, g, 0.0)), lambda g: to_b(ops.where(condition, 0.0, g))


@rule
def astype(ops: Ops, ans: Array, x: Array, dtype: Any) -> Sequence[Back | None]:
    return (fit(ops, x) if floating(ops, ans) else None,)


@rule
def asarray(ops: Ops, ans: Array, x: Array, dtype: Any) -> Sequence[Back | None]:
    return astype(ops, ans, x, dtype)


# ---------------------------------------------------------------------- contraction and reduction


@rule
def matmul(ops: Ops, ans: Array, a: Array, b: Array) -> Sequence[Back]:
    to_a, to_b = fit(ops, a), fit(ops, b)
    return lambda g: to_a(ops.matmul(g, swap(ops, b))), lambda g: to_b(ops.matmul(swap(ops, a), g))


@rule
def sum(ops: Ops, ans: Array, x: Array, axis: Axis, keepdims: bool) -> Sequence[Back]:
    shape, narrow = tuple(x.shape), kept(x.shape, axis)
    return (lambda g: ops.broadcast_to(ops.reshape(g, narrow), shape),)


@rule
def max(ops: Ops, ans: Array, x: Array, axis: Axis, keepdims: bool) -> Sequence[Back]:
    """Equal largest elements share the gradient equally."""
    narrow = kept(x.shape, axis)
    largest = ops.equal(x, ops.reshape(ans, narrow))

    def back(g: Array) -> Array:
        count = ops.sum(ops.astype(largest, g.dtype), axis=axis, keepdims=True)
        return ops.where(largest, ops.reshape(g, narrow) / count, 0.0)

    return (back,)


# ---------------------------------------------------------------------- shape


@rule
def reshape(ops: Ops, ans: Array, x: Array, shape: Sequence[int]) -> Sequence[Back]:
    original = tuple(x.shape)
    return (lambda g: ops.reshape(g, original),)


@rule
def permute_dims(ops: Ops, ans: Array, x: Array, axes: Sequence[int]) -> Sequence[Back]:
    inverse = sorted(range(len(axes)), key=[a % len(axes) for a in axes].__getitem__)
    return (lambda g: ops.permute_dims(g, inverse),)


@rule
def broadcast_to(ops: Ops, ans: Array, x: Array, shape: Sequence[int]) -> Sequence[Back]:
    return (fit(ops, x),)


@rule
def concat(ops: Ops, ans: Array, arrays: Sequence[Array], axis: int) -> Sequence[Back]:
    """One map per joined array: its part of the gradient."""
    shape, axis = ans.shape, axis % ans.ndim

    def part(first: int, last: int) -> Back:
        start = [first if i == axis else 0 for i in range(len(shape))]
        stop = [last if i == axis else n for i, n in enumerate(shape)]
        return lambda g: ops.slice(g, start, stop, (1,) * len(shape))

    maps, first = [], 0
    for x in arrays:
        maps.append(part(first, first + x.shape[axis]))
        first += x.shape[axis]
    return maps


@rule
def slice(
    ops: Ops, ans: Array, x: Array, start: Sequence[int], stop: Sequence[int], step: Sequence[int]
) -> Sequence[Back]:
    """Pad puts every element back where slice found it."""
    spans = [(n - 1) * s + 1 if n else 0 for n, s in zip(ans.shape, step, strict=True)]
    low = [min(first, n - span) for first, n, span in zip(start, x.shape, spans, strict=True)]
    high = [n - first - span for first, n, span in zip(low, x.shape, spans, strict=True)]
    return (lambda g: ops.pad(g, low, high, [s - 1 for s in step]),)


@rule
def pad(
    ops: Ops, ans: Array, x: Array, low: Sequence[int], high: Sequence[int], interior: Sequence[int]
) -> Sequence[Back]:
    """Slice finds every element where pad put it."""
    stop = [n - after for n, after in zip(ans.shape, high, strict=True)]
    return (lambda g: ops.slice(g, low, stop, [gap + 1 for gap in interior]),)


@rule
def take(ops: Ops, ans: Array, x: Array, indices: Array, axis: int) -> Sequence[Back]:
    shape, dtype = tuple(x.shape), x.dtype
    return (lambda g: ops.index_add(ops.full(shape, 0.0, dtype), indices, g, axis),)


@rule
def index_add(ops: Ops, ans: Array, x: Array, indices: Array, values: Array, axis: int) -> Sequence[Back | None]:
    return lambda g: g, None, lambda g: ops.take(g, indices, axis)
