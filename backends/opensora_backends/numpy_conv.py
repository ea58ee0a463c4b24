"""Convolution of many channels on NumPy: one product per place of the kernel, block by block.

No copy of the input per place is held, as all patches side by side would be, and sums of C products instead of 27·C err
less. What a block needs stays in the processor's cache.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from opensora_core.ops import Array

BLOCK = 1 << 17  # numbers of the input that a block reads at one place of the kernel


def conv(x: Array, weight: Array, sizes: Sequence[int], stride: Sequence[int]) -> Array:
    """Correlate x [B, in, *size], its border included, with weight [out, in, *kernel]: [B, out, *sizes]."""
    kernel = weight.shape[2:]
    weights = np.ascontiguousarray(np.moveaxis(weight, (0, 1), (-2, -1)))  # (*kernel, out, in)
    y = np.empty((x.shape[0], weight.shape[0], *sizes), x.dtype)
    for block in blocks(sizes, max(1, BLOCK // x.shape[1])):
        shape = tuple(cells.stop - cells.start for cells in block)
        for source, result in zip(x, y, strict=True):
            total = np.zeros((weight.shape[0], math.prod(shape)), x.dtype)
            for place in np.ndindex(*kernel):
                read = (
                    slice(o + s * cells.start, o + s * (cells.stop - 1) + 1, s)
                    for o, s, cells in zip(place, stride, block, strict=True)
                )
                total += weights[place] @ source[(slice(None), *read)].reshape(x.shape[1], -1)
            result[(slice(None), *block)] = total.reshape(-1, *shape)
    return y


def blocks(sizes: Sequence[int], most: int) -> Iterator[tuple[slice, ...]]:
    """Cut a grid into runs of whole rows of at most so many cells, or of a part of one row."""
    axis, inner = len(sizes) - 1, 1
    while axis and inner * sizes[axis] <= most:
        inner *= sizes[axis]
        axis -= 1
    rows = max(1, most // inner)
    whole = tuple(slice(0, n) for n in sizes[axis + 1 :])
    for lead in np.ndindex(*sizes[:axis]):
        for start in range(0, sizes[axis], rows):
            run = slice(start, min(start + rows, sizes[axis]))
            yield (*(slice(i, i + 1) for i in lead), run, *whole)
