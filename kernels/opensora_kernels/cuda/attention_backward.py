"""Gradients of attention on our CUDA kernels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .attention_layout import (
    Strided,
    check_head,
    check_heads_alike,
    mask_bytes,
    on_tensor_cores,
    padded_floats,
    padded_row,
    strided_rows,
    three,
)
from .launching import GetKernel, c_type, ceil_div, element_strides, launch, optional

FILE = "attention_backward.cu"


@dataclass(frozen=True)
class _Problem:
    """What the kernels of one call share."""

    q: Strided
    k: Strided
    v: Strided
    grad: Strided
    lse: Any
    delta: Any
    mask: Any
    lengths: Any
    sizes: tuple[int, int, int, int, int]  # outer, inner, heads, queries, keys
    scale: float


@dataclass(frozen=True)
class AttentionGradients:
    """The backward kernels of attention on one array library; see `attention.AttentionKernels`."""

    xp: Any
    get_kernel: GetKernel

    def gradients(
        self,
        q: Any,
        k: Any,
        v: Any,
        out: Any,
        lse: Any,
        grad: Any,
        mask: Any = None,
        scale: float | None = None,
        lengths: Any = None,
    ) -> tuple[Any, Any, Any]:
        """Gradients by q [..., L, D], by k and by v [..., M, D], given that by the result.

        out, lse: results of `AttentionKernels.attention(q, k, v, mask, scale, lengths, with_lse=True)`; grad: the
        gradient by out, of its shape. Where leading axes were broadcast, the gradients have all of them: sum over what
        an argument did not have. Nothing is added up in an order of chance: the same call gives the same bits.
        """
        D, L, M = q.shape[-1], q.shape[-2], k.shape[-2]
        check_head(D)
        check_heads_alike(q, k, v)
        lead = np.broadcast_shapes(q.shape[:-2], k.shape[:-2], v.shape[:-2])
        outer, inner, H = three(lead)
        new = self.xp.empty if L and M else self.xp.zeros
        dq, dk, dv = (new((outer, inner, n, H, D), q.dtype) for n in (L, M, M))
        if dq.size and dk.size:
            grad = grad.astype(q.dtype, copy=False)
            rows_q, rows_k, rows_v, rows_grad = (strided_rows(self.xp, x, lead) for x in (q, k, v, grad))
            lse = self.xp.ascontiguousarray(lse)
            delta = self._delta(strided_rows(self.xp, out, lead), rows_grad, (outer, inner, H, L))
            seen = None if mask is None else mask_bytes(self.xp, mask, lead, L, M)
            scale = D**-0.5 if scale is None else scale
            sizes = (outer, inner, H, L, M)
            problem = _Problem(rows_q, rows_k, rows_v, rows_grad, lse, delta, seen, lengths, sizes, scale)
            self._launch(problem, False, dq, None)
            self._launch(problem, True, dk, dv)
        shapes = (*lead, L, D), (*lead, M, D), (*lead, M, D)
        dq, dk, dv = (self.xp.moveaxis(x, 3, 2).reshape(s) for x, s in zip((dq, dk, dv), shapes, strict=True))
        return dq, dk, dv

    def _delta(self, out: Strided, grad: Strided, sizes: tuple[int, int, int, int]) -> Any:
        """Inner product of each row of the result with its gradient: float32 [outer, inner, H, L]."""
        outer, inner, H, L = sizes
        delta = self.xp.empty(sizes, np.float32)
        numbers = map(np.int32, (outer * inner, H, L, out.array.shape[-1], inner))
        args = (out.array, grad.array, delta, *numbers, *map(np.int64, (*out.strides, *grad.strides)))
        kernel = self.get_kernel(FILE, f"attention_delta<{c_type(out.array)}>")
        launch(kernel, (ceil_div(delta.size, 4),), (128,), args)
        return delta

    def _launch(self, p: _Problem, of_keys: bool, first: Any, second: Any) -> None:
        outer, inner, H, L, M = p.sizes
        D, t = p.q.array.shape[-1], c_type(p.q.array)
        seen = (0,) * 5 if p.mask is None else element_strides(p.mask)
        strides = map(np.int64, (*p.q.strides, *p.k.strides, *p.v.strides, *p.grad.strides, *seen))
        numbers = (*map(np.int32, (L, M, inner)), *strides, np.float32(p.scale))
        inputs = (p.q.array, p.k.array, p.v.array, p.grad.array, p.lse, p.delta)
        others = (optional(p.mask), optional(p.lengths))
        side = "true" if of_keys else "false"
        if not on_tensor_cores(p.q.array):
            rows = 16 if D <= 128 else 8
            args = (*inputs, first, optional(second), *others, *numbers, np.int32(D))
            shared = 4 * ((2 * rows + 2 * 32) * padded_floats(D) + 2 * rows * 32)
            kernel = self.get_kernel(FILE, f"attention_backward_plain<{t}, {ceil_div(D, 32)}, {side}>")
            launch(kernel, (ceil_div(M if of_keys else L, rows) * outer * inner, H), (128,), args, shared)
            return
        warps = 4 if D <= 192 else 2
        rows, columns = 16 * warps, 32 if D <= 128 else 16
        shared = 2 * (2 * rows + 4 * columns) * padded_row(D) + 8 * columns
        results = [(first, second)] if D <= 128 or not of_keys else [(first, None), (None, second)]
        for a, b in results:  # both of wide heads do not fit into registers at once
            which = ", ".join("false" if x is None else "true" for x in (a, b))
            kernel = self.get_kernel(FILE, f"attention_backward<{t}, {D}, {warps}, {side}, {which}>")
            args = (*inputs, optional(a), optional(b), *others, *numbers)
            grid = (ceil_div(M if of_keys else L, rows) * outer * inner, H)
            launch(kernel, grid, (32 * warps,), args, shared)
