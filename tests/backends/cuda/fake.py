"""The CUDA backend with NumPy in CuPy's place."""

from __future__ import annotations

import functools

from opensora_backends.cuda_libraries import Libraries
from opensora_backends.cuda_ops import CudaOps
from opensora_kernels.cupy_on_cpu import Cublas, RawModule, StandIn, erf


def fake_libraries(**stand_in):
    return Libraries(StandIn(**stand_in), Cublas(), erf, RawModule)


class FakeCudaOps(CudaOps):
    """The backend on the stand-in."""

    libraries = staticmethod(functools.cache(fake_libraries))
