"""A CPU stand-in for the part of CuPy that the CUDA backend uses, to test its host code where there is no GPU.

    from opensora_kernels.cupy_on_cpu import StandIn

    cupy = StandIn()
    x = cupy.array(numpy_array)       # an ndarray of its own class, which refuses to meet NumPy's
    cupy.cuda.Device(1).use()         # as many devices as `StandIn(devices=...)` says

Functions are NumPy's; what CuPy does otherwise is done CuPy's way where it matters to callers: reductions give arrays,
NumPy arrays are refused, `where` knows no bfloat16, memory can run out, a stream can be captured into a graph that
computes nothing until it is launched, and cuBLAS takes pointers and counts columns.
"""

from .array import ndarray
from .cublas import Cublas
from .cupy import StandIn, erf
from .module import RawModule
from .state import STATE, State

__all__ = ["STATE", "Cublas", "RawModule", "StandIn", "State", "erf", "ndarray"]
