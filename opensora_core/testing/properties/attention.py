"""What attention must do whatever its numbers are."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...nn.embeddings import rope_frequencies, rope_tables
from ...ops import Array, Ops, Pattern
from ..running import HostArray
from .inputs import Inputs
from .judged import holds

Pairs = Iterator[tuple[Array, Array]]


@holds("ops")
def keys_may_come_in_any_order(ops: Ops, inputs: Inputs) -> Pairs:
    """Attention(q, k, v) = attention(q, Pk, Pv): a set of keys has no order, with a mask and without."""
    L, M, D = inputs.size(1, 5), inputs.size(1, 7), inputs.size(1, 9)
    q, k, v = inputs.normal(2, L, D), inputs.normal(2, M, D), inputs.normal(2, M, D)
    mask, order = inputs.rng.random((L, M)) > 0.4, inputs.rng.permutation(M)
    k2, v2 = (ops.take(x, inputs.indices(order), axis=1) for x in (k, v))
    yield ops.attention(q, k, v), ops.attention(q, k2, v2)
    whole = ops.attention(q, k, v, mask=inputs.flags(mask))
    yield whole, ops.attention(q, k2, v2, mask=inputs.flags(mask[:, order]))


@holds("ops")
def keys_that_are_masked_are_keys_that_are_not_there(ops: Ops, inputs: Inputs) -> Pairs:
    """A mask that hides the last keys is the same as leaving them out, however large they are."""
    L, M, hidden, D = inputs.size(1, 5), inputs.size(1, 5), inputs.size(1, 4), inputs.size(1, 9)
    q, k, v = inputs.normal(L, D), inputs.normal(M, D), inputs.normal(M, D)
    loud = ops.full((hidden, D), 100.0, k.dtype)
    mask = inputs.flags(np.broadcast_to(np.arange(M + hidden) < M, (L, M + hidden)))
    full = ops.attention(q, ops.concat([k, loud], axis=0), ops.concat([v, loud], axis=0), mask=mask)
    yield ops.attention(q, k, v), full


@holds("ops")
def equal_keys_are_attended_equally(ops: Ops, inputs: Inputs) -> Pairs:
    """Where all keys are one, the result is the mean of the values; where no key is left, it is zero."""
    L, M, D = inputs.size(1, 5), inputs.size(1, 7), inputs.size(1, 9)
    q, v, k = inputs.normal(L, D), inputs.normal(M, D), ops.broadcast_to(inputs.normal(1, D), (M, D))
    even = ops.astype(ops.full((L, M), 1.0 / M, "float64" if ops.dtype_name(v) == "float64" else "float32"), v.dtype)
    yield ops.attention(q, k, v), ops.matmul(even, v)
    nothing = ops.attention(q, k, v, mask=inputs.flags(np.zeros((L, M))))
    yield nothing, ops.full((L, D), 0.0, v.dtype)


@holds("ops")
def a_smaller_scale_is_a_smaller_query(ops: Ops, inputs: Inputs) -> Pairs:
    """scale counts as often as q does, and is 1/sqrt(D) where it is not given."""
    L, M, D = inputs.size(1, 5), inputs.size(1, 7), 4 ** inputs.size(0, 2)
    q, k, v = inputs.normal(L, D), inputs.normal(M, D), inputs.normal(M, D)
    yield ops.attention(q, k, v), ops.attention(q, k, v, scale=D**-0.5)
    yield ops.attention(q + q, k, v, scale=0.25), ops.attention(q, k, v, scale=0.5)


@holds("ops")
def video_attention_is_full_attention_under_a_block_mask(ops: Ops, inputs: Inputs) -> Pairs:
    """Spatial: tokens of one frame; temporal: of one place; full: all. With QK-norm and rope, and without."""
    B, T, S, H, D = 2, inputs.size(1, 4), inputs.size(1, 5), inputs.size(1, 3), 2 * inputs.size(1, 4)
    qkv, weights = inputs.normal(B, T, S, 3, H, D), (inputs.normal(D), inputs.normal(D))
    frame, place = np.divmod(np.arange(T * S), S)
    patterns: dict[Pattern, tuple[HostArray, HostArray]] = {
        "spatial": (frame, place), "temporal": (place, frame), "full": (0 * frame, np.arange(T * S)),
    }  # fmt: skip
    for pattern, (group, position) in patterns.items():
        mask = inputs.flags(group[:, None] == group)
        tables = inputs.tables(int(position.max()) + 1, D)
        q, k, v = (_heads(ops, qkv[:, :, :, i]) for i in range(3))  # (B, H, T·S, D)
        yield ops.attention_3d(qkv, pattern), _tokens(ops, ops.attention(q, k, v, mask=mask), T)
        cos, sin = (inputs.place(table, inputs.wide) for table in tables)
        at = [ops.take(table, inputs.indices(position)) for table in (cos, sin)]
        q, k = (ops.rotary(ops.rms_norm(x, w), *at) for x, w in zip((q, k), weights, strict=True))
        whole = ops.attention_3d(qkv, pattern, *weights, cos, sin)
        yield whole, _tokens(ops, ops.attention(q, k, v, mask=mask), T)


@holds("ops")
def windows_are_full_attention_under_a_window_mask(ops: Ops, inputs: Inputs) -> Pairs:
    """Tokens cut into windows attend among themselves as they do under a mask that knows the windows.

    Plain and shifted windows (Liu et al. 2021): shifted by less than a window they wrap around, and a mask inside the
    window keeps apart what only met by wrapping.
    """
    window = np.array([inputs.size(1, 2), inputs.size(1, 3), inputs.size(1, 3)])
    size = window * [inputs.size(1, 2) for _ in range(3)]
    D, N = inputs.size(1, 8), int(size.prod())
    q, k, v = (inputs.normal(2, N, D) for _ in range(3))
    places = np.stack(np.unravel_index(np.arange(N), size), axis=-1)  # (N, 3)
    for shift in (np.zeros(3, int), inputs.rng.integers(0, window)):
        number = np.ravel_multi_index(tuple(((places - shift) % size // window).T), size // window)
        group = 8 * number + (places < shift) @ [1, 2, 4]  # of one window, and on one side of every edge
        order = np.argsort(number, kind="stable")
        cut = (2, -1, int(window.prod()), D)
        q2, k2, v2 = (ops.reshape(ops.take(x, inputs.indices(order), axis=1), cut) for x in (q, k, v))
        inside = group[order].reshape(-1, cut[2])
        mask = inputs.flags(inside[:, :, None] == inside[:, None])  # (windows, n, n)
        out = ops.reshape(ops.attention(q2, k2, v2, mask=mask), (2, N, D))
        back = ops.take(out, inputs.indices(np.argsort(order)), axis=1)
        yield back, ops.attention(q, k, v, mask=inputs.flags(group[:, None] == group))


@holds("ops")
def rope_sees_only_how_far_apart_tokens_are(ops: Ops, inputs: Inputs) -> Pairs:
    """Moving all tokens along changes no product of a query and a key; position 0 turns nothing, lengths stay."""
    L, D, moved = inputs.size(1, 6), 2 * inputs.size(1, 6), inputs.size(1, 9)
    cos, sin = rope_tables(ops, inputs.place(rope_frequencies(D), inputs.wide), L + moved)
    q, k = inputs.normal(L, D), inputs.normal(L, D)

    def logits(start: int) -> Array:
        turned = [ops.widen(ops.rotary(x, cos[start : start + L], sin[start : start + L])) for x in (q, k)]
        return ops.matmul(turned[0], ops.permute_dims(turned[1], (1, 0)))

    yield logits(0), logits(moved)
    yield ops.rotary(q[:1], cos[:1], sin[:1]), q[:1]
    turned = ops.widen(ops.rotary(q, cos[:L], sin[:L]))
    yield ops.sum(turned * turned, axis=-1), ops.sum(ops.widen(q) * ops.widen(q), axis=-1)


def _heads(ops: Ops, x: Array) -> Array:
    B, T, S, H, D = x.shape
    return ops.permute_dims(ops.reshape(x, (B, T * S, H, D)), (0, 2, 1, 3))


def _tokens(ops: Ops, x: Array, frames: int) -> Array:
    B, H, N, D = x.shape
    return ops.reshape(ops.permute_dims(x, (0, 2, 1, 3)), (B, frames, N // frames, H, D))
