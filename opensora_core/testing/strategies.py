"""Named Hypothesis strategies for the arguments of the ops: a seed, a shape and a scale are drawn, not every element.

Shapes are small and odd, with empty batches and axes of length 1 among them. Each strategy yields a `Call`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

Shape = tuple[int, ...]
Draw = Callable[[st.SearchStrategy[Any]], Any]
Floats = NDArray[np.float64]

SCALES = (1.0, 1e-3, 30.0)
LAYOUTS = ("plain", "transposed", "strided", "reversed")


@dataclass(frozen=True)
class Call:
    """Arguments of one op call, in signature order.

    float64 arrays stand for the dtype under test, float32 arrays for float32 or wider; integers, booleans and all else
    stay as they are. layout: how arrays lie in memory, one of LAYOUTS.
    """

    args: tuple[Any, ...]
    layout: str = "plain"


class Source:
    """What a strategy draws from: sizes one by one, numbers from one seed."""

    def __init__(self, draw: Draw) -> None:
        self.draw = draw
        self.rng = np.random.default_rng(draw(st.integers(0, 2**16)))
        self.scale: float = draw(st.sampled_from(SCALES))

    def size(self, low: int = 1, high: int = 5) -> int:
        """Draw a length."""
        return int(self.draw(st.integers(low, high)))

    def shape(self, min_dims: int = 0, max_dims: int = 4, low: int = 0) -> Shape:
        """Draw a shape with axes of low to 5."""
        return tuple(self.draw(st.lists(st.integers(low, 5), min_size=min_dims, max_size=max_dims)))

    def pick(self, *options: Any) -> Any:
        """Draw one of the options."""
        return self.draw(st.sampled_from(options))

    def normal(self, *shape: int) -> Floats:
        """Normal numbers of the drawn scale."""
        return np.asarray(self.rng.standard_normal(shape) * self.scale)

    def unit(self, *shape: int) -> Floats:
        """Normal numbers of scale 1."""
        return np.asarray(self.rng.standard_normal(shape))

    def away_from_zero(self, *shape: int) -> Floats:
        """Numbers of either sign, 0.5 to 2 in size."""
        return np.asarray(self.rng.uniform(0.5, 2.0, shape) * self.rng.choice([-1.0, 1.0], shape))

    def steps(self, *shape: int) -> Floats:
        """Whole numbers of -2 to 2: ties are frequent, and every dtype holds them."""
        return np.asarray(self.rng.integers(-2, 3, shape), np.float64)

    def mask(self, *shape: int) -> NDArray[np.bool_]:
        """Booleans, one in three false."""
        return np.asarray(self.rng.random(shape) > 1 / 3)

    def part(self, shape: Shape) -> Shape:
        """Draw a shape that broadcasts to the given one: axes of length 1, or missing in front."""
        ones = [n if self.pick(True, True, False) else 1 for n in shape]
        return tuple(ones[self.size(0, len(shape)) if self.pick(False, False, True) else 0 :])

    def call(self, *args: Any) -> Call:
        """Put the arguments together, in a drawn memory layout."""
        return Call(args, self.pick(*LAYOUTS))


Build = Callable[[Source], Call]


def _strategy(build: Build) -> st.SearchStrategy[Call]:
    return st.composite(lambda draw: build(Source(draw)))()


# ---------------------------------------------------------------------- primitives


def elementwise(numbers: Callable[..., Floats] = Source.normal) -> st.SearchStrategy[Call]:
    """(x): any shape."""
    return _strategy(lambda s: s.call(numbers(s, *s.shape())))


def positive() -> st.SearchStrategy[Call]:
    """(x) with x > 0."""
    return _strategy(lambda s: s.call(np.abs(s.away_from_zero(*s.shape())) * s.scale))


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

    return _strategy(build)


def powers() -> st.SearchStrategy[Call]:
    """(a, b) with a > 0."""

    def build(s: Source) -> Call:
        shape = s.shape()
        b = s.pick(2, 3.0, 0.5, -1, 0) if s.pick(True, False) else s.unit(*s.part(shape))
        return s.call(np.abs(s.away_from_zero(*shape)), b)

    return _strategy(build)


def choices() -> st.SearchStrategy[Call]:
    """(condition, a, b) that broadcast; now and then one branch is a Python number."""

    def build(s: Source) -> Call:
        shape = s.shape()
        a, b = s.normal(*s.part(shape)), s.normal(*s.part(shape))
        number = s.pick(None, None, "a", "b")
        return s.call(s.mask(*s.part(shape)), 0.5 if number == "a" else a, -1e4 if number == "b" else b)

    return _strategy(build)


def matrices() -> st.SearchStrategy[Call]:
    """(a [..., n, k], b [..., k, m]) with broadcasting batches."""

    def build(s: Source) -> Call:
        batch, n, k, m = s.shape(max_dims=2), s.size(), s.size(1, 9), s.size()
        return s.call(s.unit(*s.part(batch), n, k), s.normal(*s.part(batch), k, m))

    return _strategy(build)


def reductions(numbers: Callable[..., Floats] = Source.normal, low: int = 0) -> st.SearchStrategy[Call]:
    """(x, axis, keepdims): one axis, several, or all."""

    def build(s: Source) -> Call:
        shape = s.shape(low=low)
        axes = sorted(s.draw(st.sets(st.integers(0, max(len(shape) - 1, 0))))) if shape else []
        axis = None if not axes else axes[0] - len(shape) if len(axes) == 1 else tuple(axes)
        return s.call(numbers(s, *shape), axis, s.pick(False, True))

    return _strategy(build)


def conversions() -> st.SearchStrategy[Call]:
    """(x, dtype): numbers that every dtype can hold nearly."""
    return _strategy(
        lambda s: s.call(s.unit(*s.shape()) * 3, s.pick("float64", "float32", "bfloat16", "float16", "int64", "int32"))
    )


def fills() -> st.SearchStrategy[Call]:
    """(shape, value, dtype)."""
    return _strategy(
        lambda s: Call((s.shape(), s.pick(0.0, 1.0, -2.5), s.pick("float32", "bfloat16", "int64", "bool")))
    )


def ranges() -> st.SearchStrategy[Call]:
    """(stop, dtype)."""
    return _strategy(lambda s: Call((s.size(0, 40), s.pick("float64", "float32", "bfloat16", "float16", "int64"))))


def reshapes() -> st.SearchStrategy[Call]:
    """(x, shape): the same axes split, merged, reordered or inferred."""

    def build(s: Source) -> Call:
        x = s.normal(*s.shape())
        flat = (x.size,) if x.size == 0 or s.pick(True, False) else (-1,)
        return s.call(x, s.pick(flat, (1, *x.shape), tuple(reversed(x.shape)), x.shape))

    return _strategy(build)


def permutations() -> st.SearchStrategy[Call]:
    """(x, axes)."""

    def build(s: Source) -> Call:
        x = s.normal(*s.shape())
        return s.call(x, tuple(s.draw(st.permutations(range(x.ndim)))))

    return _strategy(build)


def broadcasts() -> st.SearchStrategy[Call]:
    """(x, shape)."""

    def build(s: Source) -> Call:
        shape = s.shape()
        return s.call(s.normal(*s.part(shape)), shape)

    return _strategy(build)


def joins() -> st.SearchStrategy[Call]:
    """(arrays, axis): one to three arrays, some of them empty."""

    def build(s: Source) -> Call:
        shape = s.shape(min_dims=1)
        axis = s.size(0, len(shape) - 1)
        lengths = [s.size(0, 3) for _ in range(s.size(1, 3))]
        arrays = [s.normal(*shape[:axis], n, *shape[axis + 1 :]) for n in lengths]
        return s.call(arrays, axis - len(shape) if s.pick(True, False) else axis)

    return _strategy(build)


def cuts() -> st.SearchStrategy[Call]:
    """(x, start, stop, step), empty cuts among them."""

    def build(s: Source) -> Call:
        shape = s.shape()
        start = tuple(s.size(0, n) for n in shape)
        stop = tuple(s.size(first, n) for first, n in zip(start, shape, strict=True))
        return s.call(s.normal(*shape), start, stop, tuple(s.size(1, 3) for _ in shape))

    return _strategy(build)


def paddings() -> st.SearchStrategy[Call]:
    """(x, low, high, interior)."""

    def build(s: Source) -> Call:
        shape = s.shape()
        low, high, interior = (tuple(s.size(0, 2) for _ in shape) for _ in range(3))
        return s.call(s.normal(*shape), low, high, s.pick(interior, (0,) * len(shape)))

    return _strategy(build)


def lookups() -> st.SearchStrategy[Call]:
    """(x, indices, axis) with repeated indices, and none at all."""

    def build(s: Source) -> Call:
        shape = s.shape(min_dims=1, low=1)
        axis = s.size(0, len(shape) - 1)
        return s.call(s.normal(*shape), s.rng.integers(0, shape[axis], s.size(0, 6)), s.pick(axis, axis - len(shape)))

    return _strategy(build)


def scatters() -> st.SearchStrategy[Call]:
    """(x, indices, values, axis)."""

    def build(s: Source) -> Call:
        shape = s.shape(min_dims=1, low=1)
        axis, n = s.size(0, len(shape) - 1), s.size(0, 6)
        values = s.normal(*shape[:axis], n, *shape[axis + 1 :])
        return s.call(s.normal(*shape), s.rng.integers(0, shape[axis], n), values, s.pick(axis, axis - len(shape)))

    return _strategy(build)


# ---------------------------------------------------------------------- fused ops


def tokens() -> st.SearchStrategy[Call]:
    """Linear's (x [..., in], weight [out, in], bias or None)."""

    def build(s: Source) -> Call:
        n, m = s.size(1, 9), s.size()
        return s.call(s.normal(*s.shape(max_dims=3), n), s.unit(m, n), s.pick(s.unit(m), None))

    return _strategy(build)


