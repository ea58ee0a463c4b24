"""Backends that are wrong in one place, as a stranger might write them."""

import numpy as np

from opensora_backends.numpy_ops import NumpyOps
from opensora_core.errors import InvalidInputError
from opensora_core.ops import Ops


class WrongEps(NumpyOps):
    """An epsilon of another library."""

    name = "wrong-eps"

    def rms_norm(self, x, weight, eps=1e-6):
        return super().rms_norm(x, weight, 1e-2)


class WrongRotary(NumpyOps):
    """The channel pairs of another model: halves instead of neighbours."""

    name = "wrong-rotary"

    def rotary(self, x, cos, sin):
        first, second = np.split(x, 2, axis=-1)
        return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


class WrongSqrt(NumpyOps):
    """A primitive that is a little off, in a backend whose RMS norm is made of primitives."""

    name = "wrong-sqrt"
    rms_norm = Ops.rms_norm

    def sqrt(self, x):
        return super().sqrt(x) * x.dtype.type(1.001)


class SlightlyWrongGelu(NumpyOps):
    """An error far below what a generation shows."""

    name = "slightly-wrong-gelu"

    def gelu(self, x, approximate="tanh"):
        return super().gelu(x, approximate) * x.dtype.type(1 + 3e-6)


class LacksGelu(NumpyOps):
    name = "lacks-gelu"

    def gelu(self, x, approximate="tanh"):
        raise NotImplementedError("gelu is not there yet")


class WideSilu(NumpyOps):
    name = "wide-silu"

    def silu(self, x):
        return super().silu(x).astype(np.float64)


class FlatSilu(NumpyOps):
    name = "flat-silu"

    def silu(self, x):
        return super().silu(x).reshape(-1)


class NoArray(NumpyOps):
    name = "no-array"

    def silu(self, x):
        return [0.0]


class NotANumber(NumpyOps):
    name = "not-a-number"

    def modulate(self, x, shift, scale, eps=1e-6):
        return super().modulate(x, shift, scale, eps) * x.dtype.type(np.nan)


class Writes(NumpyOps):
    """Uses its argument as working memory."""

    name = "writes"

    def silu(self, x):
        x *= 0.5
        return x + x * np.tanh(x)


class NoHalf(NumpyOps):
    name = "no-half"

    def __init__(self, device="cpu", dtype="float32"):
        if dtype == "bfloat16":
            raise InvalidInputError("there is no bfloat16 here")
        super().__init__(device, dtype)


class Unreachable(NumpyOps):
    name = "unreachable"

    def asarray(self, x, dtype=None):
        raise OSError("no device")
