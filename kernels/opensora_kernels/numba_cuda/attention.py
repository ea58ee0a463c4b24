"""Attention by Numba's kernels, in the place of those in CUDA C++, which serve what these do not."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..choice import numba_serves
from ..cuda.attention import AttentionKernels
from ..cuda.launching import ceil_div
from ..cuda.preparation import norm_weight, rope_tables
from .flash_kernel import THREADS, flash_attention
from .launching import Launch, are_alike, dense, launch
from .temporal_kernel import temporal_attention
from .warp import WARP


@dataclass(frozen=True)
class NumbaAttention(AttentionKernels):
    """`AttentionKernels` with Numba's kernels along time, and for attention without a mask."""

    launch: Launch = launch

    def attention_3d(
        self,
        qkv: Any,
        pattern: str,
        q_norm: Any = None,
        k_norm: Any = None,
        cos: Any = None,
        sin: Any = None,
        eps: float = 1e-6,
    ) -> Any:
        """See `AttentionKernels.attention_3d`."""
        B, T, S, _, H, D = qkv.shape
        served = numba_serves("attention_3d", qkv.dtype.name, pattern=pattern, head_dim=D, length=T, across=H)
        if not (served and qkv.size):
            return super().attention_3d(qkv, pattern, q_norm, k_norm, cos, sin, eps)
        weights, normed = _norm_weights(self.xp, q_norm, k_norm, D, qkv.dtype)
        none = self.xp.zeros((1, 1), np.float32)
        tables = (none if t is None else t for t in rope_tables(self.xp, cos, sin, T, D))
        out = self.xp.empty((B, T, S, H, D), qkv.dtype)
        args = (qkv, weights, *tables, out, normed, cos is not None, np.float32(D**-0.5), np.float32(eps))
        self.launch(self.xp, temporal_attention, (B * S, H), WARP, args, 4 * (3 * T * D + WARP))
        return out

    def attention(
        self,
        q: Any,
        k: Any,
        v: Any,
        mask: Any = None,
        scale: float | None = None,
        lengths: Any = None,
        *,
        with_lse: bool = False,
    ) -> Any:
        """See `AttentionKernels.attention`."""
        (L, D), M = q.shape[-2:], k.shape[-2]
        served = numba_serves("attention", q.dtype.name, head_dim=D, length=M, masked=mask is not None)
        plain = lengths is None and not with_lse and are_alike(q, k, v) and k.shape == v.shape
        if not (served and plain and q.size and k.size and k.shape[-1] == D):
            return super().attention(q, k, v, mask, scale, lengths, with_lse=with_lse)
        lead = np.broadcast_shapes(q.shape[:-2], k.shape[:-2])
        N = math.prod(lead)
        rows = [dense(self.xp, x, (*lead, n, D)).reshape((N, n, D)) for x, n in ((q, L), (k, M), (v, M))]
        out = self.xp.empty((N, L, D), q.dtype)
        factor = np.float32(D**-0.5 if scale is None else scale)
        self.launch(self.xp, flash_attention(D), (N, ceil_div(L, THREADS)), THREADS, (*rows, out, factor))
        return out.reshape((*lead, L, D))


def _norm_weights(xp: Any, q_norm: Any, k_norm: Any, D: int, dtype: Any) -> tuple[Any, int]:
    """Weights [2, D] of queries and keys, ones where there is no norm, and in two bits which of them there are."""
    given = (norm_weight(xp, name, w, D, dtype) for name, w in (("q_norm", q_norm), ("k_norm", k_norm)))
    return xp.stack([xp.ones(D, dtype) if w is None else w for w in given]), (q_norm is not None) + 2 * (
        k_norm is not None
    )
