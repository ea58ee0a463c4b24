"""The stand-in's module `cupy`: functions, devices, streams, the memory pool and the runtime."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np

from . import array as arrays
from .array import run, wrapped
from .state import STATE, Capture, CUDARuntimeError


class StandIn:
    """Stands for the module `cupy`. Functions that are not written here are NumPy's."""

    ndarray = arrays.ndarray
    __version__ = "on the CPU"

    def __init__(self, devices: int = 2, arch: int = 90, driver: int = 13000) -> None:
        self._pool = Pool()
        runtime = SimpleNamespace(
            CUDARuntimeError=CUDARuntimeError,
            CUDA_R_32F=0, CUDA_R_64F=1, CUDA_R_16F=2, CUDA_R_16BF=14,
            getDevice=lambda: STATE.device, getDeviceCount=partial(_count, devices, driver),
            driverGetVersion=lambda: driver, memGetInfo=lambda: (2**33, 2**34),
        )  # fmt: skip
        self.cuda = SimpleNamespace(
            runtime=runtime, Device=partial(Device, arch), device=SimpleNamespace(get_cublas_handle=lambda: 1),
            Stream=Stream, get_current_stream=lambda: Stream.current, get_local_runtime_version=lambda: 13000,
            MemoryPool=Pool, using_allocator=_using,
        )  # fmt: skip

    def get_default_memory_pool(self) -> Pool:
        """Return the pool of arrays."""
        return self._pool

    def array(self, x: Any, dtype: Any = None, copy: bool = True, order: str = "K") -> arrays.ndarray:
        """Copy. Of a copy from the host a capture notes the buffer, which holds something else when it is launched."""
        if isinstance(x, arrays.ndarray):
            result: arrays.ndarray = run(np.array, (x,), {"dtype": dtype, "order": order})
            return result
        copy = wrapped(np.array(x))
        if STATE.capture is not None:
            STATE.capture.note(np.full, (x.shape, 0, x.dtype), {}, copy)
        return copy

    def from_dlpack(self, x: Any) -> arrays.ndarray:
        """Look at another library's memory."""
        return wrapped(np.from_dlpack(x))

    def where(self, condition: arrays.ndarray, a: Any, b: Any) -> arrays.ndarray:
        """Choose; CuPy has no such kernel for bfloat16."""
        if any(getattr(x, "dtype", None) == np.dtype("bfloat16") for x in (a, b)):
            raise TypeError("Wrong type (bfloat16) of arguments for cupy_where")
        result: arrays.ndarray = run(np.where, (condition, a, b))
        return result

    def __getattr__(self, name: str) -> Callable[..., Any]:
        function = getattr(np, name)

        def call(*args: Any, **named: Any) -> Any:
            return run(function, args, named)

        return call


class Device:
    """A GPU by number."""

    def __init__(self, arch: int, id: int = 0) -> None:
        self.id, self.compute_capability, self.mem_info = id, str(arch), (2**33, 2**34)

    def use(self) -> None:
        """Make it the current one."""
        STATE.device = self.id

    def __enter__(self) -> Device:
        self._before = STATE.device
        self.use()
        return self

    def __exit__(self, *_: object) -> None:
        STATE.device = self._before


class Pool:
    """A memory pool with a limit, which only single arrays are held against."""

    def set_limit(self, size: int | None = None, fraction: float | None = None) -> None:
        """Limit what one array may take; the device has 16 GiB."""
        STATE.limit = size or int((fraction or 0) * 2**34)

    def get_limit(self) -> int:
        """Return the limit in bytes, 0 for none."""
        return STATE.limit

    def total_bytes(self) -> int:
        """Bytes held; nothing is counted here."""
        return 0

    def malloc(self, size: int) -> None:
        """Stands for the allocator; NumPy allocates."""


class Stream:
    """A queue in which everything is done at once, and which can be captured."""

    current: Stream
    ptr = 0

    def __init__(self, non_blocking: bool = False) -> None:
        self._before: list[Stream] = []

    def __enter__(self) -> Stream:
        self._before.append(Stream.current)
        Stream.current = self
        return self

    def __exit__(self, *_: object) -> None:
        Stream.current = self._before.pop()

    def synchronize(self) -> None:
        """Wait, which cannot be captured."""
        if STATE.capture is not None:
            raise CUDARuntimeError(
                "cudaErrorStreamCaptureUnsupported: operation not permitted when stream is capturing"
            )

    def begin_capture(self) -> None:
        """Note calls from now on."""
        STATE.capture = Capture()

    def end_capture(self) -> Capture:
        """Return what was noted."""
        capture, STATE.capture = STATE.capture, None
        assert capture is not None
        return capture.end()


Stream.current = Stream()


def _count(devices: int, driver: int) -> int:
    if driver < 13000:
        raise CUDARuntimeError(
            "cudaErrorInsufficientDriver: CUDA driver version is insufficient for CUDA runtime version"
        )
    if devices == 0:
        raise CUDARuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected")
    return devices


@contextmanager
def _using(allocator: Any) -> Iterator[None]:
    yield


_erf = np.vectorize(math.erf, otypes=[np.float64])


def erf(x: arrays.ndarray) -> arrays.ndarray:
    """Stand for the ufunc of `cupyx.scipy.special`: float64 of float16, else the dtype it is given."""

    def compute(v: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        wide = np.asarray(_erf(v), np.float64) if v.size else np.zeros(v.shape)
        return wide if v.dtype == np.float16 else wide.astype(v.dtype)

    result: arrays.ndarray = run(compute, (x,))
    return result