def activations(*options: str) -> st.SearchStrategy[Call]:
    """(x) or (x, option)."""
    return _strategy(lambda s: s.call(s.normal(*s.shape()), *([s.pick(*options)] if options else [])))


def logits() -> st.SearchStrategy[Call]:
    """Softmax's (x, axis); scale 1000 among them."""

    def build(s: Source) -> Call:
        x = s.normal(*s.shape(min_dims=1, low=1)) * s.pick(1.0, 30.0)
        return s.call(x, s.pick(-1, s.size(0, x.ndim - 1)))

    return _strategy(build)


def rows(with_bias: bool) -> st.SearchStrategy[Call]:
    """A norm's (x [..., D], weight, bias or none, eps), D >= 2; rows away from the origin among them."""

    def build(s: Source) -> Call:
        D = s.size(2, 17)
        x = s.normal(*s.shape(max_dims=3), D) + s.pick(0.0, 0.0, 3.0)
        affine = (s.pick(s.unit(D), None), s.pick(s.unit(D), None)) if with_bias else (s.unit(D),)
        return s.call(x, *affine, s.pick(1e-6, 1e-5))

    return _strategy(build)


def channels() -> st.SearchStrategy[Call]:
    """Group norm's (x [B, C, ...], groups, weight, bias, eps)."""

    def build(s: Source) -> Call:
        groups, per_group = s.size(1, 3), s.size(1, 3)
        C = groups * per_group
        size = (s.size(2, 5), *s.shape(max_dims=2, low=1))
        x = s.normal(s.size(0, 3), C, *size)
        return s.call(x, groups, s.pick(s.unit(C), None), s.pick(s.unit(C), None), 1e-6)

    return _strategy(build)


