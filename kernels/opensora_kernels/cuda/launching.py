"""What host code needs of an array library: CuPy's on a GPU, NumPy's on the emulation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

SOURCES = Path(__file__).parent
C_TYPES = {"float32": "float", "float16": "__half", "bfloat16": "__nv_bfloat16"}
NULL = np.uintp(0)
WITHOUT_ASKING = 48 << 10  # bytes of shared memory a kernel may have unless its limit is raised
EVERY_GPU = 99 << 10  # bytes of shared memory a block may have on every GPU from sm_80 on
MOST_ACROSS = 65535  # blocks along a grid's second axis

Kernel = Any  # what cupy.RawModule.get_function returns
GetKernel = Callable[[str, str], Kernel]
"""(source file in this folder, name expression) -> kernel; whoever passes it decides how modules are kept."""


def launch(
    kernel: Kernel, grid: tuple[int, ...], block: tuple[int, ...], args: tuple[Any, ...], shared: int = 0
) -> None:
    """Launch with `shared` bytes of dynamic shared memory, asking for more than 48 KiB where needed."""
    if shared > WITHOUT_ASKING and kernel.max_dynamic_shared_size_bytes < shared:
        kernel.max_dynamic_shared_size_bytes = shared
    kernel(grid, block, args, shared_mem=shared)


def c_type(x: Any) -> str:
    """The C++ name of an array's dtype; ValueError if the kernels do not have it."""
    name: str = x.dtype.name
    if name not in C_TYPES:
        raise ValueError(f"dtype {name} is not one of the kernels': {', '.join(C_TYPES)}")
    return C_TYPES[name]


def element_strides(x: Any) -> tuple[int, ...]:
    """Strides in elements."""
    return tuple(stride // x.itemsize for stride in x.strides)


def dense_rows(xp: Any, x: Any, alignment: int = 1) -> Any:
    """x, or a copy whose last axis is dense and whose rows start at multiples of `alignment` bytes."""
    strides = [stride for stride, size in zip(x.strides[:-1], x.shape[:-1], strict=True) if size > 1]
    dense = x.shape[-1] <= 1 or x.strides[-1] == x.itemsize
    if dense and all(place % alignment == 0 for place in (_address(x), *strides)):
        return x
    return xp.array(x, order="C", copy=True)


def fitted(xp: Any, name: str, x: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """x in this shape and dtype, dense, as NumPy broadcasts it: kernels read all of it. ValueError if it does not."""
    extra = len(shape) - x.ndim
    if extra < 0 or any(n not in (1, m) for n, m in zip(x.shape, shape[extra:], strict=True)):
        raise ValueError(f"{name} has shape {x.shape}: expected {shape}, or what broadcasts to it")
    return xp.ascontiguousarray(xp.broadcast_to(x.astype(dtype, copy=False), shape))


def is_aligned(x: Any, size: int) -> bool:
    """Whether x begins at a multiple of so many bytes."""
    return _address(x) % size == 0


def optional(x: Any) -> Any:
    """An array, or the null pointer for None."""
    return NULL if x is None else x


def ceil_div(a: int, b: int) -> int:
    """a / b, rounded up."""
    return -(-a // b)


def _address(x: Any) -> int:
    return int(x.ctypes.data if isinstance(x, np.ndarray) else x.data.ptr)
