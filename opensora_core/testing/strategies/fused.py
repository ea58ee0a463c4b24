"""Arguments of the fused ops."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from .source import Call, Source, strategy


def tokens() -> st.SearchStrategy[Call]:
    """Linear's (x [..., in], weight [out, in], bias or None)."""

    def build(s: Source) -> Call:
        n, m = s.width(), s.pick(s.size(), s.width())
        return s.call(s.normal(*s.shape(max_dims=3), n), s.unit(m, n), s.pick(s.unit(m), None))

    return strategy(build)


def activations(*options: str) -> st.SearchStrategy[Call]:
    """(x) or (x, option)."""
    return strategy(lambda s: s.call(s.normal(*s.shape()), *([s.pick(*options)] if options else [])))


def logits() -> st.SearchStrategy[Call]:
    """Softmax's (x, axis): scale 1e4 among them, and -inf where a mask forbids (never a whole row)."""

    def build(s: Source) -> Call:
        x = s.normal(*s.shape(min_dims=1, low=1))
        return s.call(s.forbid(x) if s.pick(False, False, True) else x, s.pick(-1, s.size(0, x.ndim - 1)))

    return strategy(build)


def rows(with_bias: bool) -> st.SearchStrategy[Call]:
    """A norm's (x [..., D], weight, bias or none, eps): constant rows and rows away from the origin among them."""

    def build(s: Source) -> Call:
        D = s.width()
        x = s.normal(*s.shape(max_dims=3), D) + s.pick(0.0, 0.0, 3.0)
        affine = (s.pick(s.unit(D), None), s.pick(s.unit(D), None)) if with_bias else (s.unit(D),)
        return s.call(x, *affine, s.pick(1e-6, 1e-5))

    return strategy(build)


def channels() -> st.SearchStrategy[Call]:
    """Group norm's (x [B, C, ...], groups, weight, bias, eps)."""

    def build(s: Source) -> Call:
        groups, per_group = s.size(1, 3), s.size(1, 5)
        C = groups * per_group
        size = (s.size(2, 5), *s.shape(max_dims=2, low=1))
        x = s.normal(s.batch(), C, *size)
        return s.call(x, groups, s.pick(s.unit(C), None), s.pick(s.unit(C), None), 1e-6)

    return strategy(build)


def modulations() -> st.SearchStrategy[Call]:
    """Modulate's (x [B, N, D], shift and scale [B, 1, D] or [D], eps)."""

    def build(s: Source) -> Call:
        B, N, D = s.batch(), s.length(), s.width()
        vector = s.pick((B, 1, D), (D,))
        return s.call(s.normal(B, N, D), s.unit(*vector), s.unit(*vector), 1e-6)

    return strategy(build)


def branches() -> st.SearchStrategy[Call]:
    """A gated residual's (x [B, N, D], branch [B, N, D], gate [B, 1, D] or [D])."""

    def build(s: Source) -> Call:
        B, N, D = s.batch(), s.length(), s.width()
        return s.call(s.normal(B, N, D), s.normal(B, N, D), s.unit(*s.pick((B, 1, D), (D,))))

    return strategy(build)


def rotations(normed: bool = False) -> st.SearchStrategy[Call]:
    """Rotary's (x [..., L, D], cos and sin [L, D/2] of float32 angles), with an RMS norm's weight [D] after x."""

    def build(s: Source) -> Call:
        L, half = s.length(), s.pick(1, 2, 3, 4, 36, 64)
        angles = s.rng.uniform(0, 100, (L, half))
        x = s.normal(*s.shape(max_dims=2), L, 2 * half)
        weight = [s.unit(2 * half)] if normed else []
        return s.call(x, *weight, np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32))

    return strategy(build)


def qkv() -> st.SearchStrategy[Call]:
    """Attention's (q, k, v, mask, scale): head dims of 1 to 130, one key, empty batches, fully masked rows.

    Masks are booleans, as the language has no others; -inf among logits is drawn for softmax.
    """

    def build(s: Source) -> Call:
        batch = tuple(s.batch() for _ in range(s.size(0, 2)))
        L, M, D = s.length(), s.length(), s.head_dim()
        q, k = s.normal(*batch, L, D), s.unit(*batch, M, D)
        v = s.pick(s.unit(*batch, M, D), s.normal(*batch, M, D))
        mask = s.pick(None, s.mask(*batch, L, M), s.mask(L, M), s.mask(*(1 for _ in batch), 1, M))
        if mask is not None and s.pick(True, False):
            mask[..., 0, :] = False
        return s.call(q, k, v, mask, s.pick(None, None, 0.3))

    return strategy(build)


