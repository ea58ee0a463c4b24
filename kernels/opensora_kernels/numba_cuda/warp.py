"""What a warp does together. A kernel that calls it is one warp a block: a warp is then all there is to wait for.

Both are inlined where they are called: as functions of their own, Numba would compile them for the GPU that is there,
not for the one that is asked for.
"""

from numba import cuda

WARP = 32
ALL_LANES = 0xFFFFFFFF


@cuda.jit(device=True, inline="always")
def warp_sum(x):
    """Sum over the warp, in every lane."""
    distance = WARP // 2
    while distance > 0:
        x += cuda.shfl_xor_sync(ALL_LANES, x, distance)
        distance //= 2
    return x


@cuda.jit(device=True, inline="always")
def warp_max(x):
    """Maximum over the warp, in every lane."""
    distance = WARP // 2
    while distance > 0:
        x = max(x, cuda.shfl_xor_sync(ALL_LANES, x, distance))
        distance //= 2
    return x
