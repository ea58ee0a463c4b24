"""The CUDA backend with NumPy in CuPy's place."""

from __future__ import annotations

import functools
import math

import numpy as np

from opensora_backends.cuda_libraries import Libraries
from opensora_backends.cuda_ops import CudaOps
from opensora_kernels.cupy_on_cpu import Cublas, StandIn
from opensora_kernels.cupy_on_cpu.array import run
from opensora_kernels.emulation import EmulatedModule

_erf = np.vectorize(math.erf, otypes=[np.float64])


def erf(x):
    """CuPy's ufunc: float64 of float16, else the dtype it is given."""
    return run(lambda v: np.asarray(_erf(v) if v.size else v, np.float64).reshape(v.shape).astype(v.dtype), (x,))


def fake_libraries(**stand_in):
    return Libraries(StandIn(**stand_in), Cublas(), erf, EmulatedModule)


class FakeCudaOps(CudaOps):
    """The backend on the stand-in."""

    libraries = staticmethod(functools.cache(fake_libraries))
