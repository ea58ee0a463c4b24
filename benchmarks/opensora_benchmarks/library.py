"""An array library as the harness sees it: arrays to the device and back, a clock, caches, memory."""

from __future__ import annotations

import functools
import gc
from collections.abc import Callable
from time import perf_counter_ns  # bound here, before any provider is loaded
from typing import Any

import numpy as np

from opensora_core import get_backend
from opensora_core.ops import Array, Ops
from opensora_core.pipelines.request import available_bytes
from opensora_core.testing.running import arrays_in, map_arrays

from .case import HostArray
from .memory import last_level_cache, peak_of_process

LEAST_FLUSH = 256 * 2**20


class Library:
    """NumPy, or any library that computes while it is called and leaves arrays on the host.

    ops: a backend on its arrays. module: where its functions are, None for a library that is not known here.
    """

    clock = "perf_counter_ns"
    device_name: str | None = None

    def __init__(self, ops: Ops, module: Any = np) -> None:
        self.ops, self.module = ops, module

    # ------------------------------------------------------------------ arrays

    def put(self, host: Any) -> Any:
        """Arrays on the device, also those in a mapping; all else as it is."""
        return map_arrays(lambda x: self.ops.asarray(x.copy()), host)

    def get(self, x: Array) -> HostArray:
        """A copy of an array, as NumPy's."""
        return np.array(self.ops.to_numpy(x))

    def snapshot(self, x: Array) -> Array:
        """A copy on the device, made when what is before it in the current stream is done."""
        return x.copy()

    def write(self, target: Array, source: Array) -> Array:
        """Put new content into the memory of an array, and return the array; a new one where that cannot be."""
        try:
            target[...] = source
        except (TypeError, ValueError):  # immutable arrays
            return source
        return target

    def rolled(self, x: Array, shift: int) -> Array:
        """The elements moved along by `shift`: as many other inputs as are wanted, with the same distribution."""
        if self.module is None:
            return self.ops.asarray(np.roll(self.get(x), shift))
        return self.module.roll(x, shift)

    def same_type(self, x: Any) -> bool:
        """Whether something is an array of this library and no subclass, which may compute when it is looked at."""
        return type(x) is type(self.ops.asarray(np.zeros(1, np.float32)))

    # ------------------------------------------------------------------ time

    def timed(self, call: Callable[[], Any]) -> tuple[float, Any]:
        """Seconds of a call until its result is there, and the result."""
        collecting = gc.isenabled()
        gc.disable()
        try:
            start = perf_counter_ns()
            result = call()
            self.finish(result)
            return (perf_counter_ns() - start) * 1e-9, result
        finally:
            if collecting:
                gc.enable()

    def finish(self, result: Any) -> None:
        """Wait for a result."""

    def flush(self) -> None:
        """Drive everything else out of the caches."""
        junk = _host_junk(self.flush_bytes)
        junk += 1

    @property
    def flush_bytes(self) -> int:
        """How much is written to do so."""
        return max(LEAST_FLUSH, last_level_cache())

    def delay(self) -> None:
        """Keep the current stream busy for a while, where there are streams."""

    # ------------------------------------------------------------------ memory

    def peak_memory(self, call: Callable[[], Any]) -> dict[str, int | None]:
        """Bytes that a call takes at most beyond what there is before it, on host and device; None if unknown."""
        return {"host": peak_of_process(lambda: self.finish(call())), "device": None}

    def free_memory(self) -> int | None:
        """Bytes that can still be had where the arrays are; None if unknown."""
        return available_bytes()

    def poison(self, like: Any) -> None:
        """Leave NaN in memory that the next results may be put into."""
        kept = [self._full_of_nan(x) for x in arrays_in([like]) for _ in range(3)]
        del kept

    def spoil(self, x: Array) -> Array:
        """Fill an array with NaN."""
        return self.write(x, self._full_of_nan(x))

    def _full_of_nan(self, x: Array) -> Array:
        like = self.get(x)
        return self.ops.asarray(np.full(like.shape, np.nan, np.float32).astype(like.dtype))


class Jax(Library):
    """JAX, which returns before a result is there."""

    clock = "perf_counter_ns until block_until_ready"

    def finish(self, result: Any) -> None:
        """Wait for a result."""
        for x in arrays_in([result]):
            x.block_until_ready()


class TorchCpu(Library):
    """Torch on the CPU."""

    def snapshot(self, x: Array) -> Array:
        """A copy."""
        return x.clone()


@functools.cache
def _host_junk(size: int) -> HostArray:
    """What is written to flush the processor's caches."""
    return np.zeros(size // 4, np.float32)


def library_of(ops: Ops) -> Library:
    """The library of a backend's arrays."""
    array = ops.asarray(np.zeros(1, np.float32))
    name = type(array).__module__.partition(".")[0]
    if name == "torch":
        import torch

        from .library_gpu import TorchGpu

        return TorchCpu(ops, torch) if array.device.type == "cpu" else TorchGpu(ops, torch)
    if name == "cupy":
        import cupy

        from .library_gpu import Cupy

        return Cupy(ops, cupy)
    if name in ("jax", "jaxlib"):
        import jax.numpy

        return Jax(ops, jax.numpy)
    return Library(ops, np if isinstance(array, np.ndarray) else None)


class JaxArrays:
    """Arrays of JAX to and from the host, which is all that a library asks of a backend."""

    def asarray(self, x: Any) -> Array:
        """Put an array on the default device."""
        import jax.numpy

        return jax.numpy.asarray(x)

    def to_numpy(self, x: Array) -> HostArray:
        """Bring it back."""
        return np.asarray(x)


@functools.cache
def library(name: str, device: str | None = None) -> Library:
    """A library by name: numpy, torch, cupy or jax; the same for all who ask."""
    if name == "jax":
        import jax.numpy

        arrays: Any = JaxArrays()
        return Jax(arrays, jax.numpy)
    backend = {"cupy": "cuda"}.get(name, name)
    return library_of(get_backend(backend, device=device, dtype="float32"))
