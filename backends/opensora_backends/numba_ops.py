"""Numba: NumPy arrays and BLAS, with kernels of our own where one pass over memory does for many."""

from __future__ import annotations

from typing import Any, Literal

from opensora_core.checks import whole
from opensora_core.errors import InvalidInputError
from opensora_core.ops import Array
from opensora_kernels.cpu import activations, norms, residual, softmax
from opensora_kernels.cpu.threads import default_threads

from .numba_attention import NumbaAttention
from .numba_checks import are_vectors, served, weigh


class NumbaOps(NumbaAttention):
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
        return activations.erf(x, self.threads) if served(x) else self._by_float32(self.erf, x)

    def gelu(self, x: Array, approximate: Literal["tanh", "none"] = "tanh") -> Array:
        if not served(x):
            return self._by_float32(self.gelu, x, approximate)
        return activations.gelu(x, approximate, self.threads)

    def silu(self, x: Array) -> Array:
        return activations.silu(x, self.threads) if served(x) else self._by_float32(self.silu, x)

    # ------------------------------------------------------------------ softmax and norms

    def softmax(self, x: Array, axis: int = -1) -> Array:
        if not served(x) or axis not in (-1, x.ndim - 1) or not x.size:
            return super().softmax(x, axis)
        return softmax.softmax(x, self.threads)

    def layer_norm(self, x: Array, weight: Array | None = None, bias: Array | None = None, eps: float = 1e-6) -> Array:
        if not (weigh(x.shape[-1:], weight, bias) and served(x, weight, bias) and x.size):
            return super().layer_norm(x, weight, bias, eps)
        return norms.layer_norm(x, weight, bias, eps, self.threads)

    def rms_norm(self, x: Array, weight: Array, eps: float = 1e-6) -> Array:
        if not (weigh(x.shape[-1:], weight) and served(x, weight) and x.size):
            return super().rms_norm(x, weight, eps)
        return norms.rms_norm(x, weight, eps, self.threads)

    def group_norm(
        self, x: Array, groups: int, weight: Array | None = None, bias: Array | None = None, eps: float = 1e-6
    ) -> Array:
        if not (weigh(x.shape[1:2], weight, bias) and served(x, weight, bias) and x.size):
            return super().group_norm(x, groups, weight, bias, eps)
        return norms.group_norm(x, groups, weight, bias, eps, self.threads)

    def group_norm_silu(
        self, x: Array, groups: int, weight: Array | None = None, bias: Array | None = None, eps: float = 1e-6
    ) -> Array:
        if not (weigh(x.shape[1:2], weight, bias) and served(x, weight, bias) and x.size):
            return super().group_norm_silu(x, groups, weight, bias, eps)
        return norms.group_norm(x, groups, weight, bias, eps, self.threads, silu=True)

    def modulate(self, x: Array, shift: Array, scale: Array, eps: float = 1e-6) -> Array:
        if not (are_vectors(x, shift, scale) and served(x, shift, scale)):
            return super().modulate(x, shift, scale, eps)
        return norms.modulate(x, shift, scale, eps, self.threads)

    def gated_residual(self, x: Array, branch: Array, gate: Array) -> Array:
        if not (are_vectors(x, gate) and branch.shape == x.shape and served(x, branch, gate)):
            return super().gated_residual(x, branch, gate)
        return residual.gated_residual(x, branch, gate, self.threads)

    def _by_float32(self, op: Any, x: Array, *options: Any) -> Array:
        return self.astype(op(self.astype(x, "float32"), *options), x.dtype)
