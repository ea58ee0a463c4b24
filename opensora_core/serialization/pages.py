"""Memory that mapped files take: given back as soon as what was read has been copied elsewhere."""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray


def forget_pages(array: NDArray[Any]) -> None:
    """Let the system have the memory of an array that is mapped from a file, which it reads anew if it is used again.

    Nothing happens to other arrays, nor where the system cannot do it. For an array that was copied to a backend and
    is not needed for now: otherwise the process seems to hold, and on a full machine does hold, both copies.
    """
    mapped = _mapping(array)
    if mapped is None or not array.nbytes or not hasattr(mmap, "MADV_DONTNEED"):
        return
    start = array.ctypes.data - np.frombuffer(mapped, np.uint8).ctypes.data
    aligned = start - start % mmap.PAGESIZE
    mapped.madvise(mmap.MADV_DONTNEED, aligned, start + array.nbytes - aligned)


def _mapping(array: Any) -> mmap.mmap | None:
    """What a view of any depth looks into, if that is a mapped file."""
    while array is not None and not isinstance(array, mmap.mmap):
        array = array.obj if isinstance(array, memoryview) else getattr(array, "base", None)
    return array
