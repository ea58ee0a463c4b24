"""Convolution over one to three space-time axes on our CUDA kernel: an implicit matrix product."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .launching import GetKernel, c_type, ceil_div, launch, optional

COUT, PLACES, DEPTH, THREADS = 64, 128, 32, 128  # as in conv3d.cu
MOST_ELEMENTS = 2**30  # of a sample, and of a kernel


@dataclass(frozen=True)
class ConvKernels:
    """Convolution on one array library, of float32, float16 or bfloat16 arrays, all of one dtype.

    xp: CuPy, or NumPy with a `get_kernel` of the emulation. get_kernel: see `launching.GetKernel`.
    """

    xp: Any
    get_kernel: GetKernel

    def conv(self, x: Any, weight: Any, bias: Any, stride: Sequence[int], padding: Sequence[int]) -> Any:
        """x [B, in, *size], weight [out, in, *kernel], bias [out] or None -> [B, out, *size], as the op `conv`.

        Half precision is multiplied on tensor cores with float32 sums. ValueError says what does not fit.
        """
        n = x.ndim - 2
        sizes = out_sizes(x.shape, weight.shape, stride, padding)
        if not 1 <= n <= 3 or min(sizes) < 1 or weight.shape[1] != x.shape[1]:
            raise ValueError(f"a kernel {weight.shape} does not fit x {x.shape} with padding {tuple(padding)}")
        if any(a is not None and a.dtype != x.dtype for a in (weight, bias)):
            raise ValueError(f"weight or bias is not {x.dtype.name} as x; a kernel takes one dtype")
        if max(math.prod(shape[1:]) for shape in (x.shape, weight.shape, (1, weight.shape[0], *sizes))) > MOST_ELEMENTS:
            raise ValueError(f"x {x.shape}: a sample or a kernel has more than {MOST_ELEMENTS} elements")
        (B, Cin), Cout = x.shape[:2], weight.shape[0]
        name, out = f"conv3d<{c_type(x)}>", self.xp.empty((B, Cout, *sizes), x.dtype)
        if not out.size:
            return out
        arrays = [None if a is None else self.xp.ascontiguousarray(a) for a in (x, weight, bias)]
        axes = [_three(a, fill) for a, fill in ((x.shape[2:], 1), (weight.shape[2:], 1), (sizes, 1))]
        steps = [*_three(stride, 1), *_three(padding, 0)]
        numbers = map(np.int32, (Cin, *axes[0], Cout, *axes[1], *axes[2], *steps))
        grid = (B * ceil_div(math.prod(sizes), PLACES), ceil_div(Cout, COUT))
        kernel = self.get_kernel("conv3d.cu", name)
        launch(kernel, grid, (THREADS,), (*map(optional, arrays), out, *numbers), _shared_bytes(x.itemsize))
        return out


def out_sizes(
    x: tuple[int, ...], weight: tuple[int, ...], stride: Sequence[int], padding: Sequence[int]
) -> tuple[int, ...]:
    """Extents of the result's space-time axes; less than one where the kernel does not fit."""
    extents = zip(x[2:], weight[2:], stride, padding, strict=True)
    return tuple((size + 2 * p - k) // s + 1 for size, k, s, p in extents)


def _three(values: Sequence[int], fill: int) -> list[int]:
    return [fill] * (3 - len(values)) + list(values)


def _shared_bytes(itemsize: int) -> int:
    rows, columns = (DEPTH + 8, PLACES + 8) if itemsize == 2 else (DEPTH + 1, PLACES)
    return 16 * DEPTH + itemsize * (COUT * rows + DEPTH * columns)
