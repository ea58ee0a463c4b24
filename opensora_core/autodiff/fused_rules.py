"""Rules of fused ops that the tape differentiates whole: inputs are kept, intermediates are computed again."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from ..ops import NEVER, Array, Ops
from .rules import Back, Rule, fit, rule, swap

FUSED_RULES: list[str] = []


def fused_rule(function: Rule) -> Rule:
    """Register the rule of a fused op."""
    FUSED_RULES.append(function.__name__)
    return rule(function)


def once(joint: Callable[[Array], tuple[Array, ...]]) -> Callable[[Array], tuple[Array, ...]]:
    """Let the maps of several arguments share one computation: remember the result for the gradient at hand."""
    last: tuple[Array, tuple[Array, ...]] | None = None

    def call(g: Array) -> tuple[Array, ...]:
        nonlocal last
        if last is None or last[0] is not g:
            last = g, joint(g)
        return last[1]

    return call


@fused_rule
def linear(ops: Ops, ans: Array, x: Array, weight: Array, bias: Array | None) -> Sequence[Back]:
    """One matrix product per gradient, however many leading axes x has."""
    to_x, to_weight = fit(ops, x), fit(ops, weight)

    def rows(a: Array) -> Array:
        return ops.reshape(a, (-1, a.shape[-1]))

    return (
        lambda g: to_x(ops.linear(g, swap(ops, weight))),
        lambda g: to_weight(ops.matmul(swap(ops, rows(g)), rows(x))),
        fit(ops, bias),
    )


@fused_rule
def gelu(ops: Ops, ans: Array, x: Array, approximate: str) -> Sequence[Back]:
    """Phi(x) + x · phi(x), with the tanh form's own derivative where it is used."""

    def back(g: Array) -> Array:
        w = ops.widen(x)
        if approximate == "tanh":
            c = math.sqrt(2 / math.pi)
            square = w * w
            bend = ops.tanh(w * (c + (c * 0.044715) * square))
            slope = 0.5 + 0.5 * bend + (w * (1.0 - bend * bend)) * (0.5 * c + (1.5 * c * 0.044715) * square)
        else:
            density = ops.exp(-0.5 * (w * w)) * (1 / math.sqrt(2 * math.pi))
            slope = 0.5 + 0.5 * ops.erf(w * math.sqrt(0.5)) + w * density
        return ops.astype(ops.widen(g) * slope, x.dtype)

    return (back,)


@fused_rule
def softmax(ops: Ops, ans: Array, x: Array, axis: int) -> Sequence[Back]:
    to_x = fit(ops, x)

    def back(g: Array) -> Array:
        y = ops.widen(ans)
        gy = ops.widen(g) * y
        return to_x(gy - y * ops.sum(gy, axis=axis, keepdims=True))

    return (back,)


@fused_rule
def modulate(ops: Ops, ans: Array, x: Array, shift: Array, scale: Array, eps: float) -> Sequence[Back]:
    """Keeps x alone of the layer norm (the composition keeps x - mean, the norm and its product)."""
    to_shift, to_scale = fit(ops, shift), fit(ops, scale)
    n = 1.0 / x.shape[-1]

    def mean(a: Array) -> Array:
        return ops.sum(a, axis=-1, keepdims=True) * n

    def back_x(g: Array) -> Array:
        w = ops.widen(x)
        centred = w - mean(w)
        deviation = ops.sqrt(mean(centred * centred) + eps)
        y = centred / deviation
        g = ops.widen(g) * (1.0 + ops.widen(scale))
        return ops.astype((g - mean(g) - y * mean(g * y)) / deviation, x.dtype)

    return back_x, to_shift, lambda g: to_scale(ops.widen(g) * ops.widen(ops.layer_norm(x, eps=eps)))


@fused_rule
def gated_residual(ops: Ops, ans: Array, x: Array, branch: Array, gate: Array) -> Sequence[Back]:
    to_branch, to_gate = fit(ops, branch), fit(ops, gate)
    return (
        fit(ops, x),
        lambda g: to_branch(ops.widen(g) * ops.widen(gate)),
        lambda g: to_gate(ops.widen(g) * ops.widen(branch)),
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
def attention(
    ops: Ops, ans: Array, q: Array, k: Array, v: Array, mask: Array | None, scale: float | None
) -> Sequence[Back]:
    """Keeps q, k, v and recomputes the weights [..., L, M] (FlashAttention's trade, Dao et al. 2022)."""
    to_q, to_k, to_v = fit(ops, q), fit(ops, k), fit(ops, v)
    factor = q.shape[-1] ** -0.5 if scale is None else scale

    @once
    def back(g: Array) -> tuple[Array, Array, Array]:
        wide_q, wide_k, wide_v, g = ops.widen(q) * factor, ops.widen(k), ops.widen(v), ops.widen(g)
        logits = ops.matmul(wide_q, swap(ops, wide_k))
        if mask is None:
            weights = ops.softmax(logits)
        else:
            weights = ops.where(mask, ops.softmax(ops.where(mask, logits, NEVER)), 0.0)
        flow = ops.matmul(g, swap(ops, wide_v)) * weights
        flow = flow - weights * ops.sum(flow, axis=-1, keepdims=True)
        return (
            to_q(ops.matmul(flow, wide_k) * factor),
            to_k(ops.matmul(swap(ops, flow), wide_q)),
            to_v(ops.matmul(swap(ops, weights), g)),
        )

    return lambda g: back(g)[0], lambda g: back(g)[1], lambda g: back(g)[2]