def modulations() -> st.SearchStrategy[Call]:
    """Modulate's (x [B, N, D], shift and scale [B, 1, D] or [D], eps)."""

    def build(s: Source) -> Call:
        B, N, D = s.size(0, 3), s.size(1, 5), s.size(2, 17)
        vector = s.pick((B, 1, D), (D,))
        return s.call(s.normal(B, N, D), s.unit(*vector), s.unit(*vector), 1e-6)

    return _strategy(build)


def rotations() -> st.SearchStrategy[Call]:
    """Rotary's (x [..., L, D], cos and sin [L, D/2] of float32 angles)."""

    def build(s: Source) -> Call:
        L, half = s.size(1, 5), s.size(1, 4)
        angles = s.rng.uniform(0, 100, (L, half))
        x = s.normal(*s.shape(max_dims=2), L, 2 * half)
        return s.call(x, np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32))

    return _strategy(build)


def qkv() -> st.SearchStrategy[Call]:
    """Attention's (q, k, v, mask, scale): head dims 1 and 7, one key, empty batches, fully masked rows."""

    def build(s: Source) -> Call:
        batch, L, M = s.shape(max_dims=2), s.size(1, 5), s.size(1, 6)
        D = s.pick(1, 7, 8, 72)
        q, k, v = s.normal(*batch, L, D), s.unit(*batch, M, D), s.unit(*batch, M, D)
        mask = s.pick(None, s.mask(*batch, L, M), s.mask(L, M), s.mask(*(1 for _ in batch), 1, M))
        if mask is not None and s.pick(True, False):
            mask[..., 0, :] = False
        return s.call(q, k, v, mask, s.pick(None, None, 0.3))

    return _strategy(build)


