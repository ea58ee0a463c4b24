"""How host code launches Numba's kernels on an array library: CuPy's arrays on a GPU, NumPy's on the simulator."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import cuda

DTYPES = ("float32", "float16")  # Numba has no arrays of bfloat16
THREADS = 128  # of a block whose threads have nothing to do with each other

Launch = Callable[..., None]
"""`launch` below, or what notes that it was called, as the compile gate does."""


def launch(xp: Any, kernel: Any, grid: tuple[int, ...], block: int, args: tuple[Any, ...], shared: int = 0) -> None:
    """Launch on CuPy's current stream, with `shared` bytes of dynamic shared memory."""
    stream = 0 if xp is np else cuda.external_stream(xp.cuda.get_current_stream().ptr)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Grid size")  # small arrays make small grids
        configured = kernel[grid, block, stream, shared]
    configured(*(_seen(a) if isinstance(a, xp.ndarray) else a for a in args))


def _seen(a: Any) -> Any:
    """An array as Numba's over the same memory; by itself Numba would wait for the stream, which a graph forbids."""
    return cuda.as_cuda_array(a, sync=False)


def dense(xp: Any, a: Any, shape: tuple[int, ...]) -> Any:
    """A dense copy of an array, broadcast to a shape."""
    return xp.array(xp.broadcast_to(a, shape), order="C", copy=True)


def are_alike(*arrays: Any) -> bool:
    """Whether all arrays there are have one dtype that Numba's kernels take."""
    dtypes = {a.dtype.name for a in arrays if a is not None}
    return len(dtypes) == 1 and dtypes.pop() in DTYPES
