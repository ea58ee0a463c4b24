"""A step of AdamW by Numba's kernel, in the place of that in CUDA C++, which serves what this does not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..cuda.adamw import AdamWKernels
from ..cuda.launching import ceil_div
from .adamw_kernel import adamw
from .launching import DTYPES, THREADS, Launch, launch


@dataclass(frozen=True)
class NumbaAdamW(AdamWKernels):
    """`AdamWKernels` with Numba's kernel."""

    launch: Launch = launch

    def _launch(self, arrays: tuple[Any, ...], numbers: tuple[float, ...]) -> None:
        """See `AdamWKernels`; arrays: weights, master or None, gradients, mean, square, factor or None."""
        weights, master, *moving, factor = arrays
        if weights.dtype.name not in DTYPES:
            super()._launch(arrays, numbers)
            return
        master = self.xp.empty(0, np.float32) if master is None else master.reshape(-1)
        factor = self.xp.ones(1, np.float32) if factor is None else factor.reshape(-1)
        flat = (weights.reshape(-1), master, *(a.reshape(-1) for a in moving), factor)
        grid = (ceil_div(weights.size, THREADS),)
        self.launch(self.xp, adamw, grid, THREADS, (*flat, *map(np.float32, numbers)))
