"""What the CUDA backend takes from CuPy, in one place, so that a stand-in can be put there; and its first errors."""

from __future__ import annotations

import importlib
import os
from dataclasses import dataclass
from typing import Any

from opensora_core.errors import InvalidInputError, MissingDependencyError

OLDEST_ARCH = 75  # CUDA 13 compiles for nothing older
INSTALL = "pip install 'opensora-core[cuda]'"
INSTALL_NUMBA = "pip install 'opensora-core[cuda-numba]'"
NO_DEVICE, OLD_DRIVER = "NoDevice", "InsufficientDriver"  # ends of the names that the CUDA runtime gives its errors


@dataclass(frozen=True)
class Libraries:
    """CuPy and what lies beside it: the only way by which this backend reaches CUDA.

    xp: the module `cupy`. cublas: raw calls with pointers. erf: a ufunc. raw_module: a class like `cupy.RawModule`.
    """

    xp: Any
    cublas: Any
    erf: Any
    raw_module: Any


def load_cupy() -> Libraries:
    """Import CuPy and the libraries without which it computes nothing.

    Raises MissingDependencyError, with what to install, where one is missing or does not load.
    """
    xp = _import("cupy", "CuPy")
    nvrtc = _import("cupy_backends.cuda.libs.nvrtc", "NVRTC, the compiler of CUDA kernels")
    try:
        nvrtc.getVersion()
    except Exception as error:  # CuPy loads the library at the first call, and raises what its finder raises
        raise _broken("NVRTC, the compiler of CUDA kernels", error) from error
    cublas = _import("cupy_backends.cuda.libs.cublas", "cuBLAS")
    erf = _import("cupyx.scipy.special", "cupyx").erf
    return Libraries(xp, cublas, erf, xp.RawModule)


def device_index(device: str) -> int:
    """Return N of "cuda:N", 0 for "cuda"; raises InvalidInputError for anything else."""
    kind, _, index = device.partition(":")
    if kind != "cuda" or not (index.isdecimal() or device == "cuda"):
        raise InvalidInputError(f"the cuda backend runs on device 'cuda' or 'cuda:N', not {device!r}")
    return int(index or 0)


def check_device(libraries: Libraries, index: int) -> None:
    """Raise InvalidInputError, naming the cause and its remedy, unless the device is there and new enough."""
    count = device_count(libraries)
    if index >= count:
        has = "it has cuda:0" if count == 1 else f"it has cuda:0 to cuda:{count - 1}"
        raise InvalidInputError(f"there is no device 'cuda:{index}' here: {has}{_visible()}")
    arch = compute_capability(libraries, index)
    if arch < OLDEST_ARCH:
        raise InvalidInputError(
            f"cuda:{index} has compute capability {arch // 10}.{arch % 10}, older than 7.5, the oldest that CUDA 13 "
            "compiles for: use a Turing GPU or newer, or another backend"
        )


def device_count(libraries: Libraries) -> int:
    """Number of GPUs, at least one; raises InvalidInputError where there is no driver, an old one, or no GPU."""
    runtime = libraries.xp.cuda.runtime
    try:
        count = int(runtime.getDeviceCount())
    except runtime.CUDARuntimeError as error:
        raise InvalidInputError(no_device_reason(libraries, str(error))) from error
    if count == 0:
        raise InvalidInputError(no_device_reason(libraries, NO_DEVICE))
    return count


def no_device_reason(libraries: Libraries, message: str) -> str:
    """Why CUDA finds no device, from the runtime's message and the driver's version."""
    runtime = libraries.xp.cuda.runtime
    driver = runtime.driverGetVersion()
    needed = libraries.xp.cuda.get_local_runtime_version()
    if driver == 0:
        return "there is no NVIDIA driver here: install one (https://www.nvidia.com/drivers), or use another backend"
    if OLD_DRIVER in message or driver // 1000 < needed // 1000:
        return (
            f"the NVIDIA driver is too old: it supports CUDA {_version(driver)}, CuPy here runs on CUDA "
            f"{_version(needed)}: update the driver, or install cupy-cuda{driver // 1000}x"
        )
    if NO_DEVICE in message:
        return f"the NVIDIA driver finds no GPU{_visible()}"
    return f"CUDA does not start: {message}; nvidia-smi may tell more"


def compute_capability(libraries: Libraries, index: int) -> int:
    """Compute capability of a device as one number: 90 for 9.0 (Hopper)."""
    return int(libraries.xp.cuda.Device(index).compute_capability)


def _import(module: str, what: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise _broken(what, error) from error


def _broken(what: str, error: Exception) -> MissingDependencyError:
    first = str(error).strip().partition("\n")[0]
    return MissingDependencyError(f"the cuda backend needs {what}, which does not load ({first}): {INSTALL}")


def _visible() -> str:
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    return "" if chosen is None else f" (CUDA_VISIBLE_DEVICES={chosen})"


def _version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"
