"""The CUDA backend's norms, activations, rope and convolution: by our kernels where they can serve, else composed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

from opensora_core.ops import Array
from opensora_kernels.cuda.activations import ActivationKernels
from opensora_kernels.cuda.adamw import AdamWKernels
from opensora_kernels.cuda.conv import ConvKernels, out_sizes
from opensora_kernels.cuda.norms import NormKernels, is_vectors
from opensora_kernels.cuda.rotary import RotaryKernels

from .cuda_checks import check_axis, check_groups
from .cuda_primitives import CudaPrimitives


class FusedByKernels(CudaPrimitives):
    """Each method falls back to the op's default composition."""

    _norms: NormKernels
    _activations: ActivationKernels
    _rotary: RotaryKernels
    _conv: ConvKernels
    _adamw: AdamWKernels

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

    def gated_residual(self, x: Array, branch: Array, gate: Array) -> Array:
        if not (branch.shape == x.shape and self._serves("gated_residual", x, branch, gate)):
            return super().gated_residual(x, branch, gate)
        return self._norms.gated_residual(x, branch, gate)

    def group_norm(
        self, x: Array, groups: int, weight: Array | None = None, bias: Array | None = None, eps: float = 1e-6
    ) -> Array:
        if not self._serves_groups("group_norm", x, groups, weight, bias):
            return super().group_norm(x, groups, weight, bias, eps)
        return self._norms.group_norm(x, groups, weight, bias, eps)

    def group_norm_silu(
        self, x: Array, groups: int, weight: Array | None = None, bias: Array | None = None, eps: float = 1e-6
    ) -> Array:
        if not self._serves_groups("group_norm_silu", x, groups, weight, bias):
            return super().group_norm_silu(x, groups, weight, bias, eps)
        return self._norms.group_norm(x, groups, weight, bias, eps, silu=True)

    def gelu(self, x: Array, approximate: Literal["tanh", "none"] = "tanh") -> Array:
        if not self._serves("gelu", x):
            return super().gelu(x, approximate)
        return self._activations.gelu(x, approximate)

    def silu(self, x: Array) -> Array:
        return self._activations.silu(x) if self._serves("silu", x) else super().silu(x)

    def softmax(self, x: Array, axis: int = -1) -> Array:
        check_axis("softmax", x, axis)
        if axis not in (-1, x.ndim - 1) or not self._serves("softmax", x):
            return super().softmax(x, axis)
        return self._activations.softmax(x)

    def rotary(self, x: Array, cos: Array, sin: Array) -> Array:
        if not (_are_tables(x, cos, sin) and self._chosen("rotary", x)):
            return super().rotary(x, cos, sin)
        return self._rotary.rotary(x, cos, sin)

    def rms_norm_rotary(self, x: Array, weight: Array, cos: Array, sin: Array, eps: float = 1e-6) -> Array:
        fits = weight.shape == x.shape[-1:] and _are_tables(x, cos, sin)
        if not (fits and self._chosen("rms_norm_rotary", x, weight)):
            return super().rms_norm_rotary(x, weight, cos, sin, eps)
        return self._rotary.rms_norm_rotary(x, weight, cos, sin, eps)

    def conv(
        self,
        x: Array,
        weight: Array,
        bias: Array | None = None,
        stride: Sequence[int] | None = None,
        padding: Sequence[int] | None = None,
    ) -> Array:
        given = [weight] if bias is None else [weight, bias]
        n = x.ndim - 2
        steps, border = tuple(stride or (1,) * n), tuple(padding or (0,) * n)
        sizes, channels = out_sizes(x.shape, weight.shape, steps, border), weight.shape[0]
        fits = 1 <= n <= 3 and min(sizes) > 0 and x.size and weight.size
        largest = max(math.prod(shape) for shape in (x.shape[1:], weight.shape[1:], (channels, *sizes)))
        if not (fits and self._chosen("conv", x, *given, length=largest, across=channels)):
            return super().conv(x, weight, bias, stride, padding)
        return self._conv.conv(x, weight, bias, steps, border)

    def adamw_step(
        self,
        param: Array,
        grad: Array,
        mean: Array,
        square: Array,
        step: int,
        rate: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        factor: Array | None = None,
    ) -> tuple[Array, Array, Array]:
        given = [] if factor is None else [factor]
        alike = param.shape == grad.shape == mean.shape == square.shape and all(a.size == 1 for a in given)
        wide = all(self.dtype_name(a) == "float32" for a in (mean, square, *given))
        if not (alike and wide and self._chosen("adamw_step", param, grad)):
            return super().adamw_step(param, grad, mean, square, step, rate, betas, eps, weight_decay, factor)
        return self._adamw.step(param, grad, mean, square, step, rate, betas, eps, weight_decay, factor)

    def _serves(self, op: str, x: Array, *vectors: Array | None) -> bool:
        """Whether a kernel takes rows x and vectors that broadcast to them, all of one dtype."""
        given = [a for a in vectors if a is not None]
        return all(is_vectors(a.shape, x.shape) for a in given) and self._chosen(op, x, *given)

    def _serves_groups(self, op: str, x: Array, groups: int, *vectors: Array | None) -> bool:
        """Whether a kernel takes groups of x's channels and vectors of all channels, all of one dtype."""
        check_groups(op, x, groups)
        given = [a for a in vectors if a is not None]
        return self._chosen(op, x, *given, length=math.prod(x.shape[1:]) // groups, across=groups)

    def _chosen(self, op: str, *arrays: Array, **layout: Any) -> bool:
        """Whether there is a kernel for arrays of these dtypes, which must be one."""
        dtypes = dict.fromkeys(self.dtype_name(x) for x in arrays)
        return self._kernels.choose(op, " and ".join(dtypes), **layout).kernel is not None


def _are_tables(x: Array, cos: Array, sin: Array) -> bool:
    """Whether rotary tables have a number for each pair of x's channels, and broadcast along all else."""
    halves = (*x.shape[:-1], x.shape[-1] // 2)
    return all(is_vectors(t.shape, halves) for t in (cos, sin))
