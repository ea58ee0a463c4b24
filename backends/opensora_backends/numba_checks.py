"""Which arrays Numba's kernels take; what they do not is computed as NumPy does."""

from __future__ import annotations

import numpy as np

from opensora_core.ops import Array


def are_vectors(x: Array, *vectors: Array) -> bool:
    """Whether there are rows x, and all vectors have their length and broadcast to them."""
    fits = all(a.ndim and a.shape[-1] == x.shape[-1] for a in vectors)
    return bool(x.size) and fits and np.broadcast_shapes(x.shape, *(a.shape for a in vectors)) == x.shape


def weigh(shape: tuple[int, ...], *weights: Array | None) -> bool:
    """Whether the weights that are given have one number for each channel; others broadcast, or are errors."""
    return all(a is None or a.shape == shape for a in weights)


def served(*arrays: Array | None) -> bool:
    """Whether the kernels take these arrays: all of one dtype, float32 or float64."""
    dtypes = {a.dtype for a in arrays if a is not None}
    return len(dtypes) == 1 and dtypes.pop() in (np.float32, np.float64)
