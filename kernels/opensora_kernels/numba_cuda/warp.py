"""What a warp does together. Every kernel here is one warp a block, so that a warp is all there is to wait for."""

from numba import cuda

WARP = 32
ALL_LANES = 0xFFFFFFFF


@cuda.jit(device=True)
def warp_sum(x):
    """Sum over the warp, in every lane."""
    distance = WARP // 2
    while distance > 0:
        x += cuda.shfl_xor_sync(ALL_LANES, x, distance)
        distance //= 2
    return x


@cuda.jit(device=True)
def warp_max(x):
    """Maximum over the warp, in every lane."""
    distance = WARP // 2
    while distance > 0:
        x = max(x, cuda.shfl_xor_sync(ALL_LANES, x, distance))
        distance //= 2
    return x
