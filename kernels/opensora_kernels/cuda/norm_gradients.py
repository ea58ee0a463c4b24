"""Gradients of layer norm, RMS norm and modulate on our CUDA kernel."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .launching import EVERY_GPU, GetKernel, c_type, ceil_div, launch, optional
from .norms import is_vectors

WARPS = 4
LONGEST_RUN = 64  # rows whose sums a warp keeps
WIDEST = EVERY_GPU // 8  # channels whose sums fit a warp's shared memory


@dataclass(frozen=True)
class NormGradients:
    """The backward kernels of the norms on one array library; see `norms.NormKernels`.

    Nothing is added up in an order of chance: the same call gives the same bits.
    """

    xp: Any
    get_kernel: GetKernel

    def layer_norm(self, x: Any, grad: Any, weight: Any = None, eps: float = 1e-6) -> tuple[Any, Any, Any]:
        """Gradients by x [..., D], by the weight [D] and by the bias [D]; grad: the gradient by the result."""
        return self._gradients(x, grad, weight, (x.shape[-1],), 0.0, eps, centred=True)

    def rms_norm(self, x: Any, grad: Any, weight: Any, eps: float = 1e-6) -> tuple[Any, Any]:
        """Gradients by x [..., D] and by the weight [D]."""
        return self._gradients(x, grad, weight, weight.shape, 0.0, eps, centred=False)[:2]

    def modulate(self, x: Any, grad: Any, scale: Any, eps: float = 1e-6) -> tuple[Any, Any, Any]:
        """Gradients by x, by scale and by a shift of scale's shape, which broadcasts to x [..., D]."""
        return self._gradients(x, grad, scale, scale.shape, 1.0, eps, centred=True)

    def _gradients(
        self, x: Any, grad: Any, scale: Any, vectors: tuple[int, ...], offset: float, eps: float, *, centred: bool
    ) -> tuple[Any, Any, Any]:
        """vectors: shape of scale and shift, over whose broadcast axes their gradients are summed."""
        D, lead = x.shape[-1], x.shape[:-1]
        if not 0 < D <= WIDEST:
            raise ValueError(f"{D} channels are outside 1..{WIDEST}")
        if grad.shape != x.shape or any(a is not None and a.dtype != x.dtype for a in (grad, scale)):
            raise ValueError(f"grad {grad.shape} {grad.dtype.name} and scale do not fit x {x.shape} {x.dtype.name}")
        if not is_vectors(vectors, x.shape):
            raise ValueError(f"scale {vectors} does not fit x {x.shape}")
        own = (1,) * (x.ndim - len(vectors)) + vectors[:-1]
        shared = next((i for i in reversed(range(len(lead))) if own[i] != 1), -1) + 1  # axes from here on share it
        rows_a_vector, outer = math.prod(lead[shared:]), lead[:shared]
        to_x = self.xp.empty(x.shape, x.dtype)
        if not x.size:
            zeros = self.xp.zeros(vectors, x.dtype)
            return to_x, zeros, zeros
        run = next(n for n in range(min(LONGEST_RUN, rows_a_vector), 0, -1) if rows_a_vector % n == 0)
        runs_a_vector = rows_a_vector // run
        sums = self.xp.empty((*outer, runs_a_vector, 2, D), np.float32)
        if scale is not None:
            whole = self.xp.broadcast_to(scale.reshape((*own, D)), (*outer, *own[shared:], D))
            scale = self.xp.ascontiguousarray(whole)
        x, grad = map(self.xp.ascontiguousarray, (x, grad))
        runs = math.prod(outer) * runs_a_vector
        warps = next(w for w in (WARPS, 2, 1) if w == 1 or w * 8 * D <= EVERY_GPU)
        numbers = (np.int64(runs), *map(np.int32, (run, runs_a_vector, D)), np.float32(offset), np.float32(eps))
        args = (x, grad, optional(scale), to_x, sums, *numbers, np.int32(centred))
        kernel = self.get_kernel("modulate_backward.cu", f"modulate_backward<{c_type(x)}>")
        launch(kernel, (ceil_div(runs, warps),), (32 * warps,), args, warps * 8 * D)
        axes = (*(i for i in range(shared) if own[i] == 1), len(outer))
        total = self.xp.sum(sums, axis=axes, keepdims=True).astype(x.dtype)
        return to_x, total[..., 0, :].reshape(vectors), total[..., 1, :].reshape(vectors)
