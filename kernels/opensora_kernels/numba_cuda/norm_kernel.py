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


@cuda.jit
def gated_residual(x, branch, gate, out):
    """x + gate * branch, all [n]; a thread an element."""
    i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if i < x.shape[0]:
        out[i] = float32(x[i]) + float32(gate[i]) * float32(branch[i])


@cuda.jit
def group_norm_silu(x, weight, bias, out, eps, silu):
    """(x - mean) / std * weight + bias of each group, then SiLU if asked. Grid: (B, groups), a warp each.

    x and out [B, groups, channels of a group, places], weight and bias [groups, channels of a group].
    """
    b, group, lane, places = cuda.blockIdx.x, cuda.blockIdx.y, cuda.threadIdx.x, x.shape[3]
    length = x.shape[2] * places
    mean = float32(0.0)
    for i in range(lane, length, WARP):
        mean += float32(x[b, group, i // places, i % places])
    mean = warp_sum(mean) / float32(length)
    squares = float32(0.0)
    for i in range(lane, length, WARP):
        y = float32(x[b, group, i // places, i % places]) - mean
        squares += y * y
    factor = float32(1.0) / math.sqrt(warp_sum(squares) / float32(length) + eps)
    for i in range(lane, length, WARP):
        c, place = i // places, i % places
        y = (float32(x[b, group, c, place]) - mean) * factor * float32(weight[group, c]) + float32(bias[group, c])
        if silu:
            y /= float32(1.0) + math.exp(-y)
        out[b, group, c, place] = y
