"""GELU, SiLU and softmax on our CUDA kernels: one pass over memory, float32 inside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from .launching import GetKernel, c_type, ceil_div, is_aligned, launch

WHICH = {"gelu tanh": 0, "gelu none": 1, "silu": 2}  # as in activations.cu
THREADS, ROWS = 256, 4


@dataclass(frozen=True)
class ActivationKernels:
    """Activations on one array library, of float32, float16 or bfloat16 arrays of any shape.

    xp: CuPy, or NumPy with a `get_kernel` of the emulation. get_kernel: see `launching.GetKernel`.
    """

    xp: Any
    get_kernel: GetKernel

    def gelu(self, x: Any, approximate: Literal["tanh", "none"] = "tanh") -> Any:
        """Gaussian error linear unit, the tanh form or the exact one."""
        return self._activate(x, f"gelu {approximate}")

    def silu(self, x: Any) -> Any:
        """x / (1 + e^-x)."""
        return self._activate(x, "silu")

    def softmax(self, x: Any) -> Any:
        """exp(x) normalised along the last axis."""
        name, out = f"softmax<{c_type(x)}>", self.xp.empty(x.shape, x.dtype)
        if x.size:
            rows, N = x.size // x.shape[-1], x.shape[-1]
            args = (self.xp.ascontiguousarray(x), out, np.int64(rows), np.int32(N))
            launch(self.get_kernel("softmax.cu", name), (ceil_div(rows, ROWS),), (32 * ROWS,), args)
        return out

    def _activate(self, x: Any, which: str) -> Any:
        name, out = f"activate<{c_type(x)}>", self.xp.empty(x.shape, x.dtype)
        if x.size:
            x = self.xp.ascontiguousarray(x)
            aligned = all(is_aligned(a, 4 * x.itemsize) for a in (x, out))
            args = (x, out, np.int64(x.size), np.int32(WHICH[which]), np.int32(aligned))
            launch(self.get_kernel("activations.cu", name), (ceil_div(x.size, 4 * THREADS),), (THREADS,), args)
        return out
