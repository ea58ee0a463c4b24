"""The CUDA backend with NumPy in CuPy's place, and what its results are held against."""

from __future__ import annotations

import functools

import ml_dtypes
import numpy as np

from opensora_backends.cuda_libraries import Libraries
from opensora_backends.cuda_ops import CudaOps
from opensora_backends.numpy_ops import NumpyOps
from opensora_kernels.cupy_on_cpu import Cublas, RawModule, StandIn, erf

NUMPY = NumpyOps(dtype="float64")
TOLERANCE = {"float32": 1e-5, "float16": 4e-3, "bfloat16": 3e-2}


def fake_libraries(**stand_in):
    return Libraries(StandIn(**stand_in), Cublas(), erf, RawModule)


class FakeCudaOps(CudaOps):
    """The backend on the stand-in."""

    libraries = staticmethod(functools.cache(fake_libraries))


def random(ops, dtype, *shape, seed=0):
    """The same numbers for the backend, and in float64."""
    kind = np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    x = np.random.default_rng(seed).standard_normal(shape).astype(kind)
    return ops.asarray(x), x.astype(np.float64)


def close(ops, got, want, dtype):
    np.testing.assert_allclose(ops.to_numpy(got).astype(np.float64), want, rtol=0, atol=TOLERANCE[dtype])
