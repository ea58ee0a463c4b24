"""Rotation of pairs of channels, and the RMS norm of queries and keys before it."""

import math

from numba import cuda, float32

from .warp import WARP, warp_sum


@cuda.jit
def rotary(x, cos, sin, out):
    """The pairs (2i, 2i + 1) of x [rows, D], turned by cos and sin [rows, D/2], to out. Grid: (rows,), a warp each."""
    row, lane = cuda.blockIdx.x, cuda.threadIdx.x
    for pair in range(lane, cos.shape[1], WARP):
        even, odd = float32(x[row, 2 * pair]), float32(x[row, 2 * pair + 1])
        c, n = cos[row, pair], sin[row, pair]
        out[row, 2 * pair] = even * c - odd * n
        out[row, 2 * pair + 1] = odd * c + even * n


@cuda.jit
def qk_norm_rope(qkv, weights, cos, sin, out, normed, turned, eps):
    """Queries and keys of qkv [B, T, S, 3, H, D] -> out [B, T, S, 2, H, D], which may lie over them.

    weights [2, D], cos and sin [T, S, D/2]; normed: bit 0 for queries, bit 1 for keys; turned: whether the tables
    count. Grid: (B * T * S, 2, H), a warp each.
    """
    _, T, S, _, _, D = qkv.shape
    place, which, h, lane = cuda.blockIdx.x, cuda.blockIdx.y, cuda.blockIdx.z, cuda.threadIdx.x
    b, t, s = place // (T * S), place // S % T, place % S
    factor = float32(1.0)
    if normed >> which & 1:
        squares = float32(0.0)
        for d in range(lane, D, WARP):
            x = float32(qkv[b, t, s, which, h, d])
            squares += x * x
        factor /= math.sqrt(warp_sum(squares) / float32(D) + eps)  # from here on, all lanes have read the row
    if not turned:
        for d in range(lane, D, WARP):
            out[b, t, s, which, h, d] = float32(qkv[b, t, s, which, h, d]) * factor * float32(weights[which, d])
        return
    for pair in range(lane, D // 2, WARP):
        even = float32(qkv[b, t, s, which, h, 2 * pair]) * factor * float32(weights[which, 2 * pair])
        odd = float32(qkv[b, t, s, which, h, 2 * pair + 1]) * factor * float32(weights[which, 2 * pair + 1])
        c, n = cos[t, s, pair], sin[t, s, pair]
        out[b, t, s, which, h, 2 * pair] = even * c - odd * n
        out[b, t, s, which, h, 2 * pair + 1] = odd * c + even * n
