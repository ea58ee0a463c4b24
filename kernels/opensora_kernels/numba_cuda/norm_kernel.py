"""Norms of rows: layer norm, RMS norm and DiT's modulate are one kernel."""

import math

from numba import cuda, float32

from .warp import WARP, warp_sum


@cuda.jit
def normalise(x, scale, shift, out, offset, eps, centred):
    """(x - mean) / rms(x - mean) * (scale + offset) + shift, all [rows, D], a block a row; mean is 0 if not centred."""
    row, lane, D = cuda.blockIdx.x, cuda.threadIdx.x, x.shape[1]
    mean = float32(0.0)
    if centred:
        for d in range(lane, D, WARP):
            mean += float32(x[row, d])
        mean = warp_sum(mean) / float32(D)
    squares = float32(0.0)
    for d in range(lane, D, WARP):
        y = float32(x[row, d]) - mean
        squares += y * y
    factor = float32(1.0) / math.sqrt(warp_sum(squares) / float32(D) + eps)
    for d in range(lane, D, WARP):
        y = (float32(x[row, d]) - mean) * factor
        out[row, d] = y * (float32(scale[row, d]) + offset) + float32(shift[row, d])
