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
def gated_residual(ops: Ops, ans: Array, x: Array, branch: Array, gate: Array) -> Sequence[Back]:
    to_branch, to_gate = fit(ops, branch), fit(ops, gate)
    return (
        fit(ops, x),
        lambda g: to_branch(ops.widen(g) * ops.widen(gate)),
        lambda g: to_gate(ops.widen(g) * ops.widen(branch)),
    )


@fused_rule
def rotary(ops: Ops, ans: Array, x: Array, cos: Array, sin: Array) -> Sequence[Back]:
    """Turns the gradient back: a rotation's transpose is that by the other angle."""
    to_cos, to_sin = fit(ops, cos), fit(ops, sin)

    def pairs(a: Array) -> tuple[Array, Array]:
        w = ops.widen(a)
        return w[..., 0::2], w[..., 1::2]

    def back_cos(g: Array) -> Array:
        (g_even, g_odd), (even, odd) = pairs(g), pairs(x)
        return to_cos(g_even * even + g_odd * odd)

    def back_sin(g: Array) -> Array:
        (g_even, g_odd), (even, odd) = pairs(g), pairs(x)
        return to_sin(g_odd * even - g_even * odd)

    return lambda g: ops.rotary(g, cos, -sin), back_cos, back_sin


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
