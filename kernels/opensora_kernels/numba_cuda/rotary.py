"""Rope and QK-norm by Numba's kernel, in the place of that in CUDA C++, which serves what this does not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..cuda.rotary import RotaryKernels
from .launching import Launch, are_alike, dense, launch
from .rotary_kernel import qk_norm_rope
from .warp import WARP


@dataclass(frozen=True)
class NumbaRotary(RotaryKernels):
    """`RotaryKernels` with Numba's kernel."""

    launch: Launch = launch

    def _rows(self, x: Any, weight: Any, cos: Any, sin: Any, eps: float) -> Any:
        """See `RotaryKernels`; weight [D] or None."""
        D = x.shape[-1]
        if not (are_alike(x) and x.size and D % 2 == 0):
            return super()._rows(x, weight, cos, sin, eps)
        halves = (*x.shape[:-1], D // 2)
        tables = [dense(self.xp, t.astype(np.float32), halves).reshape((-1, D // 2)) for t in (cos, sin)]
        rows, normed = self.xp.ascontiguousarray(x).reshape((-1, D)), weight is not None
        weight = weight if normed else self.xp.ones(D, x.dtype)
        out = self.xp.empty(rows.shape, x.dtype)
        args = (rows, weight, *tables, out, np.float32(eps), normed)
        self.launch(self.xp, qk_norm_rope, (rows.shape[0],), WARP, args)
        return out.reshape(x.shape)
