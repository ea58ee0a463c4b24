"""CUDA C++ on the CPU: the kernel sources of a GPU, compiled by g++ and run on NumPy arrays, one fiber per CUDA thread.

    module = EmulatedModule(path="kernel.cu", name_expressions=["scale<float>"])
    module.get_function("scale<float>")((4,), (128,), (x, y, np.int32(x.size)), shared_mem=1024)

It has the calls of `cupy.RawModule`, so that host code written for CuPy runs on it as it is.
"""

from .compiler import CompileError, cache_folder
from .memory import GuardedNumPy, guarded, poisoned
from .module import COUNTERS, SCHEDULES, EmulatedKernel, EmulatedModule, LaunchError, schedule

__all__ = [
    "COUNTERS",
    "SCHEDULES",
    "CompileError",
    "EmulatedKernel",
    "EmulatedModule",
    "GuardedNumPy",
    "LaunchError",
    "cache_folder",
    "guarded",
    "poisoned",
    "schedule",
]
