"""Arguments of the primitives."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from hypothesis import strategies as st

from .source import Call, Floats, Source, strategy


def elementwise(numbers: Callable[..., Floats] = Source.normal) -> st.SearchStrategy[Call]:
    """(x): any shape."""
    return strategy(lambda s: s.call(numbers(s, *s.shape())))


def exponents() -> st.SearchStrategy[Call]:
    """(x) up to 9, down to -4e4, with -inf among them: what softmax hands to exp."""

    def build(s: Source) -> Call:
        x = np.minimum(s.normal(*s.shape()), 9.0)
        return s.call(s.forbid(x) if s.pick(False, False, True) else x)

    return strategy(build)


def positive() -> st.SearchStrategy[Call]:
    """(x) with x > 0."""
    return strategy(lambda s: s.call(s.magnitudes(*s.shape())))


def pairs(
    left: Callable[..., Floats] = Source.normal, right: Callable[..., Floats] = Source.normal
) -> st.SearchStrategy[Call]:
    """(a, b) that broadcast against each other; now and then one is a Python number."""

    def build(s: Source) -> Call:
        shape = s.shape()
        a, b = left(s, *s.part(shape)), right(s, *s.part(shape))
        number = s.pick(None, None, None, "a", "b")
        return s.call(
            round(float(left(s)), 2) if number == "a" else a, round(float(right(s)), 2) if number == "b" else b
        )

    return strategy(build)


def powers() -> st.SearchStrategy[Call]:
    """(a, b) with a > 0."""

    def build(s: Source) -> Call:
        shape = s.shape()
        b = s.pick(2, 3.0, 0.5, -1, 0) if s.pick(True, False) else s.unit(*s.part(shape))
        return s.call(np.abs(s.away_from_zero(*shape)) * s.pick(1.0, 1.0, s.scale), b)

    return strategy(build)


def choices() -> st.SearchStrategy[Call]:
    """(condition, a, b) that broadcast; now and then one branch is a Python number, as in a -inf mask."""

    def build(s: Source) -> Call:
        shape = s.shape()
        a, b = s.normal(*s.part(shape)), s.normal(*s.part(shape))
        number = s.pick(None, None, "a", "b")
        low = s.pick(-math.inf, -1e4, 0.0)
        return s.call(s.mask(*s.part(shape)), 0.5 if number == "a" else a, low if number == "b" else b)

    return strategy(build)


def matrices() -> st.SearchStrategy[Call]:
    """(a [..., n, k], b [..., k, m]) with broadcasting batches."""

    def build(s: Source) -> Call:
        batch, n, k, m = s.shape(max_dims=2), s.size(), s.width(), s.size()
        return s.call(s.unit(*s.part(batch), n, k), s.normal(*s.part(batch), k, m))

    return strategy(build)


def reductions(numbers: Callable[..., Floats] = Source.normal, low: int = 0) -> st.SearchStrategy[Call]:
    """(x, axis, keepdims): one axis, several, or all."""

    def build(s: Source) -> Call:
        shape = s.shape(low=low)
        axes = sorted(s.draw(st.sets(st.integers(0, max(len(shape) - 1, 0))))) if shape else []
        axis = None if not axes else axes[0] - len(shape) if len(axes) == 1 else tuple(axes)
        return s.call(numbers(s, *shape), axis, s.pick(False, True))

    return strategy(build)


def conversions() -> st.SearchStrategy[Call]:
    """(x, dtype): numbers, whole numbers or booleans."""

    def build(s: Source) -> Call:
        shape = s.shape()
        x = s.pick(s.normal(*shape), s.unit(*shape) * 3, s.rng.integers(-300, 300, shape), s.mask(*shape))
        return s.call(x, s.pick("float64", "float32", "bfloat16", "float16", "int64", "int32", "bool"))

    return strategy(build)


def fills() -> st.SearchStrategy[Call]:
    """(shape, value, dtype)."""

    def build(s: Source) -> Call:
        dtype = s.pick("float32", "float64", "float16", "bfloat16", "int64", "bool")
        return Call((s.shape(), s.pick(0.0, 1.0, -2.5, 1e4, *([-math.inf, 1e-7] if "float" in dtype else [])), dtype))

    return strategy(build)


def ranges() -> st.SearchStrategy[Call]:
    """(stop, dtype)."""
    return strategy(lambda s: Call((s.size(0, 40), s.pick("float64", "float32", "bfloat16", "float16", "int64"))))


def reshapes() -> st.SearchStrategy[Call]:
    """(x, shape): the same axes split, merged, reordered or inferred."""

    def build(s: Source) -> Call:
        x = s.normal(*s.shape())
        flat = (x.size,) if x.size == 0 or s.pick(True, False) else (-1,)
        return s.call(x, s.pick(flat, (1, *x.shape), tuple(reversed(x.shape)), x.shape))

    return strategy(build)


def permutations() -> st.SearchStrategy[Call]:
    """(x, axes)."""

    def build(s: Source) -> Call:
        x = s.normal(*s.shape())
        return s.call(x, tuple(s.draw(st.permutations(range(x.ndim)))))

    return strategy(build)


def broadcasts() -> st.SearchStrategy[Call]:
    """(x, shape)."""

    def build(s: Source) -> Call:
        shape = s.shape()
        return s.call(s.normal(*s.part(shape)), shape)

    return strategy(build)


def joins() -> st.SearchStrategy[Call]:
    """(arrays, axis): one to three arrays, some of them empty."""

    def build(s: Source) -> Call:
        shape = s.shape(min_dims=1)
        axis = s.size(0, len(shape) - 1)
        lengths = [s.size(0, 3) for _ in range(s.size(1, 3))]
        arrays = [s.normal(*shape[:axis], n, *shape[axis + 1 :]) for n in lengths]
        return s.call(arrays, axis - len(shape) if s.pick(True, False) else axis)

    return strategy(build)


def cuts() -> st.SearchStrategy[Call]:
    """(x, start, stop, step), empty cuts among them."""

    def build(s: Source) -> Call:
        shape = s.shape()
        start = tuple(s.size(0, n) for n in shape)
        stop = tuple(s.size(first, n) for first, n in zip(start, shape, strict=True))
        return s.call(s.normal(*shape), start, stop, tuple(s.size(1, 3) for _ in shape))

    return strategy(build)


def paddings() -> st.SearchStrategy[Call]:
    """(x, low, high, interior)."""

    def build(s: Source) -> Call:
        shape = s.shape()
        low, high, interior = (tuple(s.size(0, 2) for _ in shape) for _ in range(3))
        return s.call(s.normal(*shape), low, high, s.pick(interior, (0,) * len(shape)))

    return strategy(build)


def lookups() -> st.SearchStrategy[Call]:
    """(x, indices, axis) with repeated indices, and none at all."""

    def build(s: Source) -> Call:
        shape = s.shape(min_dims=1, low=1)
        axis = s.size(0, len(shape) - 1)
        indices = s.rng.integers(0, shape[axis], s.size(0, 6)).astype(s.pick("int64", "int32"))
        return s.call(s.normal(*shape), indices, s.pick(axis, axis - len(shape)))

    return strategy(build)


def scatters() -> st.SearchStrategy[Call]:
    """(x, indices, values, axis)."""

    def build(s: Source) -> Call:
        shape = s.shape(min_dims=1, low=1)
        axis, n = s.size(0, len(shape) - 1), s.size(0, 6)
        values = s.normal(*shape[:axis], n, *shape[axis + 1 :])
        indices = s.rng.integers(0, shape[axis], n).astype(s.pick("int64", "int32"))
        return s.call(s.normal(*shape), indices, values, s.pick(axis, axis - len(shape)))

    return strategy(build)
