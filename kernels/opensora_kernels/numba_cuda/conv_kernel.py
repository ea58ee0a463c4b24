"""Convolution as its definition reads: a thread sums the products of one element of the result."""

from numba import cuda, float32


@cuda.jit
def conv3d(x, weight, bias, out, stride, padding):
    """x [B, in, T, H, W], weight [out, in, *kernel], bias [out] -> out [B, out, *size].

    stride and padding: three numbers each. Grid: (places of a channel / threads, channels, B).
    """
    channel, b = cuda.blockIdx.y, cuda.blockIdx.z
    place = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    _, _, T, H, W = out.shape
    if place >= T * H * W:
        return
    t, h, w = place // (H * W), place // W % H, place % W
    total = float32(bias[channel])
    for c in range(x.shape[1]):
        for i in range(weight.shape[2]):
            at_t = t * stride[0] + i - padding[0]
            for j in range(weight.shape[3]):
                at_h = h * stride[1] + j - padding[1]
                for k in range(weight.shape[4]):
                    at_w = w * stride[2] + k - padding[2]
                    if 0 <= at_t < x.shape[2] and 0 <= at_h < x.shape[3] and 0 <= at_w < x.shape[4]:
                        total += float32(x[b, c, at_t, at_h, at_w]) * float32(weight[channel, c, i, j, k])
    out[b, channel, t, h, w] = total
