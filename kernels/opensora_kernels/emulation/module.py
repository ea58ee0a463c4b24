"""A stand-in for `cupy.RawModule` that compiles CUDA C++ with g++ and runs it on NumPy arrays."""

from __future__ import annotations

import ctypes
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from .arguments import Parameter, pack
from .compiler import compile_library, load_library, source_line

COUNTERS = (
    *("blocks", "switches", "barriers", "warp_instructions", "mma", "ldmatrix", "bank_conflicts", "cp_async"),
    "shared_bytes",
)
SCHEDULES = (0, 5, 12, 13, 23, 38)
"""Six orders of execution that between them uncover missing waits and barriers; see `schedule`."""

STATIC_SHARED = 48 << 10  # bytes of shared memory a kernel may have without asking for more
ERROR_BYTES = 512

_schedule: ContextVar[int] = ContextVar("schedule", default=0)
_one_at_a_time = threading.Lock()  # every module has one machine


class LaunchError(RuntimeError):
    """A launch was refused, or went wrong: the kernel's name, then thread, block, line and cause."""


@contextmanager
def schedule(number: int) -> Iterator[None]:
    """Run what is launched inside in another order: the sum of 1, 2, 4, 8 and 16 times a seed.

    1: cp.async lands at once, otherwise as late as allowed. 2: lanes and warps in random order. 4: a warp runs on until
    it must wait, otherwise warps take turns. 8: the last warp and the last block first.
    """
    token = _schedule.set(number)
    try:
        yield
    finally:
        _schedule.reset(token)


class EmulatedModule:
    """CUDA C++ source, compiled for the CPU at the first `get_function`.

    code or path: the source. options: those of the CUDA compiler, of which -D, -U and -I are heeded.
    name_expressions: kernels that are templates, as "scale<float, 4>"; `extern "C"` kernels need no naming.
    sanitize: trap undefined behaviour (shifts, overflow, misaligned and null access). optimize: g++'s level.
    """

    def __init__(
        self,
        *,
        code: str | None = None,
        path: str | Path | None = None,
        options: Sequence[str] = (),
        name_expressions: Sequence[str] | None = None,
        backend: str = "nvrtc",
        sanitize: bool = False,
        optimize: str = "-O1",
    ) -> None:
        if (code is None) == (path is None):
            raise TypeError("give either code= or path=")
        self.options = tuple(options)
        if path is not None:
            self.options += (f"-I{Path(path).resolve().parent}",)
            code = Path(path).read_text()
        assert code is not None
        self._file = "code" if path is None else Path(path).name
        self._code = code
        plain = re.findall(
            r'extern\s+"C"\s+(?:__\w+__(?:\([^)]*\))?\s+)*void\s+(?:__\w+__\([^)]*\)\s+)?(\w+)\s*\(', code
        )
        self.names = tuple(dict.fromkeys((*(name_expressions or ()), *plain)))
        self._build = {"sanitize": sanitize, "optimize": optimize}
        self._library: tuple[Path, ctypes.CDLL] | None = None

    def compile(self) -> None:
        """Compile now; raises CompileError with the compiler's words."""
        if self._library is None:
            path = compile_library(self._text(), self.options, **self._build)  # type: ignore[arg-type]
            self._library = path, load_library(path)

    def get_function(self, name: str) -> EmulatedKernel:
        """Return the kernel of that name expression."""
        if name not in self.names:
            raise LaunchError(f"no kernel {name!r}; name_expressions gave {', '.join(self.names) or 'none'}")
        self.compile()
        assert self._library is not None
        return EmulatedKernel(name, *self._library, f"kernel_{self.names.index(name)}")

    def _text(self) -> str:
        exports = (f"CUDA_EMULATION_EXPORT(kernel_{i}, {name})" for i, name in enumerate(self.names))
        return "\n".join((f'#line 1 "{self._file}"', self._code, '#line 1 "name_expressions"', *exports, ""))


class EmulatedKernel:
    """One kernel, called as CuPy calls its own: kernel(grid, block, args, shared_mem=bytes).

    counters: what the last launch did, by the names in COUNTERS.
    max_dynamic_shared_size_bytes: must be raised for more than 48 KiB of shared memory, as on a GPU.
    """

    def __init__(self, name: str, path: Path, library: ctypes.CDLL, symbol: str) -> None:
        self.name = name
        self.max_dynamic_shared_size_bytes = STATIC_SHARED
        self.counters: dict[str, int] = {}
        self._path = path
        self._launch = getattr(library, symbol)
        self._launch.restype = ctypes.c_uint64
        found = (Parameter * 64)()
        count = getattr(library, f"{symbol}_parameters")(found)
        self.parameters: tuple[Parameter, ...] = tuple(found[:count])

    def __call__(self, grid: Sequence[int], block: Sequence[int], args: Sequence[Any], *, shared_mem: int = 0) -> None:
        """Run the grid to its end; arrays in args are NumPy's, scalars NumPy's or Python's."""
        if shared_mem > self.max_dynamic_shared_size_bytes:
            raise LaunchError(
                f"{self.name}: {shared_mem} bytes of shared memory, but max_dynamic_shared_size_bytes is "
                f"{self.max_dynamic_shared_size_bytes}"
            )
        try:
            cells = pack(args, self.parameters)
        except TypeError as misfit:
            raise LaunchError(f"{self.name}: {misfit}") from None
        sizes = [*grid, *[1] * (3 - len(grid)), *block, *[1] * (3 - len(block))]
        pointers = (ctypes.c_void_p * len(cells))(*(ctypes.addressof(cell) for cell in cells))
        error, counters = ctypes.create_string_buffer(ERROR_BYTES), (ctypes.c_uint64 * len(COUNTERS))()
        with _one_at_a_time:
            offset = self._launch(
                (ctypes.c_uint * 6)(*sizes), ctypes.c_size_t(shared_mem), _schedule.get(), pointers, error, counters
            )
        self.counters = dict(zip(COUNTERS, counters, strict=True))
        if error.value:
            place = source_line(self._path, offset)
            raise LaunchError(f"{self.name}: {error.value.decode()}{f', at {place}' if place else ''}")
