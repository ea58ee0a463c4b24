"""Torch: eager on cpu, cuda or mps, scaled_dot_product_attention, native autograd, torch.compile."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

from opensora_core.errors import InvalidInputError
from opensora_core.ops import Array, Axis, DType, Function, Ops

from .torch_fused import TorchFused, joined


def _torch_dtype(dtype: DType) -> torch.dtype:
    return dtype if isinstance(dtype, torch.dtype) else getattr(torch, str(np.dtype(dtype)) if dtype is bool else dtype)


class TorchOps(TorchFused):
    """Arrays are torch.Tensor on one device."""

    name = "torch"

    def __init__(self, device: str = "cpu", dtype: str = "float32") -> None:
        try:
            torch.empty(1, device=device, dtype=_torch_dtype(dtype))
        except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
            reason = str(error).partition("\n")[0]
            raise InvalidInputError(f"torch cannot keep {dtype} on device {device!r} here: {reason}") from error
        super().__init__(device, dtype)

    # ------------------------------------------------------------------ data

    def asarray(self, x: Any, dtype: DType | None = None) -> Array:
        if not isinstance(x, torch.Tensor):
            x = _from_numpy(np.asarray(x))
        return x.to(device=self.device, dtype=None if dtype is None else _torch_dtype(dtype))

    def to_numpy(self, x: Array) -> Any:
        x = x.detach().cpu()
        if x.dtype == torch.bfloat16:
            return x.contiguous().view(torch.int16).numpy().view(ml_dtypes.bfloat16)
        return x.numpy()

    def astype(self, x: Array, dtype: DType) -> Array:
        return x.to(_torch_dtype(dtype))

    def full(self, shape: Sequence[int], value: float, dtype: DType = "float32") -> Array:
        return torch.full(tuple(shape), value, dtype=_torch_dtype(dtype), device=self.device)

    def arange(self, stop: int, dtype: DType = "float32") -> Array:
        return torch.arange(stop, dtype=_torch_dtype(dtype), device=self.device)

    # ------------------------------------------------------------------ elementwise

    def negative(self, x: Array) -> Array:
        return torch.neg(x)

    def exp(self, x: Array) -> Array:
        return torch.exp(x)

    def log(self, x: Array) -> Array:
        return torch.log(x)

    def sqrt(self, x: Array) -> Array:
        return torch.sqrt(x)

    def sin(self, x: Array) -> Array:
        return torch.sin(x)

    def cos(self, x: Array) -> Array:
        return torch.cos(x)

    def tanh(self, x: Array) -> Array:
        return torch.tanh(x)

    def erf(self, x: Array) -> Array:
        # The CPU's half-precision kernel is off by 2e-7 everywhere, which is all of a result near zero.
        return self.astype(torch.erf(self.widen(x)), x.dtype)

    def add(self, a: Array, b: Array) -> Array:
        return a + b

    def subtract(self, a: Array, b: Array) -> Array:
        return a - b

    def multiply(self, a: Array, b: Array) -> Array:
        return a * b

    def divide(self, a: Array, b: Array) -> Array:
        return a / b

    def pow(self, a: Array, b: Array) -> Array:
        return a**b

    def maximum(self, a: Array, b: Array) -> Array:
        like = a if isinstance(a, torch.Tensor) else b
        return torch.maximum(*(torch.as_tensor(v, dtype=like.dtype, device=like.device) for v in (a, b)))

    def equal(self, a: Array, b: Array) -> Array:
        return a == b

    def less(self, a: Array, b: Array) -> Array:
        return a < b

    def where(self, condition: Array, a: Array, b: Array) -> Array:
        return torch.where(condition, a, b)

    # ------------------------------------------------------------------ contraction and reduction

    def matmul(self, a: Array, b: Array) -> Array:
        return torch.matmul(a, b)

    def sum(self, x: Array, axis: Axis = None, keepdims: bool = False) -> Array:
        return torch.sum(x, dim=_all_axes(x, axis), keepdim=keepdims, dtype=x.dtype)

    def max(self, x: Array, axis: Axis = None, keepdims: bool = False) -> Array:
        return torch.amax(x, dim=_all_axes(x, axis), keepdim=keepdims)

    # ------------------------------------------------------------------ shape

    def reshape(self, x: Array, shape: Sequence[int]) -> Array:
        return torch.reshape(x, tuple(shape))

    def permute_dims(self, x: Array, axes: Sequence[int]) -> Array:
        return torch.permute(x, tuple(axes))

    def broadcast_to(self, x: Array, shape: Sequence[int]) -> Array:
        return torch.broadcast_to(x, tuple(shape))

    def concat(self, arrays: Sequence[Array], axis: int = 0) -> Array:
        return joined(arrays) if arrays[0].ndim == 1 else torch.cat(list(arrays), dim=axis)

    def slice(self, x: Array, start: Sequence[int], stop: Sequence[int], step: Sequence[int]) -> Array:
        return x[tuple(slice(a, b, s) for a, b, s in zip(start, stop, step, strict=True))]

    def pad(self, x: Array, low: Sequence[int], high: Sequence[int], interior: Sequence[int]) -> Array:
        if not any(interior):
            return F.pad(x, [n for pair in zip(reversed(low), reversed(high), strict=True) for n in pair])
        spread = [n + max(n - 1, 0) * gap for n, gap in zip(x.shape, interior, strict=True)]
        out = x.new_zeros([a + n + b for a, n, b in zip(low, spread, high, strict=True)])
        out[tuple(slice(a, a + n, gap + 1) for a, n, gap in zip(low, spread, interior, strict=True))] = x
        return out

    def take(self, x: Array, indices: Array, axis: int = 0) -> Array:
        return torch.index_select(x, axis, indices)

    def index_add(self, x: Array, indices: Array, values: Array, axis: int = 0) -> Array:
        return self.astype(torch.index_add(self.widen(x), axis, indices, self.widen(values)), x.dtype)

    def stop_gradient(self, x: Array) -> Array:
        return x.detach()

    # ------------------------------------------------------------------ fused programs

    def value_and_grad(
        self, fun: Callable[[Ops, Mapping[str, Array]], Array], params: Mapping[str, Array]
    ) -> tuple[Array, dict[str, Array]]:
        # Inside another value_and_grad the parameters depend on its own, and so must the gradients.
        nested = torch.is_grad_enabled() and any(p.requires_grad for p in params.values())
        leaves = {
            name: p.view_as(p) if nested and p.requires_grad else p.detach().requires_grad_()
            for name, p in params.items()
        }
        with torch.enable_grad():
            value = self.asarray(fun(self, leaves))
            if value.ndim:
                raise InvalidInputError(f"a gradient needs a scalar; the function returned shape {tuple(value.shape)}")
            if not value.requires_grad:
                return value, {name: torch.zeros_like(p) for name, p in params.items()}
            grads = torch.autograd.grad(
                value, list(leaves.values()), create_graph=nested, allow_unused=True, materialize_grads=True
            )
        return value if nested else value.detach(), dict(zip(leaves, grads, strict=True))

    def checkpoint(self, fun: Callable[..., Any], *args: Any) -> Any:
        if not torch.is_grad_enabled():
            return fun(*args)
        return checkpoint(fun, *args, use_reentrant=False, preserve_rng_state=False)  # the language draws no numbers

    def compile(self, fun: Function) -> Function:
        compiled: Any = torch.compile(fun, dynamic=False)
        return compiled


def _all_axes(x: torch.Tensor, axis: Axis) -> int | tuple[int, ...]:
    return tuple(range(x.ndim)) if axis is None else axis


def _from_numpy(x: np.ndarray[Any, Any]) -> torch.Tensor:
    if torch.compiler.is_compiling():  # tables made on the host are part of the graph, where they have no memory yet
        return torch.from_numpy(x)
    if x.dtype == ml_dtypes.bfloat16:
        return _from_numpy(x.view(np.int16)).view(torch.bfloat16)
    if not x.flags.writeable or any(s < 0 for s in x.strides):
        x = x.copy()  # torch would warn, and could write into somebody's read-only memory
    return torch.from_numpy(x)
