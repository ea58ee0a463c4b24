"""Rules of the norms: they keep x alone, while the compositions keep x - mean, the norm and its product."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..ops import Array, Ops
from .fused_rules import fused_rule, once
from .rules import Back, fit


def _mean(ops: Ops, a: Array) -> Array:
    return ops.sum(a, axis=-1, keepdims=True) * (1.0 / a.shape[-1])


def _back_through_norm(ops: Ops, x: Array, flow: Array, eps: float) -> Array:
    """Gradient by rows x, in their dtype, from that by the rows that a layer norm without weights makes of them."""
    w = ops.widen(x)
    centred = w - _mean(ops, w)
    deviation = ops.sqrt(_mean(ops, centred * centred) + eps)
    y = centred / deviation
    return ops.astype((flow - _mean(ops, flow) - y * _mean(ops, flow * y)) / deviation, x.dtype)


@fused_rule
def layer_norm(
    ops: Ops, ans: Array, x: Array, weight: Array | None, bias: Array | None, eps: float
) -> Sequence[Back | None]:
    to_weight = fit(ops, weight)

    def back_x(g: Array) -> Array:
        g = ops.widen(g)
        return _back_through_norm(ops, x, g if weight is None else g * ops.widen(weight), eps)

    def back_weight(g: Array) -> Array:
        return to_weight(ops.widen(g) * ops.widen(ops.layer_norm(x, eps=eps)))

    return back_x, back_weight, fit(ops, bias)


@fused_rule
def modulate(ops: Ops, ans: Array, x: Array, shift: Array, scale: Array, eps: float) -> Sequence[Back]:
    to_shift, to_scale = fit(ops, shift), fit(ops, scale)
    return (
        lambda g: _back_through_norm(ops, x, ops.widen(g) * (1.0 + ops.widen(scale)), eps),
        to_shift,
        lambda g: to_scale(ops.widen(g) * ops.widen(ops.layer_norm(x, eps=eps))),
    )


@fused_rule
def rms_norm(ops: Ops, ans: Array, x: Array, weight: Array, eps: float) -> Sequence[Back]:
    to_weight = fit(ops, weight)
    n = 1.0 / x.shape[-1]

    def root(w: Array) -> Array:
        return ops.sqrt(ops.sum(w * w, axis=-1, keepdims=True) * n + eps)

    def back_x(g: Array) -> Array:
        g, w = ops.widen(g * weight), ops.widen(x)
        r = root(w)
        y = w / r
        return ops.astype((g - y * (ops.sum(g * y, axis=-1, keepdims=True) * n)) / r, x.dtype)

    def back_weight(g: Array) -> Array:
        w = ops.widen(x)
        return to_weight(g * ops.astype(w / root(w), x.dtype))

    return back_x, back_weight


@fused_rule
def group_norm(
    ops: Ops, ans: Array, x: Array, groups: int, weight: Array | None, bias: Array | None, eps: float
) -> Sequence[Back | None]:
    back_x, back_weight, back_bias = _back_through_groups(ops, x, groups, weight, bias, eps)
    return back_x, None, back_weight, back_bias


@fused_rule
def group_norm_silu(
    ops: Ops, ans: Array, x: Array, groups: int, weight: Array | None, bias: Array | None, eps: float
) -> Sequence[Back | None]:
    """The group norm's, after the slope of SiLU at what it gives, which is computed again."""

    @once
    def through_silu(g: Array) -> tuple[Array]:
        u = ops.widen(ops.group_norm(x, groups, weight, bias, eps))
        s = 0.5 * (1.0 + ops.tanh(0.5 * u))
        return (ops.widen(g) * (s * (1.0 + u * (1.0 - s))),)

    back_x, back_weight, back_bias = _back_through_groups(ops, x, groups, weight, bias, eps)
    return (
        lambda g: back_x(through_silu(g)[0]),
        None,
        lambda g: back_weight(through_silu(g)[0]),
        lambda g: back_bias(through_silu(g)[0]),
    )


def _back_through_groups(
    ops: Ops, x: Array, groups: int, weight: Array | None, bias: Array | None, eps: float
) -> tuple[Back, Back, Back]:
    """Maps to x [B, C, ...], weight and bias of a group norm: those of a layer norm whose rows are groups."""
    B, C = x.shape[:2]
    shape, rows = tuple(x.shape), (B, groups, C // groups * math.prod(x.shape[2:]))
    per_channel = (C,) + (1,) * (x.ndim - 2)
    to_weight, to_bias = fit(ops, weight), fit(ops, bias)

    def back_x(g: Array) -> Array:
        g = ops.widen(g)
        g = g if weight is None else g * ops.reshape(ops.widen(weight), per_channel)
        return ops.reshape(_back_through_norm(ops, ops.reshape(x, rows), ops.reshape(g, rows), eps), shape)

    def of_channels(g: Array) -> Array:
        return ops.sum(ops.widen(g), axis=(0, *range(2, g.ndim)))

    def back_weight(g: Array) -> Array:
        return to_weight(of_channels(ops.widen(g) * ops.widen(ops.group_norm(x, groups, eps=eps))))

    return back_x, back_weight, lambda g: to_bias(of_channels(g))
