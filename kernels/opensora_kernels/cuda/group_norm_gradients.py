"""Gradients of group norm, and of SiLU after it, on our CUDA kernels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .launching import GetKernel, c_type, ceil_div, launch, optional
from .norms import GROUP_THREADS, check_groups, spreads_of

CHUNK = GROUP_THREADS * 16  # elements of a channel that a block adds up
SHARED = 4 * GROUP_THREADS // 32


@dataclass(frozen=True)
class GroupNormGradients:
    """The backward kernels of group norm on one array library; see `norms.NormKernels`.

    Nothing is added up in an order of chance: the same call gives the same bits.
    """

    xp: Any
    get_kernel: GetKernel

    def gradients(
        self,
        x: Any,
        grad: Any,
        groups: int,
        weight: Any = None,
        bias: Any = None,
        eps: float = 1e-6,
        *,
        silu: bool = False,
    ) -> tuple[Any, Any, Any]:
        """Gradients by x [B, C, ...], weight [C] and bias [C]; grad: the gradient by the result, of x's shape.

        ValueError says what does not fit.
        """
        length = check_groups(x, groups, weight, bias)
        if grad.shape != x.shape or grad.dtype != x.dtype:
            raise ValueError(f"grad {grad.shape} {grad.dtype.name} does not fit x {x.shape} {x.dtype.name}")
        B, C = x.shape[:2]
        to_x = self.xp.empty(x.shape, x.dtype)
        if not x.size:
            zeros = self.xp.zeros((C,), x.dtype)
            return to_x, zeros, zeros
        x, grad = map(self.xp.ascontiguousarray, (x, grad))
        weight, bias = (None if a is None else self.xp.ascontiguousarray(a) for a in (weight, bias))
        norms = self._norms(x, B * groups, length, eps)
        places = math.prod(x.shape[2:])
        chunks = ceil_div(places, CHUNK)
        sizes = (np.int64(places), *map(np.int32, (C, C // groups, chunks, silu)))
        args = (x, grad, *map(optional, (weight, bias)), norms, *sizes)
        sums = self.xp.empty((B, C, chunks, 2), np.float32)
        self._launch("group_norm_backward_sums", x, chunks, (*args, sums))
        sums = self.xp.sum(sums, axis=2)  # of a channel
        self._launch("group_norm_to_x", x, chunks, (*args, self._means(sums, weight, groups, length), to_x))
        to_bias, to_weight = (self.xp.sum(sums[..., i], axis=0).astype(x.dtype) for i in (0, 1))
        return to_x, to_weight, to_bias

    def _norms(self, x: Any, rows: int, length: int, eps: float) -> Any:
        """Mean and 1 / deviation [rows, 2] of all groups, put together from those of chunks (Chan et al. 1979)."""
        spreads, whole = spreads_of(self.xp, self.get_kernel, x, rows, length)
        counts = self.xp.full(spreads.shape[1], whole, np.float32)
        counts[-1] = length - whole * (len(counts) - 1)
        means = spreads[..., 0]
        mean = self.xp.sum(means * (counts / np.float32(length)), axis=1, keepdims=True)
        apart = means - mean
        squares = self.xp.sum(spreads[..., 1] + apart * apart * counts, axis=1, keepdims=True)
        inverse = np.float32(1) / self.xp.sqrt(squares * np.float32(1 / length) + np.float32(eps))
        return self.xp.concatenate([mean, inverse], axis=1)

    def _means(self, sums: Any, weight: Any, groups: int, length: int) -> Any:
        """Means [B * groups, 2] over each group of what flows, and of that times the normed x."""
        if weight is not None:
            sums = sums * weight.astype(np.float32)[:, None]
        of_groups = self.xp.sum(sums.reshape((sums.shape[0] * groups, -1, 2)), axis=1)
        return of_groups * np.float32(1 / length)

    def _launch(self, name: str, x: Any, chunks: int, args: tuple[Any, ...]) -> None:
        kernel = self.get_kernel("group_norm_backward.cu", f"{name}<{c_type(x)}>")
        launch(kernel, (x.shape[0] * x.shape[1] * chunks,), (GROUP_THREADS,), args, SHARED)
