"""Attention without rows of logits: keys pass by in tiles, and sums are rescaled as the maximum grows."""

import functools
import math

from numba import cuda, float32

THREADS = 32
KEYS = 16  # of a tile


@functools.cache
def flash_attention(D):
    """The kernel of a head dim, which must be known when it is compiled: a thread keeps two rows of D in registers."""

    @cuda.jit
    def flash(q, k, v, out, scale):
        """q [N, L, D], k and v [N, M, D] -> out [N, L, D]. A thread is a query; grid: (N, tiles of 32 queries)."""
        n, query, thread = cuda.blockIdx.x, cuda.blockIdx.y * THREADS + cuda.threadIdx.x, cuda.threadIdx.x
        L, M = q.shape[1], k.shape[1]
        tile_k = cuda.shared.array((KEYS, D), float32)
        tile_v = cuda.shared.array((KEYS, D), float32)
        row = cuda.local.array(D, float32)
        sums = cuda.local.array(D, float32)
        for d in range(D):
            row[d] = float32(q[n, query, d]) * scale if query < L else float32(0.0)
            sums[d] = float32(0.0)
        most, total = float32(-math.inf), float32(0.0)
        for first in range(0, M, KEYS):
            here = min(KEYS, M - first)
            for i in range(thread, here * D, THREADS):
                tile_k[i // D, i % D] = float32(k[n, first + i // D, i % D])
                tile_v[i // D, i % D] = float32(v[n, first + i // D, i % D])
            cuda.syncthreads()  # the tile is in
            for key in range(here):
                logit = float32(0.0)
                for d in range(D):
                    logit += row[d] * tile_k[key, d]
                before, most = most, max(most, logit)
                shrink, weight = math.exp(before - most), math.exp(logit - most)
                total = total * shrink + weight
                for d in range(D):
                    sums[d] = sums[d] * shrink + weight * tile_v[key, d]
            cuda.syncthreads()  # the tile may be overwritten
        if query < L:
            for d in range(D):
                out[n, query, d] = sums[d] / total

    return flash
