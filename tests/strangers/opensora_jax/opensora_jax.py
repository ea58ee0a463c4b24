"""JAX as a backend of Open-Sora: the 34 primitives of the language, compiled where it pays."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from opensora_core.errors import InvalidInputError
from opensora_core.interpose import WHOLE, Interposer
from opensora_core.ops import Array, Axis, DType, Ops

EXACT = lax.Precision.HIGHEST  # float32 is multiplied as float32, also on hardware that would rather not


def _in_float64(function: Callable[[Array], Array], x: Array) -> Array:
    """Apply a function that XLA computes quickly rather than well: in float32 it is up to 4 roundings off."""
    return function(x.astype("float64")).astype(x.dtype)


class JaxPrimitives(Ops):
    """Arrays are jax.Array on one device."""

    name = "jax"

    def __init__(self, device: str = "cpu", dtype: str = "float32") -> None:
        platform, _, index = device.partition(":")
        try:
            self._device = jax.devices(platform)[int(index or 0)]
        except (RuntimeError, ValueError, IndexError) as error:
            raise InvalidInputError(f"jax has no device {device!r} here; it has {jax.devices()}") from error
        super().__init__(device, dtype)

    # ------------------------------------------------------------------ data

    def asarray(self, x: Any, dtype: DType | None = None) -> Array:
        return jnp.asarray(x if isinstance(x, jax.Array) else np.asarray(x), dtype, device=self._device)

    def to_numpy(self, x: Array) -> Any:
        return np.asarray(x)

    def astype(self, x: Array, dtype: DType) -> Array:
        return x.astype(dtype)

    def full(self, shape: Sequence[int], value: float, dtype: DType = "float32") -> Array:
        return jnp.full(tuple(shape), value, dtype, device=self._device)

    def arange(self, stop: int, dtype: DType = "float32") -> Array:
        return jnp.arange(stop, dtype=dtype, device=self._device)

    # ------------------------------------------------------------------ elementwise

    def negative(self, x: Array) -> Array:
        return -x

    def exp(self, x: Array) -> Array:
        return jnp.exp(x)

    def log(self, x: Array) -> Array:
        return jnp.log(x)

    def sqrt(self, x: Array) -> Array:
        return jnp.sqrt(x)

    def sin(self, x: Array) -> Array:
        return jnp.sin(x)

    def cos(self, x: Array) -> Array:
        return jnp.cos(x)

    def tanh(self, x: Array) -> Array:
        return _in_float64(lax.tanh, x)

    def erf(self, x: Array) -> Array:
        return _in_float64(lax.erf, x)

    def add(self, a: Array, b: Array) -> Array:
        return jnp.add(a, b)

    def subtract(self, a: Array, b: Array) -> Array:
        return jnp.subtract(a, b)

    def multiply(self, a: Array, b: Array) -> Array:
        return jnp.multiply(a, b)

    def divide(self, a: Array, b: Array) -> Array:
        return jnp.divide(a, b)

    def pow(self, a: Array, b: Array) -> Array:
        return jnp.power(a, b)

    def maximum(self, a: Array, b: Array) -> Array:
        return jnp.maximum(a, b)

    def equal(self, a: Array, b: Array) -> Array:
        return jnp.equal(a, b)

    def less(self, a: Array, b: Array) -> Array:
        return jnp.less(a, b)

    def where(self, condition: Array, a: Array, b: Array) -> Array:
        return jnp.where(condition, a, b)

    # ------------------------------------------------------------------ contraction and reduction

    def matmul(self, a: Array, b: Array) -> Array:
        wide = jnp.promote_types(a.dtype, "float32")
        return jnp.matmul(a, b, precision=EXACT, preferred_element_type=wide).astype(a.dtype)

    def sum(self, x: Array, axis: Axis = None, keepdims: bool = False) -> Array:
        return jnp.sum(x, axis, dtype=x.dtype, keepdims=keepdims)

    def max(self, x: Array, axis: Axis = None, keepdims: bool = False) -> Array:
        return jnp.max(x, axis, keepdims=keepdims)

    # ------------------------------------------------------------------ shape

    def reshape(self, x: Array, shape: Sequence[int]) -> Array:
        return jnp.reshape(x, tuple(shape))

    def permute_dims(self, x: Array, axes: Sequence[int]) -> Array:
        return jnp.permute_dims(x, tuple(axes))

    def broadcast_to(self, x: Array, shape: Sequence[int]) -> Array:
        return jnp.broadcast_to(x, tuple(shape))

    def concat(self, arrays: Sequence[Array], axis: int = 0) -> Array:
        return jnp.concat(list(arrays), axis=axis) if len(arrays) > 1 else jnp.copy(arrays[0])

    def slice(self, x: Array, start: Sequence[int], stop: Sequence[int], step: Sequence[int]) -> Array:
        return lax.slice(x, start, stop, step)

    def pad(self, x: Array, low: Sequence[int], high: Sequence[int], interior: Sequence[int]) -> Array:
        return lax.pad(x, jnp.zeros((), x.dtype), list(zip(low, high, interior, strict=True)))

    def take(self, x: Array, indices: Array, axis: int = 0) -> Array:
        return jnp.take(x, indices, axis)

    def index_add(self, x: Array, indices: Array, values: Array, axis: int = 0) -> Array:
        wide = jnp.moveaxis(self.widen(x), axis, 0)
        total = wide.at[indices].add(jnp.moveaxis(self.widen(values), axis, 0))
        return jnp.moveaxis(total, 0, axis).astype(x.dtype)

    def stop_gradient(self, x: Array) -> Array:
        return lax.stop_gradient(x)


SHAPING = ("self", "approximate", "axis", "groups", "pattern", "stride", "padding")  # what jit must know beforehand
for _name in WHOLE:  # a default composition becomes one compiled program: 3 times faster than op by op
    _default = getattr(Ops, _name)
    _known = [argument for argument in inspect.signature(_default).parameters if argument in SHAPING]
    setattr(JaxPrimitives, _name, jax.jit(_default, static_argnames=_known))


class JaxOps(Interposer):
    """The backend: JaxPrimitives in up to 64 bits.

    JAX cuts 64-bit numbers to 32 bits by a setting of the whole program, which is not ours to change. So every op runs
    with 64 bits allowed, and values are boxes, whose operators (`x * 0.1`) are ops as well.
    """

    def __init__(self, device: str = "cpu", dtype: str = "float32") -> None:
        super().__init__(JaxPrimitives(device, dtype), units=WHOLE)
        self.name = "jax"

    def run(self, op: str, args: tuple[Any, ...]) -> Array:
        with jax.enable_x64(True):
            return super().run(op, args)
