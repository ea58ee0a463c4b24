"""Attention along time with QK-norm and rope, in one pass over memory."""

import math

from numba import cuda, float32

from .warp import WARP, warp_max, warp_sum


@cuda.jit
def temporal_attention(qkv, norms, cos, sin, out, normed, turned, scale, eps):
    """qkv [B, T, S, 3, H, D] -> out [B, T, S, H, D]; T is at most 32. Grid: (B * S, H), a warp each.

    norms [2, D]: weights of queries and keys; normed: bit 0 for queries, bit 1 for keys. turned: whether the tables cos
    and sin [T, D/2] count. Dynamic shared memory: (3 T D + 32) floats.
    """
    _, T, S, _, _, D = qkv.shape
    b, s, h, lane = cuda.blockIdx.x // S, cuda.blockIdx.x % S, cuda.blockIdx.y, cuda.threadIdx.x
    rows = cuda.shared.array(0, float32)  # queries, keys and values [3, T, D], then 32 weights
    weights = 3 * T * D

    for t in range(T):
        for which in range(3):
            row, squares = (which * T + t) * D, float32(0.0)
            for d in range(lane, D, WARP):
                x = float32(qkv[b, t, s, which, h, d])
                rows[row + d] = x
                squares += x * x
            if which < 2 and normed >> which & 1:
                factor = float32(1.0) / math.sqrt(warp_sum(squares) / float32(D) + eps)
                for d in range(lane, D, WARP):
                    rows[row + d] *= factor * float32(norms[which, d])
            cuda.syncwarp()  # a pair of channels is written by two lanes
            if turned and which < 2:
                for pair in range(lane, D // 2, WARP):
                    even, odd = rows[row + 2 * pair], rows[row + 2 * pair + 1]
                    c, n = cos[t, pair], sin[t, pair]
                    rows[row + 2 * pair] = even * c - odd * n
                    rows[row + 2 * pair + 1] = odd * c + even * n
    cuda.syncwarp()

    for t in range(T):
        logit = float32(-math.inf)  # of query t and the key that is this lane
        if lane < T:
            logit = float32(0.0)
            for d in range(D):
                logit += rows[t * D + d] * rows[(T + lane) * D + d]
            logit *= scale
        weight = math.exp(logit - warp_max(logit))
        rows[weights + lane] = weight / warp_sum(weight)
        cuda.syncwarp()  # all weights are there
        for d in range(lane, D, WARP):
            total = float32(0.0)
            for key in range(T):
                total += rows[weights + key] * rows[(2 * T + key) * D + d]
            out[b, t, s, h, d] = total
        cuda.syncwarp()  # the weights may be overwritten