def video_tokens() -> st.SearchStrategy[Call]:
    """attention_3d's (qkv [B, T, S, 3, H, D], pattern, QK-norm weights, rotary tables)."""

    def build(s: Source) -> Call:
        B, T, S, H, D = s.size(0, 2), s.size(1, 4), s.size(1, 5), s.size(1, 3), 2 * s.size(1, 4)
        pattern = s.pick("spatial", "temporal", "full")
        length = {"spatial": S, "temporal": T, "full": T * S}[pattern]
        angles = s.rng.uniform(0, 100, (length, D // 2))
        norms = s.pick((None, None), (s.unit(D), s.unit(D)))
        tables = s.pick((None, None), (np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)))
        return s.call(s.unit(B, T, S, 3, H, D), pattern, *norms, *tables)

    return _strategy(build)


def video_latents() -> st.SearchStrategy[Call]:
    """Conv's (x [B, C, *size], weight, bias, stride, padding) in one to three dimensions."""

    def build(s: Source) -> Call:
        n = s.size(1, 3)
        kernel = tuple(s.size(1, 3) for _ in range(n))
        padding = tuple(s.size(0, 2) for _ in range(n))
        size = tuple(max(k - 2 * p, 1) + s.size(0, 3) for k, p in zip(kernel, padding, strict=True))
        inner, outer = s.size(1, 3), s.size(1, 3)
        x, weight = s.normal(s.size(0, 2), inner, *size), s.unit(outer, inner, *kernel)
        stride = s.pick(None, tuple(s.size(1, 3) for _ in range(n)))
        return s.call(
            x, weight, s.pick(None, s.unit(outer)), stride, s.pick(padding, padding if any(padding) else None)
        )

    return _strategy(build)


def programs() -> st.SearchStrategy[Call]:
    """(fun, params) of value_and_grad: a small network with a loss; one parameter is not used."""

    def build(s: Source) -> Call:
        B, D = s.size(1, 4), s.size(4, 9)
        x, target = s.unit(B, D), s.unit(B, D)
        params = {"x": x, "w": s.unit(D, D), "b": s.unit(D), "target": target, "unused": s.unit(3)}
        return Call((network_loss, params))

    return _strategy(build)


def functions() -> st.SearchStrategy[Call]:
    """Compile's (fun, x, weight, bias), to be compiled and then called."""

    def build(s: Source) -> Call:
        B, D = s.size(1, 4), s.size(4, 9)
        return Call((network, s.unit(B, D), s.unit(D, D), s.unit(D)))

    return _strategy(build)


def network(ops: Any, x: Any, weight: Any, bias: Any) -> Any:
    """A residual layer."""
    return x + ops.gelu(ops.linear(ops.layer_norm(x), weight, bias))


def network_loss(ops: Any, params: Any) -> Any:
    """Mean squared distance of the layer's output to a target."""
    error = network(ops, params["x"], params["w"], params["b"]) - params["target"]
    return ops.sum(ops.widen(error * error))
