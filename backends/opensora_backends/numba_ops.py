"""Numba: NumPy arrays and BLAS, with kernels of our own where one pass over memory does for many."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from opensora_core.checks import whole
from opensora_core.errors import InvalidInputError
from opensora_core.ops import Array, Pattern
from opensora_kernels.cpu import activations, attention, blockwise, norms, residual, rotary, softmax
from opensora_kernels.cpu.row_blocks import is_large
from opensora_kernels.cpu.threads import default_threads

from .numpy_ops import NumpyOps

SHORT = 16  # longest sequence with rope that the attention kernel serves; with longer ones BLAS wins


class NumbaOps(NumpyOps):
    """Arrays are np.ndarray on the host; float64 and float32 take the kernels, half precision by way of float32."""

    name = "numba"

    def __init__(self, device: str = "cpu", dtype: str = "float32", threads: int | None = None) -> None:
        """threads: of the kernels; unset, OPENSORA_THREADS, NUMBA_NUM_THREADS, OMP_NUM_THREADS or all processors."""
        super().__init__(device, dtype)
        try:
            self.threads = default_threads() if threads is None else whole("threads", threads, 1)
        except ValueError as error:
            raise InvalidInputError(str(error)) from error

    # ------------------------------------------------------------------ elementwise

    def erf(self, x: Array) -> Array:
        return activations.erf(x, self.threads) if _served(x) else self._by_float32(self.erf, x)

    def gelu(self, x: Array, approximate: Literal["tanh", "none"] = "tanh") -> Array:
        if not _served(x):
            return self._by_float32(self.gelu, x, approximate)
        return activations.gelu(x, approximate, self.threads)

    def silu(self, x: Array) -> Array:
        return activations.silu(x, self.threads) if _served(x) else self._by_float32(self.silu, x)

    # ------------------------------------------------------------------ softmax and norms

    def softmax(self, x: Array, axis: int = -1) -> Array:
        if not _served(x) or axis not in (-1, x.ndim - 1) or not x.size:
            return super().softmax(x, axis)
        return softmax.softmax(x, self.threads)

    def layer_norm(self, x: Array, weight: Array | None = None, bias: Array | None = None, eps: float = 1e-6) -> Array:
        if not (_weigh(x.shape[-1:], weight, bias) and _served(x, weight, bias) and x.size):
            return super().layer_norm(x, weight, bias, eps)
        return norms.layer_norm(x, weight, bias, eps, self.threads)

    def rms_norm(self, x: Array, weight: Array, eps: float = 1e-6) -> Array:
        if not (_weigh(x.shape[-1:], weight) and _served(x, weight) and x.size):
            return super().rms_norm(x, weight, eps)
        return norms.rms_norm(x, weight, eps, self.threads)

    def group_norm(
        self, x: Array, groups: int, weight: Array | None = None, bias: Array | None = None, eps: float = 1e-6
    ) -> Array:
        if not (_weigh(x.shape[1:2], weight, bias) and _served(x, weight, bias) and x.size):
            return super().group_norm(x, groups, weight, bias, eps)
        return norms.group_norm(x, groups, weight, bias, eps, self.threads)

    def group_norm_silu(
        self, x: Array, groups: int, weight: Array | None = None, bias: Array | None = None, eps: float = 1e-6
    ) -> Array:
        if not (_weigh(x.shape[1:2], weight, bias) and _served(x, weight, bias) and x.size):
            return super().group_norm_silu(x, groups, weight, bias, eps)
        return norms.group_norm(x, groups, weight, bias, eps, self.threads, silu=True)

    def modulate(self, x: Array, shift: Array, scale: Array, eps: float = 1e-6) -> Array:
        if not (_are_vectors(x, shift, scale) and _served(x, shift, scale)):
            return super().modulate(x, shift, scale, eps)
        return norms.modulate(x, shift, scale, eps, self.threads)

    def gated_residual(self, x: Array, branch: Array, gate: Array) -> Array:
        if not (_are_vectors(x, gate) and branch.shape == x.shape and _served(x, branch, gate)):
            return super().gated_residual(x, branch, gate)
        return residual.gated_residual(x, branch, gate, self.threads)

    # ------------------------------------------------------------------ attention

    def rotary(self, x: Array, cos: Array, sin: Array) -> Array:
        half = (*x.shape[:-1], x.shape[-1] // 2)
        fits = x.size and x.shape[-1] % 2 == 0 and all(a.shape[-1:] == half[-1:] for a in (cos, sin))
        if not (fits and _served(x) and np.broadcast_shapes(half, cos.shape, sin.shape) == half):
            return super().rotary(x, cos, sin)
        return rotary.rotary(x, cos, sin, self.threads)

    def attention(self, q: Array, k: Array, v: Array, mask: Array | None = None, scale: float | None = None) -> Array:
        if not _served(q, k, v):
            return super().attention(q, k, v, mask, scale)
        scale = q.shape[-1] ** -0.5 if scale is None else scale
        if is_large(q, k):
            return blockwise.attention(q, k, v, mask, scale, self.threads)
        logits = np.matmul(q * q.dtype.type(scale), k.swapaxes(-1, -2))
        if mask is None:
            return np.matmul(self.softmax(logits), v)
        if not logits.size or np.broadcast_shapes(mask.shape, logits.shape) != logits.shape:
            return super().attention(q, k, v, mask, scale)
        return np.matmul(softmax.masked_softmax(logits, mask, self.threads), v)

    def attention_3d(
        self,
        qkv: Array,
        pattern: Pattern,
        q_norm: Array | None = None,
        k_norm: Array | None = None,
        cos: Array | None = None,
        sin: Array | None = None,
    ) -> Array:
        B, T, S, _, H, D = qkv.shape
        turned = cos is not None and sin is not None and D % 2 == 0 and cos.shape == sin.shape == (T, D // 2)
        short = pattern == "temporal" and T <= SHORT and turned
        if not (short and qkv.size and _weigh((D,), q_norm, k_norm) and _served(qkv, q_norm, k_norm)):
            return super().attention_3d(qkv, pattern, q_norm, k_norm, cos, sin)
        packed = np.ascontiguousarray(qkv).reshape(-1)
        token = H * D
        out = np.empty((B, T, S, H, D), qkv.dtype)
        attention.attention_along(
            packed, packed[token:], packed[2 * token :], (T * S * 3 * token, 3 * token, S * 3 * token), (B, S, T, H, D),
            q_norm, k_norm, cos, sin,
            out=out.reshape(-1), out_strides=(T * S * token, token, S * token), threads=self.threads,
        )  # fmt: skip
        return out

    def _by_float32(self, op: Any, x: Array, *options: Any) -> Array:
        return self.astype(op(self.astype(x, "float32"), *options), x.dtype)


def _are_vectors(x: Array, *vectors: Array) -> bool:
    """Whether there are rows x, and all vectors have their length and broadcast to them."""
    fits = all(a.ndim and a.shape[-1] == x.shape[-1] for a in vectors)
    return bool(x.size) and fits and np.broadcast_shapes(x.shape, *(a.shape for a in vectors)) == x.shape


def _weigh(shape: tuple[int, ...], *weights: Array | None) -> bool:
    """Whether the weights that are given have one number for each channel; others broadcast, or are errors."""
    return all(a is None or a.shape == shape for a in weights)


def _served(*arrays: Array | None) -> bool:
    """Whether the kernels take these arrays: all of one dtype, float32 or float64."""
    dtypes = {a.dtype for a in arrays if a is not None}
    return len(dtypes) == 1 and dtypes.pop() in (np.float32, np.float64)
