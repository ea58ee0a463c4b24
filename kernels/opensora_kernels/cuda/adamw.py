"""A step of AdamW on our CUDA kernel: every array is read once and every new one written once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .launching import GetKernel, c_type, ceil_div, launch, optional

THREADS = 256
MOST_BLOCKS = 4096


@dataclass(frozen=True)
class AdamWKernels:
    """AdamW with decoupled weight decay on one array library.

    xp: CuPy, or NumPy with a `get_kernel` of the emulation. get_kernel: see `launching.GetKernel`.
    """

    xp: Any
    get_kernel: GetKernel

    def step(
        self,
        weights: Any,
        gradients: Any,
        mean: Any,
        square: Any,
        step: int,
        rate: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        factor: Any = None,
    ) -> tuple[Any, Any, Any]:
        """New weights, mean and square, dense; all arguments are of one shape, gradients of the weights' dtype.

        step: its number, from 1. mean, square: float32. factor: float32 array of one number that gradients are
        multiplied by, such as that of clipping. ValueError says what does not fit.
        """
        c_type(weights)
        _check(weights, weights.dtype, gradients=gradients)
        _check(weights, np.dtype(np.float32), mean=mean, square=square)
        if factor is not None and (factor.size, factor.dtype) != (1, np.float32):
            raise ValueError(f"factor is {factor.shape} {factor.dtype.name}, not one float32")
        if step < 1:
            raise ValueError(f"step {step} is below 1")
        new = tuple(self.xp.empty(a.shape, a.dtype) for a in (weights, mean, square))
        if not weights.size:
            return new
        beta1, beta2 = betas
        numbers = (beta1, 1 - beta1, beta2, 1 - beta2, (1 - beta2**step) ** -0.5, eps, 1 - rate * weight_decay)
        dense = map(self.xp.ascontiguousarray, (weights, gradients, mean, square))
        self._launch((*dense, *new, factor), (*numbers, rate / (1 - beta1**step)))
        return new

    def _launch(self, arrays: tuple[Any, ...], numbers: tuple[float, ...]) -> None:
        """The kernel on checked arrays, in the order of its parameters."""
        size = arrays[0].size
        args = (*map(optional, arrays), np.int64(size), *map(np.float32, numbers))
        grid = (min(ceil_div(size, THREADS), MOST_BLOCKS),)
        launch(self.get_kernel("adamw.cu", f"adamw<{c_type(arrays[0])}>"), grid, (THREADS,), args)


def _check(weights: Any, dtype: Any, **arrays: Any) -> None:
    for name, a in arrays.items():
        if (a.shape, a.dtype) != (weights.shape, dtype):
            raise ValueError(f"{name} is {a.shape} {a.dtype.name}; {weights.shape} {dtype.name} is wanted")
