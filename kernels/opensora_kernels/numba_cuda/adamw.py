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
        """See `AdamWKernels`; arrays: weights, gradients and moments, those that they become, factor or None."""
        weights, *others, factor = arrays
        if weights.dtype.name not in DTYPES:
            super()._launch(arrays, numbers)
            return
        factor = self.xp.ones(1, np.float32) if factor is None else factor.reshape(-1)
        flat = (*(a.reshape(-1) for a in (weights, *others)), factor)
        grid = (ceil_div(weights.size, THREADS),)
        self.launch(self.xp, adamw, grid, THREADS, (*flat, *map(np.float32, numbers)))
