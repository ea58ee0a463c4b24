"""A pytest plugin: the kernel tests that were written for the emulation, on the GPU instead, unchanged.

They hand NumPy arrays to `EmulatedModule`; here each launch uploads the memory those arrays lie in, runs the kernel by
CuPy at the same offsets and strides, and brings back what may have been written. Counters of the emulation (of bank
conflicts, of instructions) are not there on a GPU and agree with everything.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from device import Check

from opensora_kernels import emulation
from opensora_kernels.cupy_on_cpu.module import AroundKernel  # a dry run's launches, which need the true emulation

DRY, SMALL = "GPU_CHECK_DRY", "GPU_CHECK_SMALL"
CHECK = Check(Path(), bool(os.environ.get(DRY)))


class AnyCount(int):
    """A number that nobody counted."""

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False

    def __lt__(self, other: Any) -> bool:
        return True

    __gt__ = __le__ = __ge__ = __lt__
    __hash__ = int.__hash__


class AnyCounts(dict[str, int]):
    """Counters by any name."""

    def __missing__(self, name: str) -> int:
        return AnyCount()


class DeviceModule:
    """Stands for `EmulatedModule`."""

    def __init__(
        self,
        *,
        code: str | None = None,
        path: str | Path | None = None,
        options: Sequence[str] = (),
        name_expressions: Sequence[str] | None = None,
        **_: Any,
    ) -> None:
        if path is not None:
            code, options = Path(path).read_text(), (*options, f"-I{Path(path).resolve().parent}")
        self._source = {"code": code, "options": ("-std=c++17", *options)}
        self.names = tuple(name_expressions or ())
        self._modules: dict[str, Any] = {}

    def get_function(self, name: str) -> DeviceKernel:
        """Return the kernel; each is compiled alone, when it is asked for, and kept on disk by CuPy."""
        if name not in self._modules:
            expressions = {"name_expressions": (name,)} if "<" in name or name in self.names else {}
            self._modules[name] = CHECK.libraries.raw_module(**self._source, **expressions)
        return DeviceKernel(self._modules[name].get_function(name))


class DeviceKernel(AroundKernel):
    """Stands for `EmulatedKernel`."""

    def __init__(self, kernel: Any) -> None:
        super().__init__(kernel)
        self.counters = AnyCounts()

    def __call__(self, grid: Sequence[int], block: Sequence[int], args: Sequence[Any], *, shared_mem: int = 0) -> None:
        """Launch on copies, and copy back."""
        copies = [_upload(arg) if isinstance(arg, np.ndarray) else None for arg in args]
        placed = tuple(arg if copy is None else copy[1] for arg, copy in zip(args, copies, strict=True))
        self._kernel(tuple(grid), tuple(block), placed, shared_mem=shared_mem)
        for arg, copy in zip(args, copies, strict=True):
            if copy is not None and arg.size and arg.flags.writeable:
                _memory(arg)[0][...] = copy[0].get()


def pytest_configure(config: Any) -> None:
    """Put the device in the emulation's place before tests are read."""
    emulation.EmulatedModule = DeviceModule  # type: ignore[misc,assignment]


def pytest_collection_modifyitems(config: Any, items: list[Any]) -> None:
    """Leave out other orders of execution, which a GPU chooses itself, and in a dry run all but a few tests."""
    kept = [
        item for item in items if not (callspec := getattr(item, "callspec", None)) or not callspec.params.get("order")
    ]
    items[:] = kept[:: max(1, len(kept) // 6)] if CHECK.dry else kept


def _upload(array: np.ndarray[Any, Any]) -> tuple[Any, Any]:
    """The memory of an array on the device, as numbers of 1, 2, 4 or 8 bytes, and that from its first element on."""
    memory, offset = _memory(array)
    buffer = CHECK.xp.array(memory)
    return buffer, buffer[offset:].view(array.dtype)


def _memory(array: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], int]:
    """All elements between the first and the last byte of an array, in the host's memory, and where it begins there."""
    bits = np.dtype(f"u{array.itemsize}")
    if array.size == 0:
        return np.zeros(0, bits), 0
    low, high = np.lib.array_utils.byte_bounds(array)
    offset, rest = divmod(array.ctypes.data - low, array.itemsize)
    assert rest == 0
    base = array.view(bits) if array.dtype.kind != "b" else array.view(np.uint8)
    start = base[tuple(slice(None, None, -1) if s < 0 else slice(None) for s in base.strides)]
    count = (high - low) // array.itemsize
    flat = np.lib.stride_tricks.as_strided(start, (count,), (array.itemsize,), writeable=array.flags.writeable)
    return flat, offset
