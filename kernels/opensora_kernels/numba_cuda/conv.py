"""Convolution by Numba's kernel, in the place of that in CUDA C++, which serves what this does not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..cuda.conv import ConvKernels, out_sizes
from ..cuda.launching import ceil_div
from .conv_kernel import conv3d
from .launching import THREADS, Launch, are_alike, launch


@dataclass(frozen=True)
class NumbaConv(ConvKernels):
    """`ConvKernels` with Numba's kernel."""

    launch: Launch = launch

    def conv(self, x: Any, weight: Any, bias: Any, stride: Sequence[int], padding: Sequence[int]) -> Any:
        """See `ConvKernels.conv`."""
        missing, sizes = 5 - x.ndim, out_sizes(x.shape, weight.shape, stride, padding)
        fits = 0 <= missing <= 2 and weight.shape[1] == x.shape[1] and min(sizes, default=0) > 0
        if not (fits and are_alike(x, weight, bias) and x.size and weight.size):
            return super().conv(x, weight, bias, stride, padding)
        ones, channels = (1,) * missing, weight.shape[0]
        wide = [self.xp.ascontiguousarray(a).reshape((*a.shape[:2], *ones, *a.shape[2:])) for a in (x, weight)]
        bias = self.xp.zeros(channels, x.dtype) if bias is None else self.xp.ascontiguousarray(bias)
        out = self.xp.empty((x.shape[0], channels, *ones, *sizes), x.dtype)
        steps = ((*ones, *map(int, stride)), (*(0 for _ in ones), *map(int, padding)))
        grid = (ceil_div(math.prod(sizes), THREADS), channels, x.shape[0])
        self.launch(self.xp, conv3d, grid, THREADS, (*wide, bias, out, *steps))
        return out.reshape((x.shape[0], channels, *sizes))
