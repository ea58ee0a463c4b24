"""The Numba kernels in the place of those in CUDA C++, which serve what these do not."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import cuda

from ..cuda.attention import TEMPORAL_FRAMES, AttentionKernels
from ..cuda.launching import WITHOUT_ASKING, ceil_div
from ..cuda.norms import NormKernels, is_vectors
from .flash_kernel import THREADS, flash_attention
from .norm_kernel import normalise
from .temporal_kernel import temporal_attention
from .warp import WARP

DTYPES = ("float32", "float16")  # Numba has no arrays of bfloat16


def _stream(xp: Any) -> Any:
    """CuPy's current stream as Numba's; the simulator's only one for NumPy."""
    return 0 if xp is np else cuda.external_stream(xp.cuda.get_current_stream().ptr)


@dataclass(frozen=True)
class NumbaAttention(AttentionKernels):
    """`AttentionKernels` with Numba's kernels along time (at most 32 frames), and for attention without a mask."""

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
        shared = 4 * (3 * T * D + WARP)
        fits = pattern == "temporal" and T <= TEMPORAL_FRAMES and shared <= WITHOUT_ASKING and qkv.size
        if not fits or qkv.dtype.name not in DTYPES or (q_norm is None) != (k_norm is None) or D % 2:
            return super().attention_3d(qkv, pattern, q_norm, k_norm, cos, sin, eps)
        weights = [self.xp.ones(D, qkv.dtype) if w is None else self.xp.ascontiguousarray(w) for w in (q_norm, k_norm)]
        tables = [
            self.xp.zeros((1, 1), np.float32) if t is None else self.xp.ascontiguousarray(t.astype(np.float32))
            for t in (cos, sin)
        ]
        out = self.xp.empty((B, T, S, H, D), qkv.dtype)
        last = (q_norm is not None, cos is not None, np.float32(D**-0.5), np.float32(eps))
        temporal_attention[(B * S, H), WARP, _stream(self.xp), shared](qkv, *weights, *tables, out, *last)
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
        alike = q.dtype == k.dtype == v.dtype and q.dtype.name in DTYPES and q.shape[-1] == k.shape[-1]
        plain = mask is None and lengths is None and not with_lse
        if not (alike and plain and q.size and k.size and k.shape == v.shape and q.shape[-1] <= 128):
            return super().attention(q, k, v, mask, scale, lengths, with_lse=with_lse)
        (L, D), M = q.shape[-2:], k.shape[-2]
        lead = np.broadcast_shapes(q.shape[:-2], k.shape[:-2])
        N = math.prod(lead)
        rows = [
            self.xp.array(self.xp.broadcast_to(x, (*lead, n, D)), order="C", copy=True).reshape((N, n, D))
            for x, n in ((q, L), (k, M), (v, M))
        ]
        out = self.xp.empty((N, L, D), q.dtype)
        factor = np.float32(D**-0.5 if scale is None else scale)
        flash_attention(D)[(ceil_div(L, THREADS), N), THREADS, _stream(self.xp), 0](*rows, out, factor)
        return out.reshape((*lead, L, D))


@dataclass(frozen=True)
class NumbaNorms(NormKernels):
    """`NormKernels` with Numba's kernel for layer norm, RMS norm and modulate."""

    def layer_norm(self, x: Any, weight: Any = None, bias: Any = None, eps: float = 1e-6) -> Any:
        """See `NormKernels.layer_norm`."""
        served = self._rows(x, weight, bias, 0.0, eps, True)
        return super().layer_norm(x, weight, bias, eps) if served is None else served

    def rms_norm(self, x: Any, weight: Any, eps: float = 1e-6) -> Any:
        """See `NormKernels.rms_norm`."""
        served = self._rows(x, weight, None, 0.0, eps, False)
        return super().rms_norm(x, weight, eps) if served is None else served

    def modulate(self, x: Any, shift: Any, scale: Any, eps: float = 1e-6) -> Any:
        """See `NormKernels.modulate`."""
        served = self._rows(x, scale, shift, 1.0, eps, True)
        return super().modulate(x, shift, scale, eps) if served is None else served

    def _rows(self, x: Any, scale: Any, shift: Any, offset: float, eps: float, centred: bool) -> Any:
        """The result by Numba's kernel, or None where it does not serve."""
        given = [a for a in (scale, shift) if a is not None]
        fits = all(a.dtype == x.dtype and is_vectors(a.shape, x.shape) for a in given)
        if x.dtype.name not in DTYPES or not x.size or not x.ndim or not fits:
            return None
        D = x.shape[-1]
        scale = self.xp.ones(D, x.dtype) if scale is None else scale
        shift = self.xp.zeros(D, x.dtype) if shift is None else shift
        rows = [
            self.xp.array(self.xp.broadcast_to(a, x.shape), order="C", copy=True).reshape((-1, D))
            for a in (x, scale, shift)
        ]
        out = self.xp.empty(rows[0].shape, x.dtype)
        numbers = (np.float32(offset), np.float32(eps), centred)
        normalise[(out.shape[0],), WARP, _stream(self.xp), 0](*rows, out, *numbers)
        return out.reshape(x.shape)
