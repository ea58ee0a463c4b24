"""Torch and CuPy on a GPU: device events, the current stream, the device's caches and memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from opensora_core.ops import Array

from .library import LEAST_FLUSH, Library


class Gpu(Library):
    """What both have in common: an event before the call and one after it, on the current stream."""

    clock = "device events"
    _junk: Any = None
    _cache: int  # bytes of the second-level cache

    @property
    def flush_bytes(self) -> int:
        """How much is written to flush the second-level cache."""
        return max(LEAST_FLUSH, self._cache)

    def timed(self, call: Callable[[], Any]) -> tuple[float, Any]:
        """Seconds between two events around the call."""
        start, end = self.event(), self.event()
        start.record()
        result = call()
        end.record()
        end.synchronize()
        return self.elapsed(start, end), result

    def event(self) -> Any:
        """An event with a time."""
        raise NotImplementedError

    def elapsed(self, start: Any, end: Any) -> float:
        """Seconds between two events."""
        raise NotImplementedError

    def flush(self) -> None:
        """Write more than the second-level cache holds, before what comes next in the stream."""
        if self._junk is None:
            self._junk = self.empty(self.flush_bytes)
        self._junk.fill(1) if hasattr(self._junk, "fill") else self._junk.fill_(1)

    def empty(self, size: int) -> Array:
        """So many bytes on the device."""
        raise NotImplementedError

    def delay(self) -> None:
        """Keep the current stream busy for some milliseconds."""
        for _ in range(50):
            self.flush()


class TorchGpu(Gpu):
    """Torch on CUDA."""

    def __init__(self, ops: Any, module: Any) -> None:
        super().__init__(ops, module)
        properties = module.cuda.get_device_properties(ops.device)
        self.device_name = properties.name
        self._cache = int(properties.L2_cache_size)

    def snapshot(self, x: Array) -> Array:
        """A copy on the current stream."""
        return x.clone()

    def event(self) -> Any:
        """An event with a time."""
        return self.module.cuda.Event(enable_timing=True)

    def elapsed(self, start: Any, end: Any) -> float:
        """Seconds between two events."""
        return float(start.elapsed_time(end)) * 1e-3

    def empty(self, size: int) -> Array:
        """So many bytes on the device."""
        return self.module.empty(size, dtype=self.module.uint8, device=self.ops.device)

    def peak_memory(self, call: Callable[[], Any]) -> dict[str, int | None]:
        """Bytes beyond what there is before the call."""
        cuda, device = self.module.cuda, self.ops.device
        cuda.synchronize(device)
        cuda.reset_peak_memory_stats(device)
        before = cuda.memory_allocated(device)
        call()
        cuda.synchronize(device)
        return {"host": None, "device": cuda.max_memory_allocated(device) - before}

    def free_memory(self) -> int | None:
        """Bytes that are free on the device."""
        return int(self.module.cuda.mem_get_info(self.ops.device)[0])


class Cupy(Gpu):
    """CuPy."""

    def __init__(self, ops: Any, module: Any) -> None:
        super().__init__(ops, module)
        properties = module.cuda.runtime.getDeviceProperties(module.cuda.Device().id)
        self.device_name = properties["name"].decode()
        self._cache = int(properties["l2CacheSize"])

    def event(self) -> Any:
        """An event with a time."""
        return self.module.cuda.Event()

    def elapsed(self, start: Any, end: Any) -> float:
        """Seconds between two events."""
        return float(self.module.cuda.get_elapsed_time(start, end)) * 1e-3

    def empty(self, size: int) -> Array:
        """So many bytes on the device."""
        return self.module.empty(size, dtype="uint8")

    def peak_memory(self, call: Callable[[], Any]) -> dict[str, int | None]:
        """Bytes that a pool of the call's own grows to."""
        pool = self.module.cuda.MemoryPool()
        with self.module.cuda.using_allocator(pool.malloc):
            call()
            self.module.cuda.runtime.deviceSynchronize()
            return {"host": None, "device": pool.total_bytes()}

    def free_memory(self) -> int | None:
        """Bytes that are free on the device."""
        return int(self.module.cuda.runtime.memGetInfo()[0])
