"""CUDA's primitives: CuPy's functions where they do what the language asks.

What CuPy cannot do in bfloat16 (`where`, and what copies elements) works on the bits, as 16-bit integers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from opensora_core.errors import InvalidInputError
from opensora_core.ops import HALF, Array, Axis, DType, Ops
from opensora_kernels.cuda.index_add import index_add

from .cuda_exchange import BFLOAT16, from_torch
from .cuda_gemm import gemm
from .cuda_graph import capturing
from .cuda_kernels import Kernels
from .cuda_libraries import Libraries


def _dtype(dtype: DType) -> np.dtype[Any]:
    return BFLOAT16 if dtype == "bfloat16" else np.dtype(dtype)


def _is_half(x: Any) -> bool:
    return hasattr(x, "dtype") and x.dtype.name in HALF


def _bits(x: Array) -> Array:
    """Return x, or its bits if it is bfloat16, of which not every CuPy function has heard."""
    return x.view(np.uint16) if x.dtype == BFLOAT16 else x


def _alike(a: Array, b: Array) -> tuple[Array, Array]:
    """Give a Python number the dtype of the array beside it."""
    if not hasattr(b, "dtype"):
        return a, a.dtype.type(b)
    if not hasattr(a, "dtype"):
        return b.dtype.type(a), b
    return a, b


class CudaPrimitives(Ops):
    """Arrays are cupy.ndarray on one GPU; `xp` is CuPy."""

    xp: Any
    _lib: Libraries
    _index: int
    _kernels: Kernels

    def _enter(self) -> None:
        """Make this backend's GPU the current one of this thread, where CuPy puts new arrays and runs kernels."""
        if self.xp.cuda.runtime.getDevice() != self._index:
            self.xp.cuda.Device(self._index).use()

    def check_devices(self, op: str, *arrays: Array) -> None:
        """Raise InvalidInputError unless every array lies on this backend's GPU, which is made the current one."""
        self._enter()
        for x in arrays:
            if not isinstance(x, self.xp.ndarray):
                raise InvalidInputError(
                    f"{op} got a {type(x).__name__}, which is not on the GPU: bring it there with ops.asarray"
                )
            if x.device.id != self._index:
                raise InvalidInputError(
                    f"{op} of arrays on different devices: this backend computes on {self.device}, one lies on "
                    f"cuda:{x.device.id}: bring it over with ops.asarray"
                )

    # ------------------------------------------------------------------ data

    def asarray(self, x: Any, dtype: DType | None = None) -> Array:
        self._enter()
        if not isinstance(x, self.xp.ndarray):
            if type(x).__module__.partition(".")[0] == "torch" and x.is_cuda:
                x = from_torch(self.xp, x)
            else:
                return self._from_host(np.asarray(x), dtype)
        if x.device.id != self._index:
            x = self._from_other(x)
        return x if dtype is None else self.astype(x, dtype)

    def _from_host(self, x: np.ndarray[Any, Any], dtype: DType | None) -> Array:
        """Copy from the host; the cast is made there, by the rules of the NumPy backend."""
        x = np.array(x, None if dtype is None else _dtype(dtype), order="C", copy=None)
        if x.dtype == BFLOAT16:
            return self._upload(x.view(np.uint16)).view(BFLOAT16)
        return self._upload(x)

    def _upload(self, x: np.ndarray[Any, Any]) -> Array:
        graph = capturing()
        return self.xp.array(x) if graph is None else graph.constant(self.xp, x)

    def _from_other(self, x: Array) -> Array:
        """A copy of an array of another GPU, once that has computed it."""
        with self.xp.cuda.Device(x.device.id):
            x = self.xp.ascontiguousarray(x)
            self.xp.cuda.get_current_stream().synchronize()
        copy = self.xp.empty(x.shape, x.dtype)
        copy.data.copy_from_device(x.data, x.nbytes)
        return copy

    def to_numpy(self, x: Array) -> Any:
        if (graph := capturing()) is not None:
            graph.refuse("a value is read back by the host")
        host = _bits(x).get()
        return host.view(BFLOAT16) if x.dtype == BFLOAT16 else host

    def astype(self, x: Array, dtype: DType) -> Array:
        return x.astype(_dtype(dtype), copy=False)

    def full(self, shape: Sequence[int], value: float, dtype: DType = "float32") -> Array:
        self._enter()
        wanted = _dtype(dtype)
        number = np.asarray(value).astype(wanted)
        if wanted == BFLOAT16:
            return self.xp.full(tuple(shape), int(number.view(np.uint16)), np.uint16).view(BFLOAT16)
        return self.xp.full(tuple(shape), number[()], wanted)

    def arange(self, stop: int, dtype: DType = "float32") -> Array:
        self._enter()
        return self.xp.arange(stop).astype(_dtype(dtype))

    # ------------------------------------------------------------------ elementwise

    def negative(self, x: Array) -> Array:
        return self.xp.negative(x)

    def exp(self, x: Array) -> Array:
        return self.xp.exp(x)

    def log(self, x: Array) -> Array:
        return self.xp.log(x)

    def sqrt(self, x: Array) -> Array:
        return self.xp.sqrt(x)

    def sin(self, x: Array) -> Array:
        return self.xp.sin(x)

    def cos(self, x: Array) -> Array:
        return self.xp.cos(x)

    def tanh(self, x: Array) -> Array:
        return self.xp.tanh(x)

    def erf(self, x: Array) -> Array:
        return self._lib.erf(self.widen(x)).astype(x.dtype, copy=False)

    def add(self, a: Array, b: Array) -> Array:
        return self.xp.add(*_alike(a, b))

    def subtract(self, a: Array, b: Array) -> Array:
        return self.xp.subtract(*_alike(a, b))

    def multiply(self, a: Array, b: Array) -> Array:
        return self.xp.multiply(*_alike(a, b))

    def divide(self, a: Array, b: Array) -> Array:
        return self.xp.divide(*_alike(a, b))

    def pow(self, a: Array, b: Array) -> Array:
        return self.xp.power(*_alike(a, b))

    def maximum(self, a: Array, b: Array) -> Array:
        return self.xp.maximum(*_alike(a, b))

    def equal(self, a: Array, b: Array) -> Array:
        return self.xp.equal(*_alike(a, b))

    def less(self, a: Array, b: Array) -> Array:
        return self.xp.less(*_alike(a, b))

    def where(self, condition: Array, a: Array, b: Array) -> Array:
        dtype = next(x.dtype for x in (a, b) if hasattr(x, "dtype"))
        a, b = (_bits(x) if hasattr(x, "dtype") else _scalar_bits(x, dtype) for x in (a, b))
        chosen = self.xp.where(condition, a, b)
        return chosen.view(BFLOAT16) if dtype == BFLOAT16 else chosen

    # ------------------------------------------------------------------ contraction and reduction

    def matmul(self, a: Array, b: Array) -> Array:
        if a.dtype.kind in "biu":
            return self.xp.matmul(a, b)
        return gemm(self._lib, a, b)

    def sum(self, x: Array, axis: Axis = None, keepdims: bool = False) -> Array:
        if axis == ():
            return x.copy()
        if _is_half(x):
            return self.xp.sum(x.astype(np.float32), axis=axis, keepdims=keepdims).astype(x.dtype)
        if x.dtype == np.bool_:
            return self.xp.any(x, axis=axis, keepdims=keepdims)
        return self.xp.sum(x, axis=axis, dtype=x.dtype, keepdims=keepdims)

    def max(self, x: Array, axis: Axis = None, keepdims: bool = False) -> Array:
        if axis == ():
            return x.copy()
        if _is_half(x):
            return self.xp.amax(x.astype(np.float32), axis=axis, keepdims=keepdims).astype(x.dtype)
        return self.xp.amax(x, axis=axis, keepdims=keepdims)

    # ------------------------------------------------------------------ shape

    def reshape(self, x: Array, shape: Sequence[int]) -> Array:
        return self.xp.reshape(x, tuple(shape))

    def permute_dims(self, x: Array, axes: Sequence[int]) -> Array:
        return self.xp.transpose(x, tuple(axes))

    def broadcast_to(self, x: Array, shape: Sequence[int]) -> Array:
        return self.xp.broadcast_to(x, tuple(shape))

    def concat(self, arrays: Sequence[Array], axis: int = 0) -> Array:
        joined = self.xp.concatenate([_bits(x) for x in arrays], axis=axis)
        return joined.view(arrays[0].dtype)

    def slice(self, x: Array, start: Sequence[int], stop: Sequence[int], step: Sequence[int]) -> Array:
        return x[tuple(map(slice, start, stop, step))]

    def pad(self, x: Array, low: Sequence[int], high: Sequence[int], interior: Sequence[int]) -> Array:
        spread = [n + max(n - 1, 0) * gap for n, gap in zip(x.shape, interior, strict=True)]
        out = self.xp.zeros(tuple(a + n + b for a, n, b in zip(low, spread, high, strict=True)), _bits(x).dtype)
        out[tuple(slice(a, a + n, gap + 1) for a, n, gap in zip(low, spread, interior, strict=True))] = _bits(x)
        return out.view(x.dtype)

    def take(self, x: Array, indices: Array, axis: int = 0) -> Array:
        return self.xp.take(_bits(x), indices, axis=axis).view(x.dtype)

    def index_add(self, x: Array, indices: Array, values: Array, axis: int = 0) -> Array:
        out = self.xp.moveaxis(self.widen(x), axis, 0).copy()
        if out.dtype == np.bool_:
            raise InvalidInputError("index_add of booleans has no meaning")
        index_add(self.xp, self._kernels.get, out, indices, self.xp.moveaxis(self.widen(values), axis, 0))
        return self.xp.moveaxis(out, 0, axis).astype(x.dtype, copy=False)

    def stop_gradient(self, x: Array) -> Array:
        return x


def _scalar_bits(value: Any, dtype: np.dtype[Any]) -> Any:
    number: Any = np.asarray(value).astype(dtype)
    return number.view(np.uint16)[()] if dtype == BFLOAT16 else number[()]
