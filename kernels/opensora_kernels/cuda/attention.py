"""Attention on our CUDA kernels: which of them, and with what grid, strides and shared memory."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .attention_layout import (
    TEMPORAL_FRAMES,
    Strided,
    check_head,
    check_heads_alike,
    keys_in_tile,
    mask_bytes,
    on_tensor_cores,
    padded_floats,
    padded_row,
    pick,
    strided_rows,
    three,
    tokens,
)
from .launching import EVERY_GPU, GetKernel, c_type, ceil_div, dense_rows, element_strides, launch, optional
from .preparation import Prepared, norm_weight, rope_tables

RESIDENT_BLOCKS = 1024  # about what a large GPU runs at once; below it, every place gets a block
FLASH_WARPS = 4


@dataclass(frozen=True)
class AttentionKernels:
    """The attention kernels on one array library.

    xp: CuPy, or NumPy with a `get_kernel` of the emulation. get_kernel: see `launching.GetKernel`.
    tensor_cores: whether kernels for them serve half precision, or the plain ones do.
    Arrays are float32, float16 or bfloat16 with heads of 1 to 256 channels; ValueError says what does not fit.
    """

    xp: Any
    get_kernel: GetKernel
    tensor_cores: bool = field(default=True, kw_only=True)

    def attention_3d(
        self,
        qkv: Any,
        pattern: str,
        q_norm: Any = None,
        k_norm: Any = None,
        cos: Any = None,
        sin: Any = None,
        eps: float = 1e-6,
    ) -> Any:
        """Self-attention of video tokens qkv [B, T, S, 3, H, D] -> [B, T, S, H, D], dense.

        pattern: "spatial", "temporal" or "full". q_norm, k_norm: RMS-norm weights [D]. cos, sin: [L, D/2] of the
        attended axis. No copy is made of a qkv whose rows are dense and 16-byte aligned.
        """
        B, T, S, _, H, D = qkv.shape
        check_head(D)
        outer, inner, L = {"spatial": (B, T, S), "temporal": (B, S, T), "full": (B, 1, T * S)}[pattern]
        q_norm = norm_weight(self.xp, "q_norm", q_norm, D, qkv.dtype)
        k_norm = norm_weight(self.xp, "k_norm", k_norm, D, qkv.dtype)
        prepared = Prepared(q_norm, k_norm, *rope_tables(self.xp, cos, sin, L, D), eps)
        if qkv.size == 0:
            return self.xp.zeros((B, T, S, H, D), qkv.dtype)
        qkv = dense_rows(self.xp, qkv, 16 if self._on_tensor_cores(qkv) else 1)
        out = self.xp.empty((B, T, S, H, D), qkv.dtype)
        if pattern == "temporal" and T <= TEMPORAL_FRAMES:
            self._temporal(qkv, out, prepared)
            return out
        if pattern == "full" and qkv.strides[1] != S * qkv.strides[2]:  # frames must follow each other as tokens do
            qkv = self.xp.array(qkv, order="C", copy=True)
        axes = (0, 2, 1) if pattern == "temporal" else (0, 1, 2)
        q, k, v = (tokens(qkv[:, :, :, i], axes) for i in range(3))
        self._flash(q, k, v, tokens(out, axes), (outer, inner, H, L, L), D**-0.5, prepared)
        return out

    def attention(
        self,
        q: Any,
        k: Any,
        v: Any,
        mask: Any = None,
        scale: float | None = None,
        lengths: Any = None,
        *,
        with_lse: bool = False,
    ) -> Any:
        """softmax(q kᵀ · scale) v; q [..., L, D], k and v [..., M, D], leading axes broadcast.

        mask: booleans broadcastable to [..., L, M]; True may be attended. lengths: int32, one for each index of the
        first of at least two leading axes: only so many of its keys count. A row without a key gives zeros. with_lse:
        return also float32 [..., L], the log of each row's sum of exponentials.
        """
        D = q.shape[-1]
        check_head(D)
        check_heads_alike(q, k, v)
        lead = np.broadcast_shapes(q.shape[:-2], k.shape[:-2], v.shape[:-2])
        L, M = q.shape[-2], k.shape[-2]
        outer, inner, H = three(lead)
        rows = [strided_rows(self.xp, x, lead) for x in (q, k, v)]
        out = (self.xp.empty if M else self.xp.zeros)((outer, inner, L, H, D), q.dtype)
        lse = self.xp.full((outer, inner, H, L), -math.inf, np.float32) if with_lse else None
        if mask is not None:
            mask = mask_bytes(self.xp, mask, lead, L, M)
        if out.size and M:
            q, k, v = rows
            o = Strided(out, pick(element_strides(out), (0, 1, 2, 3)))
            scale = D**-0.5 if scale is None else scale
            self._flash(q, k, v, o, (outer, inner, H, L, M), scale, Prepared(), lse, mask, lengths)
        result = self.xp.moveaxis(out, 3, 2).reshape((*lead, L, D))
        return (result, lse.reshape((*lead, L))) if lse is not None else result

    def _on_tensor_cores(self, x: Any) -> bool:
        return self.tensor_cores and on_tensor_cores(x)

    def _temporal(self, qkv: Any, out: Any, prepared: Prepared) -> None:
        B, T, S, _, H, D = qkv.shape
        numbers = (*map(np.int32, (B, T, S, H)),)
        strides = (*map(np.int64, element_strides(qkv)[:5]),)
        arrays = (qkv, out, *prepared.pointers)
        last = (np.float32(D**-0.5), np.float32(prepared.eps))
        if self._on_tensor_cores(qkv):
            frames = 16 if T <= 16 else 32
            tables = 4 * (2 * D + (2 * T * padded_floats(D // 2) if prepared.cos is not None else 0))
            a_warp = 2 * 3 * frames * padded_row(D)
            warps = next(w for w in (4, 2, 1) if w == 1 or tables + w * a_warp <= EVERY_GPU)
            kernel = self.get_kernel(
                "temporal_attention.cu", f"temporal_attention<{c_type(qkv)}, {D}, {frames}, {warps}>"
            )
            grid = (max(ceil_div(B * S, 4), min(B * S, RESIDENT_BLOCKS)), ceil_div(H, warps))
            launch(kernel, grid, (32 * warps,), (*arrays, *numbers, *strides, *last), tables + warps * a_warp)
        else:
            a_warp = 4 * ((2 * T + 1) * padded_floats(D) + 32)
            warps = next(w for w in (4, 2, 1) if w == 1 or w * a_warp <= EVERY_GPU // 2)
            kernel = self.get_kernel("temporal_attention.cu", f"temporal_attention_plain<{c_type(qkv)}>")
            grid, args = (B * S, ceil_div(H, warps)), (*arrays, *numbers, np.int32(D), *strides, *last)
            launch(kernel, grid, (32 * warps,), args, warps * a_warp)

    def _flash(
        self,
        q: Strided,
        k: Strided,
        v: Strided,
        o: Strided,
        sizes: tuple[int, int, int, int, int],
        scale: float,
        prepared: Prepared,
        lse: Any = None,
        mask: Any = None,
        lengths: Any = None,
    ) -> None:
        """sizes: outer, inner, heads, queries, keys. mask: bytes [outer, inner, heads, queries, keys], any strides."""
        outer, inner, H, L, M = sizes
        D = q.array.shape[-1]
        arrays = (q.array, k.array, v.array, o.array, *map(optional, (lse, mask, lengths)), *prepared.pointers)
        seen = (0,) * 5 if mask is None else element_strides(mask)
        strides = map(np.int64, (*q.strides, *k.strides, *v.strides, *o.strides, *seen))
        args: tuple[Any, ...] = (*arrays, *map(np.int32, (L, M, inner)), *strides)
        args += (np.float32(scale), np.float32(prepared.eps))
        if self._on_tensor_cores(q.array):
            keys, rows = keys_in_tile(D), 16 * FLASH_WARPS
            name = f"flash_attention<{c_type(q.array)}, {D}, {FLASH_WARPS}>"
            shared = 2 * (rows + 4 * keys) * padded_row(D) + 4 * keys
        else:
            rows = 16
            name = f"flash_attention_plain<{c_type(q.array)}, {ceil_div(D, 32)}>"
            args += (np.int32(D),)
            shared = 4 * ((rows + 2 * 32) * padded_floats(D) + rows * 32)
        grid = (ceil_div(L, rows) * outer * inner, H)
        launch(self.get_kernel("flash_attention.cu", name), grid, (32 * 4,), args, shared)
