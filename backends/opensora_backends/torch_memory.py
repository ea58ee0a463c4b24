"""Large arrays of Torch on the CPU in huge pages, as NumPy's are: first written in a third of the time."""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections.abc import Sequence

import torch

LARGE = 1 << 22  # bytes, from which it pays
MADV_HUGEPAGE = 14  # Linux


def empty(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """As `torch.empty`; asks Linux for huge pages where the array is large, which it is free to refuse."""
    array = torch.empty(tuple(shape), dtype=dtype, device=device)
    if array.nbytes >= LARGE and device.type == "cpu" and sys.platform == "linux":
        begin = -(-array.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
        end = (array.data_ptr() + array.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
        ctypes.CDLL(None).madvise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), MADV_HUGEPAGE)
    return array
