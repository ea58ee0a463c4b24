"""The attention of Numba's backend: which kernel serves which sizes."""

from __future__ import annotations

import numpy as np

from opensora_core.ops import PART_AXES, PATTERNS, Array, Pattern
from opensora_kernels.cpu import attention, blockwise, few_keys, queries_keys, rotary, softmax
from opensora_kernels.cpu.row_blocks import is_large

from .numba_checks import served, weigh
from .numpy_ops import NumpyOps

SHORT, MANY = 16, 1 << 22
"""Along time, so few frames of so many numbers go to the kernel that reads them in place, else BLAS wins."""


class NumbaAttention(NumpyOps):
    """What `NumbaOps` overrides of attention."""

    threads: int

    def rotary(self, x: Array, cos: Array, sin: Array) -> Array:
        half = (*x.shape[:-1], x.shape[-1] // 2)
        fits = x.size and x.shape[-1] % 2 == 0 and all(a.shape[-1:] == half[-1:] for a in (cos, sin))
        if not (fits and served(x) and np.broadcast_shapes(half, cos.shape, sin.shape) == half):
            return super().rotary(x, cos, sin)
        return rotary.rotary(x, cos, sin, self.threads)

    def attention(self, q: Array, k: Array, v: Array, mask: Array | None = None, scale: float | None = None) -> Array:
        if not served(q, k, v):
            return super().attention(q, k, v, mask, scale)
        scale = q.shape[-1] ** -0.5 if scale is None else scale
        if is_large(q, k):
            return blockwise.attention(q, k, v, mask, scale, self.threads)
        if few_keys.serves(q, k, v, mask):
            return few_keys.attention(q, k, v, mask, scale, self.threads)
        logits = np.matmul(q * q.dtype.type(scale), k.swapaxes(-1, -2))
        if mask is None:
            return np.matmul(self.softmax(logits), v)
        if not logits.size or np.broadcast_shapes(mask.shape, logits.shape) != logits.shape:
            return super().attention(q, k, v, mask, scale)
        return np.matmul(softmax.masked_softmax(logits, mask, self.threads), v)

    def attention_3d(
        self,
        qkv: Array,
        pattern: Pattern,
        q_norm: Array | None = None,
        k_norm: Array | None = None,
        cos: Array | None = None,
        sin: Array | None = None,
    ) -> Array:
        B, T, S, _, H, D = qkv.shape
        length = T if pattern == "temporal" else S
        turned = cos is not None and sin is not None and D % 2 == 0 and cos.shape == sin.shape == (length, D // 2)
        normed = q_norm is not None and k_norm is not None and weigh((D,), q_norm, k_norm)
        fits = pattern in ("spatial", "temporal") and normed and (turned or cos is sin is None)
        if not (fits and qkv.size and served(qkv, q_norm, k_norm)):
            return super().attention_3d(qkv, pattern, q_norm, k_norm, cos, sin)
        if turned and length <= SHORT and pattern == "temporal" and qkv.size > MANY:
            return along_time(qkv, q_norm, k_norm, cos, sin, self.threads)
        ready = parts(qkv, pattern, q_norm, k_norm, cos, sin, self.threads)
        q, k, v = (x.transpose(PART_AXES[pattern]) for x in ready)
        if not few_keys.serves(q, k, v):
            return self.attention(q, k, v).transpose(PATTERNS[pattern][1])
        out = np.empty((B, T, S, H, D), qkv.dtype)
        few_keys.attention(q, k, v, None, D**-0.5, self.threads, out.transpose(PART_AXES[pattern]))
        return out


def parts(
    qkv: Array, pattern: Pattern, q_norm: Array, k_norm: Array, cos: Array | None, sin: Array | None, threads: int = 1
) -> tuple[Array, Array, Array]:
    """Normalised and turned queries and keys, and values, [B, T, S, H, D] each."""
    B, T, S, _, H, D = qkv.shape
    packed, every = qkv.reshape(-1, 3, H, D), S if pattern == "temporal" else 1
    q, k = queries_keys.norm_and_turn(packed, q_norm, k_norm, cos, sin, every, threads).reshape(2, B, T, S, H, D)
    return q, k, packed[:, 2].reshape(B, T, S, H, D)


def along_time(qkv: Array, q_norm: Array, k_norm: Array, cos: Array, sin: Array, threads: int = 1) -> Array:
    """Temporal attention by the kernel that reads a sequence in place, one after the other."""
    B, T, S, _, H, D = qkv.shape
    out = np.empty((B, T, S, H, D), qkv.dtype)
    packed, token = np.ascontiguousarray(qkv).reshape(-1), H * D
    attention.attention_along(
        packed, packed[token:], packed[2 * token :], (T * S * 3 * token, 3 * token, S * 3 * token),
        (B, S, T, H, D), q_norm, k_norm, cos, sin,
        out=out.reshape(-1), out_strides=(T * S * token, token, S * token), threads=threads,
    )  # fmt: skip
    return out
