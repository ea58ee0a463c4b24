"""Rotation of pairs of channels, and the RMS norm of queries or keys before it."""

import math

from numba import cuda, float32

from .warp import WARP, warp_sum


@cuda.jit
def qk_norm_rope(x, weight, cos, sin, out, eps, normed):
    """The pairs (2i, 2i + 1) of x [rows, D], normed by weight [D] if asked, turned by cos and sin [rows, D/2], to out.

    Grid: (rows,), a warp each.
    """
    row, lane, D = cuda.blockIdx.x, cuda.threadIdx.x, x.shape[1]
    factor = float32(1.0)
    if normed:
        squares = float32(0.0)
        for d in range(lane, D, WARP):
            squares += float32(x[row, d]) * float32(x[row, d])
        factor /= math.sqrt(warp_sum(squares) / float32(D) + eps)
    for pair in range(lane, D // 2, WARP):
        even = float32(x[row, 2 * pair]) * factor * float32(weight[2 * pair])
        odd = float32(x[row, 2 * pair + 1]) * factor * float32(weight[2 * pair + 1])
        c, n = cos[row, pair], sin[row, pair]
        out[row, 2 * pair] = even * c - odd * n
        out[row, 2 * pair + 1] = odd * c + even * n
