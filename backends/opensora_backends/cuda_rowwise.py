"""The CUDA backend's fused ops that work on rows: by our kernels where they take the arrays, else composed."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from opensora_core.ops import Array, Ops
from opensora_kernels.cuda.norms import NormKernels, is_vectors

from .cuda_kernels import Kernels


class RowwiseByKernels(Ops):
    """Norms by kernels; each method falls back to the op's default composition."""

    _kernels: Kernels
    _norms: NormKernels

    @abstractmethod
    def _same_device(self, op: str, *arrays: Array) -> None: ...

    def layer_norm(self, x: Array, weight: Array | None = None, bias: Array | None = None, eps: float = 1e-6) -> Array:
        if not self._serves("layer_norm", x, weight, bias):
            return super().layer_norm(x, weight, bias, eps)
        return self._norms.layer_norm(x, weight, bias, eps)

    def rms_norm(self, x: Array, weight: Array, eps: float = 1e-6) -> Array:
        if not self._serves("rms_norm", x, weight):
            return super().rms_norm(x, weight, eps)
        return self._norms.rms_norm(x, weight, eps)

    def modulate(self, x: Array, shift: Array, scale: Array, eps: float = 1e-6) -> Array:
        if not self._serves("modulate", x, shift, scale):
            return super().modulate(x, shift, scale, eps)
        return self._norms.modulate(x, shift, scale, eps)

    def _serves(self, op: str, x: Array, *vectors: Array | None) -> bool:
        """Whether a kernel takes rows x and vectors that broadcast to them, all of one dtype."""
        given = [a for a in vectors if a is not None]
        self._same_device(op, x, *given)
        return all(is_vectors(a.shape, x.shape) for a in given) and self._chosen(op, x, *given)

    def _chosen(self, op: str, *arrays: Array, **layout: Any) -> bool:
        """Whether there is a kernel for arrays of these dtypes, which must be one."""
        dtypes = dict.fromkeys(self.dtype_name(x) for x in arrays)
        return self._kernels.choose(op, " and ".join(dtypes), **layout).kernel is not None
