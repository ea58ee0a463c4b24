"""Arrays for tests: ones that end at a page nobody may touch, and outputs that show what was not written."""

from __future__ import annotations

import ctypes
import mmap
from typing import Any

import numpy as np

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


def guarded(array: Any) -> Any:
    """Return a copy whose last byte is followed by a page without access, so that reading on is a fault.

    Pages before it are not guarded. The memory is given back when the copy and its views are gone.
    """
    array = np.ascontiguousarray(array)
    pages = -(-max(array.nbytes, 1) // mmap.PAGESIZE) * mmap.PAGESIZE
    memory = mmap.mmap(-1, pages + mmap.PAGESIZE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    if _libc.mprotect(start + pages, mmap.PAGESIZE, 0):  # PROT_NONE
        raise OSError(ctypes.get_errno(), "mprotect refused a guard page")
    copy = np.frombuffer(memory, np.uint8, array.nbytes, pages - array.nbytes).view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def poisoned(shape: tuple[int, ...], dtype: Any, *, guard: bool = True) -> Any:
    """Return an array of NaN (all bits set for integers) for a kernel to write: what it leaves out stays visible."""
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    array = np.full(size, 0xFF, np.uint8).view(dtype).reshape(shape)
    return guarded(array) if guard else array


class GuardedNumPy:
    """NumPy for host code, but new arrays end at a page nobody may touch, and empty ones are poisoned."""

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    def empty(self, shape: tuple[int, ...], dtype: Any = np.float32) -> Any:
        """An array of NaN, guarded."""
        return poisoned(shape, dtype)

    def full(self, shape: tuple[int, ...], value: Any, dtype: Any = None) -> Any:
        """As NumPy's, guarded."""
        return guarded(np.full(shape, value, dtype))

    def zeros(self, shape: tuple[int, ...], dtype: Any = np.float32) -> Any:
        """As NumPy's, guarded."""
        return guarded(np.zeros(shape, dtype))
