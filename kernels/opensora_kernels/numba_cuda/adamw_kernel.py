"""A step of AdamW (Loshchilov & Hutter 2019): moments, decoupled decay, one rounding of the weights."""

import math

from numba import cuda, float32


@cuda.jit
def adamw(
    weights, gradients, mean, square, new_weights, new_mean, new_square, factor,
    beta1, rest1, beta2, rest2, undo2, eps, keep, rate,
):  # fmt: skip
    """All arrays [n] but factor [1], which gradients are multiplied by.

    rest = 1 - beta, undo2 = (1 - beta2^step)^-1/2, keep = 1 - rate * decay, rate = learning rate / (1 - beta1^step).
    """
    i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if i >= weights.shape[0]:
        return
    g = float32(gradients[i]) * factor[0]
    m = mean[i] * beta1 + g * rest1
    v = square[i] * beta2 + g * g * rest2
    new_mean[i] = m
    new_square[i] = v
    new_weights[i] = float32(weights[i]) * keep - m / (math.sqrt(v) * undo2 + eps) * rate
