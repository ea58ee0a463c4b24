"""The norms by Numba's kernels, in the place of those in CUDA C++, which serve what these do not."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..cuda.launching import ceil_div
from ..cuda.norms import NormKernels, is_vectors
from .launching import THREADS, Launch, are_alike, dense, launch
from .norm_kernel import gated_residual, group_norm_silu, normalise
from .warp import WARP


@dataclass(frozen=True)
class NumbaNorms(NormKernels):
    """`NormKernels` with Numba's kernels for layer, RMS and group norm, modulate and the gated residual."""

    launch: Launch = launch

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

    def gated_residual(self, x: Any, branch: Any, gate: Any) -> Any:
        """See `NormKernels.gated_residual`."""
        if not (_fit(x, branch, gate) and branch.shape == x.shape):
            return super().gated_residual(x, branch, gate)
        flat = [dense(self.xp, a, x.shape).reshape(-1) for a in (x, branch, gate)]
        out = self.xp.empty(x.size, x.dtype)
        self.launch(self.xp, gated_residual, (ceil_div(x.size, THREADS),), THREADS, (*flat, out))
        return out.reshape(x.shape)

    def group_norm(
        self, x: Any, groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-6, *, silu: bool = False
    ) -> Any:
        """See `NormKernels.group_norm`."""
        B, C = x.shape[:2]
        fits = all(a is None or a.shape == (C,) for a in (weight, bias)) and C % groups == 0
        if not (fits and are_alike(x, weight, bias) and x.size):
            return super().group_norm(x, groups, weight, bias, eps, silu=silu)
        sizes = (B, groups, C // groups, math.prod(x.shape[2:]))
        of_channels = [
            self.xp.full(sizes[1:3], fill, x.dtype) if a is None else dense(self.xp, a, (C,)).reshape(sizes[1:3])
            for a, fill in ((weight, 1), (bias, 0))
        ]
        out = self.xp.empty(sizes, x.dtype)
        args = (self.xp.ascontiguousarray(x).reshape(sizes), *of_channels, out, np.float32(eps), silu)
        self.launch(self.xp, group_norm_silu, (B, groups), WARP, args)
        return out.reshape(x.shape)

    def _rows(self, x: Any, scale: Any, shift: Any, offset: float, eps: float, centred: bool) -> Any:
        """The result by Numba's kernel, or None where it does not serve."""
        if not _fit(x, scale, shift):
            return None
        D = x.shape[-1]
        scale = self.xp.ones(D, x.dtype) if scale is None else scale
        shift = self.xp.zeros(D, x.dtype) if shift is None else shift
        rows = [dense(self.xp, a, x.shape).reshape((-1, D)) for a in (x, scale, shift)]
        out = self.xp.empty(rows[0].shape, x.dtype)
        numbers = (np.float32(offset), np.float32(eps), centred)
        self.launch(self.xp, normalise, (out.shape[0],), WARP, (*rows, out, *numbers))
        return out.reshape(x.shape)


def _fit(x: Any, *vectors: Any) -> bool:
    """Whether Numba's kernels take rows x and vectors that broadcast to them."""
    shapes = [a.shape for a in vectors if a is not None]
    return bool(x.ndim and x.size) and are_alike(x, *vectors) and all(is_vectors(s, x.shape) for s in shapes)
