"""Rope and QK-norm by Numba's kernels, in the place of those in CUDA C++, which serve what these do not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..cuda.rotary import TABLE_AXES, RotaryKernels
from .launching import Launch, are_alike, dense, launch
from .rotary_kernel import qk_norm_rope, rotary
from .warp import WARP


@dataclass(frozen=True)
class NumbaRotary(RotaryKernels):
    """`RotaryKernels` with Numba's kernels."""

    launch: Launch = launch

    def rotary(self, x: Any, cos: Any, sin: Any) -> Any:
        """See `RotaryKernels.rotary`."""
        if not (are_alike(x) and x.size and x.shape[-1] % 2 == 0):
            return super().rotary(x, cos, sin)
        D = x.shape[-1]
        halves = (*x.shape[:-1], D // 2)
        tables = [dense(self.xp, t.astype(np.float32), halves).reshape((-1, D // 2)) for t in (cos, sin)]
        rows = self.xp.ascontiguousarray(x).reshape((-1, D))
        out = self.xp.empty(rows.shape, x.dtype)
        self.launch(self.xp, rotary, (rows.shape[0],), WARP, (rows, *tables, out))
        return out.reshape(x.shape)

    def qk_norm_rope(
        self,
        qkv: Any,
        pattern: str,
        q_norm: Any = None,
        k_norm: Any = None,
        cos: Any = None,
        sin: Any = None,
        eps: float = 1e-6,
        *,
        in_place: bool = False,
    ) -> Any:
        """See `RotaryKernels.qk_norm_rope`."""
        B, T, S, _, H, D = qkv.shape
        if not (are_alike(qkv) and qkv.size and (cos is None or D % 2 == 0)):
            return super().qk_norm_rope(qkv, pattern, q_norm, k_norm, cos, sin, eps, in_place=in_place)
        weights, normed = norm_weights(self.xp, q_norm, k_norm, D, qkv.dtype)
        along = tuple(n if axis in TABLE_AXES[pattern] else 1 for axis, n in ((1, T), (2, S)))
        tables = [
            self.xp.zeros((1, 1, 1), np.float32)
            if t is None
            else dense(self.xp, t.astype(np.float32).reshape((*along, D // 2)), (T, S, D // 2))
            for t in (cos, sin)
        ]
        out = qkv[:, :, :, :2] if in_place else self.xp.empty((B, T, S, 2, H, D), qkv.dtype)
        args = (qkv, weights, *tables, out, normed, cos is not None, np.float32(eps))
        self.launch(self.xp, qk_norm_rope, (B * T * S, 2, H), WARP, args)
        return out


def norm_weights(xp: Any, q_norm: Any, k_norm: Any, D: int, dtype: Any) -> tuple[Any, int]:
    """Weights [2, D] of queries and keys, ones where there is no norm, and in two bits which of them there are."""
    rows = [xp.ones(D, dtype) if w is None else w.astype(dtype, copy=False) for w in (q_norm, k_norm)]
    return xp.stack(rows), (q_norm is not None) + 2 * (k_norm is not None)