def text_batch() -> st.SearchStrategy[Call]:
    """Attention's arguments as in cross-attention: q [B, H, N, D], text k, v [B, H, L, D], mask [B, 1, 1, L].

    Each text of the batch has its own length; an empty one, as of an empty prompt, is masked whole.
    """

    def build(s: Source) -> Call:
        B, H, N, L, D = s.batch(), s.size(1, 3), s.length(), s.length(), s.head_dim()
        lengths = s.rng.integers(0, L + 1, (B, 1, 1, 1))
        mask = np.arange(L) < lengths
        return s.call(s.normal(B, H, N, D), s.unit(B, H, L, D), s.unit(B, H, L, D), mask, None)

    return strategy(build)


def video_tokens() -> st.SearchStrategy[Call]:
    """attention_3d's (qkv [B, T, S, 3, H, D], pattern, QK-norm weights, rotary tables)."""

    def build(s: Source) -> Call:
        B, T, S, H = s.batch(), s.pick(1, 2, 3, 5), s.pick(1, 2, 3, 5, 7), s.size(1, 3)
        D, pattern = s.head_dim(), s.pick("spatial", "temporal", "full")
        length = {"spatial": S, "temporal": T, "full": T * S}[pattern]
        norms = s.pick((None, None), (s.unit(D), s.unit(D)))
        tables: tuple[Any, Any] = (None, None)
        if D % 2 == 0 and s.pick(True, False):
            angles = s.rng.uniform(0, 100, (length, D // 2)).astype(np.float32)
            tables = (np.cos(angles), np.sin(angles))
        return s.call(s.pick(s.unit, s.normal)(B, T, S, 3, H, D), pattern, *norms, *tables)

    return strategy(build)


def video_latents() -> st.SearchStrategy[Call]:
    """Conv's (x [B, C, *size], weight, bias, stride, padding) in one to three dimensions."""

    def build(s: Source) -> Call:
        n = s.size(1, 3)
        kernel = tuple(s.size(1, 3) for _ in range(n))
        padding = tuple(s.size(0, 2) for _ in range(n))
        size = tuple(max(k - 2 * p, 1) + s.size(0, 3) for k, p in zip(kernel, padding, strict=True))
        inner, outer = s.size(1, 3), s.size(1, 3)
        x, weight = s.normal(s.batch(), inner, *size), s.unit(outer, inner, *kernel)
        stride = s.pick(None, tuple(s.size(1, 3) for _ in range(n)))
        return s.call(
            x, weight, s.pick(None, s.unit(outer)), stride, s.pick(padding, padding if any(padding) else None)
        )

    return strategy(build)


def updates() -> st.SearchStrategy[Call]:
    """adamw_step's arguments: parameters and gradients of any shape, float32 moments, none of a factor or one."""

    def build(s: Source) -> Call:
        shape = s.shape()
        mean, square = (x.astype(np.float32) for x in (s.unit(*shape), np.square(s.away_from_zero(*shape))))
        numbers = (s.size(1, 50), s.pick(1e-3, 0.1), s.pick((0.9, 0.98), (0.9, 0.999)), s.pick(1e-8, 1e-15))
        factor = s.pick(None, np.asarray(np.abs(s.unit()), np.float32))
        return s.call(s.normal(*shape), s.unit(*shape), mean, square, *numbers, s.pick(0.0, 0.1), factor)

    return strategy(build)


def programs() -> st.SearchStrategy[Call]:
    """(fun, params) of value_and_grad: a small network with a loss; one parameter is not used."""

    def build(s: Source) -> Call:
        B, D = s.size(1, 3), s.pick(3, 4, 5, 7)
        x, target = s.unit(B, D), s.unit(B, D)
        params = {"x": x, "w": s.unit(D, D), "b": s.unit(D), "target": target, "unused": s.unit(3)}
        return Call((network_loss, params))

    return strategy(build)


def functions() -> st.SearchStrategy[Call]:
    """Compile's (fun, x, weight, bias), to be compiled and then called."""

    def build(s: Source) -> Call:
        B, D = s.size(1, 3), s.pick(3, 4, 5, 7)
        return Call((network, s.unit(B, D), s.unit(D, D), s.unit(D)))

    return strategy(build)


def network(ops: Any, x: Any, weight: Any, bias: Any) -> Any:
    """A residual layer."""
    return x + ops.gelu(ops.linear(ops.layer_norm(x), weight, bias))


def network_loss(ops: Any, params: Any) -> Any:
    """Mean squared distance of the layer's output to a target."""
    error = network(ops, params["x"], params["w"], params["b"]) - params["target"]
    return ops.sum(ops.widen(error * error))
