"""Self-attention of short sequences: QK-norm, rope and attention in one pass over strided memory.

A video's tokens lie as [B, T, S, H, D]. Attention along time takes every S-th row; array libraries copy the rows
together, normalise and turn them in passes of their own and multiply thousands of tiny matrices one by one. Here the
tokens of one sequence are read once, row by row, into a few hundred KiB, where all the rest happens.

What made it fast: norm and rotation run over all heads of a token at once; q and k are kept with their even channels
first, which no dot product notices and which makes the rotation straight loops; channels and keys are padded to whole
vectors, since a rest done one by one takes longer than all the whole ones; two queries meet four keys at a time; the
exponentials of a head are one loop.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .compiled import STRICT, SUMS, Array, compiled, frozen
from .exponential import exp_negative
from .softmax import largest, total
from .threads import share_rows

LANES = 16  # float32 numbers in the widest vector register
SCRATCH = 1 << 16  # numbers of q, k and v that are held at a time: a part of the second-level cache


def attention_along(
    q: Any,
    k: Any,
    v: Any,
    strides: tuple[int, int, int],
    sizes: tuple[int, int, int, int, int],
    q_norm: Any = None,
    k_norm: Any = None,
    cos: Any = None,
    sin: Any = None,
    *,
    out: Array,
    out_strides: tuple[int, int, int],
    threads: int = 1,
) -> None:
    """Write softmax(q kᵀ / √D) v of every sequence and head into `out`.

    q, k, v: flat arrays of out's dtype, in which the heads of token t of sequence (a, b), one after the other, begin
    at a·strides[0] + b·strides[1] + t·strides[2]; likewise in out with out_strides. They may be views of one array.
    sizes: how many a, b, tokens, heads and channels of a head there are.
    q_norm, k_norm: RMS-norm weights [D], applied before the rotation. cos, sin: rotary tables [tokens, D/2].
    """
    A, B, L, H, D = sizes
    flat = [frozen(x, (-1,), out.dtype) for x in (q, k, v)]
    norms = [_per_channel(w, H, out.dtype) for w in (q_norm, k_norm)]
    tables = [_per_token(table, L, H, D, out.dtype) for table in (cos, sin)]
    elements = A * B * L * H * (D + L)
    share_rows(threads, _attend, A * B, elements, *flat, strides, sizes, *norms, *tables, out, out_strides)


def _per_channel(weight: Any, H: int, dtype: np.dtype[Any]) -> Array:
    """Repeat a weight for every head; none gives an empty array, since kernels are compiled for arrays."""
    return frozen(np.empty(0) if weight is None else np.tile(weight, H), (-1,), dtype)


def _per_token(table: Any, L: int, H: int, D: int, dtype: np.dtype[Any]) -> Array:
    """Repeat a table [L, D/2] for every head."""
    if table is None:
        return frozen(np.empty(0), (0, 0), dtype)
    return frozen(np.tile(np.broadcast_to(table, (L, D // 2)), (1, H)), (L, H * (D // 2)), dtype)


@compiled(STRICT)
def _attend(
    first: int, last: int, q: Array, k: Array, v: Array, strides: Any, sizes: Any,
    q_norm: Array, k_norm: Array, cos: Array, sin: Array, out: Array, out_strides: Any,
) -> None:  # fmt: skip
    _, B, L, H, D = sizes
    dtype = out.dtype
    rows, keys, width = (L + 7) // 8 * 8, (L + LANES - 1) // LANES * LANES, (D + LANES - 1) // LANES * LANES
    group = min(H, max(1, SCRATCH // (3 * rows * width)))  # heads at a time
    queries, others, values = (
        np.zeros((group, rows, width), dtype), np.zeros((group, rows, width), dtype),
        np.zeros((group, rows, width), dtype),
    )  # fmt: skip
    weights, mixed = np.empty((rows, keys), dtype), np.empty((rows, width), dtype)
    token, turned = np.empty(group * D, dtype), np.empty(group * D, dtype)
    scale = dtype.type(1.0 / math.sqrt(D))
    for i in range(first, last):
        for h in range(0, H, group):
            n = min(group, H - h)
            start = i // B * strides[0] + i % B * strides[1] + h * D
            for t in range(L):
                at = start + t * strides[2]
                low, high = at, at + n * D
                _gather(q[low:high], D, h, t, q_norm, cos, sin, scale, token, turned, queries)
                _gather(k[low:high], D, h, t, k_norm, cos, sin, dtype.type(1.0), token, turned, others)
                for g in range(n):
                    _copy(v[at + g * D : at + g * D + D], values[g, t])
            start = i // B * out_strides[0] + i % B * out_strides[1] + h * D
            for g in range(n):
                _logits(queries[g], others[g], L, weights)
                _softmax(weights, L)
                _mix(weights, values[g], L, mixed)
                for t in range(L):
                    at = start + t * out_strides[2] + g * D
                    _copy(mixed[t, :D], out[at : at + D])


@compiled(STRICT)
def _copy(x: Array, y: Array) -> None:
    for d in range(x.size):
        y[d] = x[d]


@compiled(STRICT)
def _gather(
    x: Array, D: int, h: int, t: int, norm: Array, cos: Array, sin: Array, scale: Any,
    token: Array, turned: Array, out: Array,
) -> None:  # fmt: skip
    """QK-norm, rotation and scale of some heads of a token, from head h on, into out[head, t].

    With tables, the even channels of a head come first there, then the odd ones.
    """
    half = D // 2
    for g in range(x.size // D):
        factor = _inverse_root(x[g * D : g * D + D], scale) if norm.size else scale
        _times(x[g * D : g * D + D], factor, token[g * D : g * D + D])
    if norm.size:
        _multiply(token[: x.size], norm[h * D : h * D + x.size])
    if not cos.size:
        for g in range(x.size // D):
            _copy(token[g * D : g * D + D], out[g, t])
        return
    pairs = x.size // 2
    low, high = turned[:pairs], turned[pairs : 2 * pairs]
    _turn(token, cos[t, h * half : h * half + pairs], sin[t, h * half : h * half + pairs], low, high)
    for g in range(x.size // D):
        _copy(low[g * half : g * half + half], out[g, t])
        _copy(high[g * half : g * half + half], out[g, t, half:])


@compiled(SUMS)
def _inverse_root(x: Array, scale: Any) -> Any:
    """scale / √(mean square + eps), with the eps of the language's QK-norm."""
    square = x.dtype.type(0.0)
    for d in range(x.size):
        square += x[d] * x[d]
    return scale / np.sqrt(square / x.dtype.type(x.size) + x.dtype.type(1e-6))


