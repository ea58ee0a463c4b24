"""The kernels in Python: to PTX by Numba and NVVM, and on to machine code by nvJitLink, as on a GPU; with none at hand.

numba-cuda simulates or compiles, one of the two in a process: this wants one in which nothing was simulated.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from cuda.bindings import nvjitlink
from cuda.pathfinder import DynamicLibNotFoundError
from numba import cuda

from ..numba_cuda.adamw import NumbaAdamW
from ..numba_cuda.attention import NumbaAttention
from ..numba_cuda.conv import NumbaConv
from ..numba_cuda.launching import DTYPES
from ..numba_cuda.norms import NumbaNorms
from ..numba_cuda.rotary import NumbaRotary
from .nvrtc import CompilerMissingError
from .report import USAGE, Report

ARCHS = ("80", "90", "100", "120")
HEAD_DIMS = (32, 72, 128)
INSTALL = "pip install 'opensora-core[cuda-numba]'"
NEEDS = {  # what a kernel's Python names, and what its PTX must have then
    "warp_sum": r"shfl\.sync",
    "warp_max": r"shfl\.sync",
    "shared": r"\b(ld|st)\.shared",
    "syncthreads": r"\bbar(rier)?\.sync",
    "syncwarp": r"\bbar\.warp\.sync",
}


@dataclass(frozen=True)
class PythonKernel:
    """A kernel and the types of its arguments; file: its module."""

    file: str
    name: str
    function: Callable[..., None]
    signature: tuple[Any, ...]


@dataclass
class Recorder:
    """A `Launch` that launches nothing, and notes what would be compiled, by name."""

    seen: dict[str, PythonKernel] = field(default_factory=dict)

    def __call__(self, xp: Any, kernel: Any, grid: object, block: object, args: Any, shared: int = 0) -> None:
        """Note a launch; the name has what the kernel was made for, the dtype, and whether an array is strided."""
        function, signature = kernel.py_func, tuple(kernel.typeof_pyval(a) for a in args)
        made_for = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        words = [function.__name__, *(f"{what}={cell.cell_contents}" for what, cell in made_for), args[0].dtype.name]
        words += ["strided"] if any(getattr(t, "layout", "C") == "A" for t in signature) else []
        name, file = " ".join(words), f"{function.__module__.rpartition('.')[2]}.py"
        self.seen[name] = PythonKernel(file, name, function, signature)


def python_kernels() -> list[PythonKernel]:
    """What the host code launches in all dtypes, for HEAD_DIMS and for dense and strided video; ordered by name."""
    recorder = Recorder()
    with np.errstate(all="ignore"):  # results are what memory held before
        for dtype in map(np.dtype, DTYPES):
            _attention(recorder, dtype)
            _rowwise(recorder, dtype)
    return sorted(recorder.seen.values(), key=lambda one: one.name)


def compile_python(wanted: Iterable[PythonKernel], arch: str) -> Iterator[Report]:
    """Compile for sm_<arch> and report; CompilerMissingError where NVVM or nvJitLink is not there."""
    for one in wanted:
        try:
            ptx, _ = cuda.compile_ptx(one.function, one.signature, cc=(int(arch[:-1]), int(arch[-1])))
            log = assemble(ptx, arch)
        except DynamicLibNotFoundError as error:
            first = str(error).partition("\n")[0]
            raise CompilerMissingError(
                f"kernels in Python do not compile ({first}): {INSTALL}", name="nvidia"
            ) from error
        found = USAGE.search(log)
        if found is None:
            raise LookupError(f"ptxas said nothing about {one.name}:\n{log}")
        spilled = int(found["stores"]) + int(found["loads"])
        usage = int(found["registers"]), int(found["stack"]), spilled, 0
        yield Report(one.file, one.name, arch, *usage, tuple(remarks(one.function, ptx, arch)))


def assemble(ptx: str, arch: str) -> str:
    """Machine code of PTX by nvJitLink, whose log is that of ptxas."""
    options = [f"-arch=sm_{arch}", "-Xptxas=-v"]
    linker, code = nvjitlink.create(len(options), options), ptx.encode()
    try:
        nvjitlink.add_data(linker, nvjitlink.InputType.PTX, code, len(code), "kernel")
        nvjitlink.complete(linker)
        log = bytearray(nvjitlink.get_info_log_size(linker))
        nvjitlink.get_info_log(linker, log)
        return log.decode()
    finally:
        nvjitlink.destroy(linker)


def remarks(function: Callable[..., None], ptx: str, arch: str) -> Iterator[str]:
    """What is wrong with the PTX of a kernel, beside what ptxas says."""
    if f".target sm_{arch}\n" not in ptx:
        yield f"is not for sm_{arch}"
    if doubles := len(re.findall(r"\.f64\b", ptx)):
        yield f"computes in float64: {doubles} places"
    for name in sorted(NEEDS.keys() & set(function.__code__.co_names)):
        if not re.search(NEEDS[name], ptx):
            yield f"calls {name}, but has no {NEEDS[name]}"


def _attention(recorder: Recorder, dtype: np.dtype[Any]) -> None:
    kernels, rope = NumbaAttention(np, _none, recorder), NumbaRotary(np, _none, recorder)
    for D in HEAD_DIMS:
        q = np.ones((1, 2, 3, D), dtype)
        kernels.attention(q, q, q)
    wide, table = np.ones((2, 3, 4, 3, 2, 16), dtype), np.ones((3, 4), np.float32)
    rope.rms_norm_rotary(np.ones((3, 8), dtype), np.ones(8, dtype), table, table)
    for qkv in (wide[..., :8].copy(), wide[..., :8]):
        kernels.attention_3d(qkv, "temporal", qkv[0, 0, 0, 0, 0], qkv[0, 0, 0, 0, 0], table, table)


def _rowwise(recorder: Recorder, dtype: np.dtype[Any]) -> None:
    norms, x = NumbaNorms(np, _none, recorder), np.ones((2, 4, 8), dtype)
    norms.modulate(x, x, x)
    norms.gated_residual(x, x, x)
    norms.group_norm(x, 2)
    NumbaConv(np, _none, recorder).conv(x, x, None, (1,), (0,))
    moment = np.zeros(x.shape, np.float32)
    NumbaAdamW(np, _none, recorder).step(x, x, moment, moment, 1, rate=0.1)


def _none(file: str, name: str) -> Any:
    raise AssertionError(f"{name} of {file}, in CUDA C++, was asked for")
