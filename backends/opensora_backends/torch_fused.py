"""The fused ops that Torch has kernels for, or does in fewer passes over memory than their compositions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F

from opensora_core.ops import HALF, Array

from .torch_attention import TorchAttention

FEW = 4096  # numbers in a group, below which its norm is computed in float64
MANY = 1 << 14  # numbers from which on GELU by passes over them is faster than one call
SMALL = 20480  # numbers of one video, its columns aside, up to which Torch does not ask oneDNN for a convolution
PATCHES = 1 << 20  # numbers of them, from which its own kernel, which copies all, is much the slower one
CHUNK = 1 << 18  # weights that AdamW updates at a time


class TorchFused(TorchAttention):
    """What `TorchOps` overrides of the upper tier."""

    def linear(self, x: Array, weight: Array, bias: Array | None = None) -> Array:
        return F.linear(x, weight, bias)

    def gelu(self, x: Array, approximate: Literal["tanh", "none"] = "tanh") -> Array:
        if approximate == "none" and self.device == "cpu":  # whose vectorized erf errs three times what this one does
            return super().gelu(x, approximate)
        wide = x.dtype in (torch.float32, torch.float64)
        if approximate == "tanh" and wide and x.numel() >= MANY and self.is_free(x):
            return _gelu_by_sigmoid(x)
        return F.gelu(x, approximate=approximate)

    def silu(self, x: Array) -> Array:
        return F.silu(x)

    def layer_norm(self, x: Array, weight: Array | None = None, bias: Array | None = None, eps: float = 1e-6) -> Array:
        if self.device != "cpu" or self.dtype_name(x) not in HALF:
            return F.layer_norm(x, x.shape[-1:], weight, bias, eps)
        # The CPU's half-precision kernel takes x/σ - μ/σ: a constant row of 2e4 comes out as 0.8 instead of 0.
        weight, bias = (None if w is None else self.widen(w) for w in (weight, bias))
        return self.astype(F.layer_norm(self.widen(x), x.shape[-1:], weight, bias, eps), x.dtype)

    def group_norm(
        self, x: Array, groups: int, weight: Array | None = None, bias: Array | None = None, eps: float = 1e-6
    ) -> Array:
        if weight is None and bias is not None:  # the native backward fails: "tensor does not have a device"
            return super().group_norm(x, groups, weight, bias, eps)
        if x.dtype == torch.float32 and math.prod(x.shape[1:]) < FEW * groups and self.device != "mps":
            # It takes x/σ - μ/σ, which a group of few and nearly equal numbers does not survive in float32.
            weight, bias = (None if w is None else w.double() for w in (weight, bias))
            return F.group_norm(x.double(), groups, weight, bias, eps).float()
        return F.group_norm(x, groups, weight, bias, eps)

    def rms_norm(self, x: Array, weight: Array, eps: float = 1e-6) -> Array:
        if self.dtype_name(x) in HALF or x.dtype != weight.dtype or weight.shape != x.shape[-1:]:
            return super().rms_norm(x, weight, eps)
        return torch.rms_norm(x, weight.shape, weight, eps)

    def modulate(self, x: Array, shift: Array, scale: Array, eps: float = 1e-6) -> Array:
        if self.dtype_name(x) in HALF or not x.dtype == shift.dtype == scale.dtype:
            return super().modulate(x, shift, scale, eps)
        return torch.addcmul(shift, self.layer_norm(x, eps=eps), 1.0 + scale)

    def gated_residual(self, x: Array, branch: Array, gate: Array) -> Array:
        if not x.dtype == branch.dtype == gate.dtype:
            return super().gated_residual(x, branch, gate)
        return torch.addcmul(x, gate, branch)

    def softmax(self, x: Array, axis: int = -1) -> Array:
        return torch.softmax(x, axis)

    def conv(
        self,
        x: Array,
        weight: Array,
        bias: Array | None = None,
        stride: Sequence[int] | None = None,
        padding: Sequence[int] | None = None,
    ) -> Array:
        n = x.ndim - 2
        steps, border = tuple(stride or (1,) * n), tuple(padding or (0,) * n)
        if n == 3 and self._is_copied(x, weight.shape[2:]):
            return torch.mkldnn_convolution(x, weight, bias, border, steps, (1,) * n, 1)
        return (F.conv1d, F.conv2d, F.conv3d)[n - 1](x, weight, bias, steps, border)

    def _is_copied(self, x: Array, kernel: Sequence[int]) -> bool:
        """Whether Torch would copy all patches of a video, where oneDNN takes half to a tenth of the time."""
        if torch.compiler.is_compiling() or self.device != "cpu" or x.dtype != torch.float32:
            return False
        copied = x.shape[0] == 1 and math.prod(x.shape[:-1]) <= SMALL and x.numel() * math.prod(kernel) > PATCHES
        return copied and torch.backends.mkldnn.enabled and torch.backends.mkldnn.is_available()

    def _unstacked(self, x: Array) -> Sequence[Array]:
        return torch.unbind(x)

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
        given = (param, grad, mean, square) if factor is None else (param, grad, mean, square, factor)
        if torch.is_grad_enabled() and any(x.requires_grad for x in given):
            return super().adamw_step(param, grad, mean, square, step, rate, betas, eps, weight_decay, factor)
        beta1, beta2 = betas
        unbiased = (1 - beta2**step) ** 0.5
        old = [x.reshape(-1).split(CHUNK) for x in (self.widen(param), self.widen(grad), mean, square)]
        made = [torch.empty(x.shape, dtype=mean.dtype, device=x.device) for x in (param, mean, square)]
        new = [x.view(-1).split(CHUNK) for x in made]
        for p, g, m, s, new_p, new_m, new_s in zip(*old, *new, strict=True):  # what is in between stays in the cache
            g = g if factor is None else g * factor
            torch.mul(m, beta1, out=new_m).add_(g, alpha=1 - beta1)
            torch.mul(s, beta2, out=new_s).addcmul_(g, g, value=1 - beta2)
            root = torch.sqrt(new_s).add_(eps * unbiased)
            torch.mul(p, 1 - rate * weight_decay, out=new_p)
            new_p.addcdiv_(new_m, root, value=-rate * unbiased / (1 - beta1**step))
        return self.astype(made[0], param.dtype), made[1], made[2]


def _gelu_by_sigmoid(x: torch.Tensor) -> torch.Tensor:
    """x σ(2u) with u = √(2/π) (x + 0.044715 x³), which is x (1 + tanh u)/2 in less than half of the time of F.gelu."""
    a = 2 * math.sqrt(2 / math.pi)
    slope = torch.addcmul(x.new_tensor(a), x, x, value=0.044715 * a)
    return slope.mul_(x).sigmoid_().mul_(x)


def joined(vectors: Sequence[torch.Tensor]) -> torch.Tensor:
    """Vectors one after the other; without a copy where they were cut from one in that order.

    All weights of a model, joined for the optimizer, are the vector that it cut them from a step ago.
    """
    if torch.compiler.is_compiling() or any(x.requires_grad or x.dtype != vectors[0].dtype for x in vectors):
        return torch.cat(list(vectors))
    if _adjacent(vectors):
        return vectors[0].as_strided((sum(x.numel() for x in vectors),), (1,))
    return torch.cat(list(vectors))


def _adjacent(vectors: Sequence[torch.Tensor]) -> bool:
    end, storage = vectors[0].storage_offset(), vectors[0].untyped_storage().data_ptr()
    for x in vectors:
        if x.storage_offset() != end or x.untyped_storage().data_ptr() != storage or not x.is_contiguous():
            return False
        end += x.numel()
    return vectors[0].device.type != "meta"