@compiled(STRICT)
def _times(x: Array, factor: Any, y: Array) -> None:
    for d in range(x.size):
        y[d] = x[d] * factor


@compiled(STRICT)
def _multiply(x: Array, weight: Array) -> None:
    for d in range(x.size):
        x[d] *= weight[d]


@compiled(STRICT)
def _turn(x: Array, cos: Array, sin: Array, low: Array, high: Array) -> None:
    for d in range(low.size):
        even, odd = x[2 * d], x[2 * d + 1]
        low[d] = even * cos[d] - odd * sin[d]
        high[d] = odd * cos[d] + even * sin[d]


@compiled(SUMS)
def _logits(q: Array, k: Array, L: int, out: Array) -> None:
    zero = out.dtype.type(0.0)
    for t in range(0, L, 2):
        q0, q1, y0, y1 = q[t], q[t + 1], out[t], out[t + 1]
        for u in range(0, L, 4):
            k0, k1, k2, k3 = k[u], k[u + 1], k[u + 2], k[u + 3]
            a0, a1, a2, a3 = zero, zero, zero, zero
            b0, b1, b2, b3 = zero, zero, zero, zero
            for d in range(q0.size):
                a0 += q0[d] * k0[d]
                a1 += q0[d] * k1[d]
                a2 += q0[d] * k2[d]
                a3 += q0[d] * k3[d]
                b0 += q1[d] * k0[d]
                b1 += q1[d] * k1[d]
                b2 += q1[d] * k2[d]
                b3 += q1[d] * k3[d]
            y0[u], y0[u + 1], y0[u + 2], y0[u + 3] = a0, a1, a2, a3
            y1[u], y1[u + 1], y1[u + 2], y1[u + 3] = b0, b1, b2, b3


@compiled(STRICT)
def _softmax(weights: Array, L: int) -> None:
    """Softmax of the first L rows over their first L elements; the rest of a row gets 0."""
    nothing, one = weights.dtype.type(-np.inf), weights.dtype.type(1.0)
    for t in range(L):
        row = weights[t]
        most = largest(row[:L])
        for u in range(L):
            row[u] -= most
        for u in range(L, row.size):
            row[u] = nothing
    flat = weights[:L].reshape(-1)
    for i in range(flat.size):
        flat[i] = exp_negative(flat[i])
    for t in range(L):
        row = weights[t]
        inverse = one / total(row)
        for u in range(row.size):
            row[u] *= inverse


@compiled(SUMS)
def _mix(weights: Array, v: Array, L: int, out: Array) -> None:
    """Rows of v under the weights, eight keys at a time."""
    for t in range(L):
        w, y = weights[t], out[t]
        for d in range(y.size):
            y[d] = y.dtype.type(0.0)
        for u in range(0, L, 8):
            w0, w1, w2, w3, w4, w5, w6, w7 = w[u], w[u + 1], w[u + 2], w[u + 3], w[u + 4], w[u + 5], w[u + 6], w[u + 7]
            v0, v1, v2, v3, v4, v5, v6, v7 = v[u], v[u + 1], v[u + 2], v[u + 3], v[u + 4], v[u + 5], v[u + 6], v[u + 7]
            for d in range(y.size):
                y[d] += (
                    w0 * v0[d]
                    + w1 * v1[d]
                    + w2 * v2[d]
                    + w3 * v3[d]
                    + w4 * v4[d]
                    + w5 * v5[d]
                    + w6 * v6[d]
                    + w7 * v7[d]
                )
