"""What stands between this machine and the CUDA backend: one row for each thing it needs, with the remedy."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator
from importlib import metadata

from opensora_core.errors import OpenSoraError, with_remedy
from opensora_kernels.choice import OLDEST_ARCH

from .cuda_kernels import VARIABLE
from .cuda_libraries import INSTALL, INSTALL_NUMBA, Libraries, compute_capability, device_count, load_cupy

Row = tuple[str, str, str, str]
"""What was looked at, "ok" or "warn", what was seen, and the remedy. The backend is optional, so nothing here fails."""


def diagnose(load: Callable[[], Libraries] = load_cupy) -> Iterator[Row]:
    """Look at CuPy and its libraries, the driver, and every GPU; stops where nothing more can be told."""
    if load is load_cupy and importlib.util.find_spec("cupy") is None:
        yield ("cuda libraries", "warn", "CuPy is not installed; optional", INSTALL)
        return
    try:
        lib = load()
    except OpenSoraError as error:
        text, remedy = with_remedy(str(error))
        yield ("cuda libraries", "warn", text, remedy)
        return
    version = lib.xp.cuda.get_local_runtime_version()
    yield ("cuda libraries", "ok", f"CuPy {lib.xp.__version__}, CUDA {version // 1000}.{version % 1000 // 10}", "")
    yield _numba()
    try:
        count = device_count(lib)
    except OpenSoraError as error:
        text, remedy = with_remedy(str(error))
        yield ("cuda driver", "warn", text, remedy)
        return
    driver = lib.xp.cuda.runtime.driverGetVersion()
    yield ("cuda driver", "ok", f"supports CUDA {driver // 1000}.{driver % 1000 // 10}", "")
    yield from (_gpu(lib, index) for index in range(count))


def _numba() -> Row:
    """The compiler of the kernels in Python, which is missed only in the mode that takes them."""
    what, status = "cuda kernels in Python", "warn" if os.environ.get(VARIABLE) == "numba" else "ok"
    if importlib.util.find_spec("numba_cuda") is None:
        return (what, status, f"numba-cuda is not installed; only {VARIABLE}=numba wants it", INSTALL_NUMBA)
    from cuda import pathfinder  # by which numba-cuda finds its libraries too

    for library in ("nvvm", "nvJitLink"):
        try:
            pathfinder.load_nvidia_dynamic_lib(library)
        except RuntimeError:
            return (what, status, f"numba-cuda does not find {library}; only {VARIABLE}=numba wants it", INSTALL_NUMBA)
    return (what, "ok", f"numba-cuda {metadata.version('numba-cuda')}, NVVM and nvJitLink", "")


def _gpu(lib: Libraries, index: int) -> Row:
    arch = compute_capability(lib, index)
    free, total = lib.xp.cuda.Device(index).mem_info
    text = f"compute capability {arch // 10}.{arch % 10}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free"
    if arch < OLDEST_ARCH:
        return (f"cuda:{index}", "warn", f"{text}; the kernels of this library need 8.0", "it runs, by CuPy alone")
    return (f"cuda:{index}", "ok", text, "")
