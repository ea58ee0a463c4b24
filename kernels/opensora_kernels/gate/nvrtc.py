"""NVRTC through ctypes: CUDA C++ to PTX and to what ptxas says about it, for any GPU, with none at hand."""

from __future__ import annotations

import ctypes
import functools
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

INSTALL = "pip install nvidia-cuda-nvrtc==13.0.* nvidia-cuda-runtime==13.0.*"


class CompilerMissingError(ImportError):
    """One of NVIDIA's compilers, or of CUDA's headers, is not among the installed packages."""


class CompileError(RuntimeError):
    """The source does not compile; the message is the compiler's."""


@dataclass(frozen=True)
class Compiled:
    """A translation unit. log: with `-Xptxas -v`, a paragraph for each kernel. lowered: name expression -> symbol."""

    ptx: str
    log: str
    lowered: dict[str, str]


class _Program:
    """An nvrtcProgram, destroyed at the end of its `with`."""

    def __init__(self, library: ctypes.CDLL, source: str, file: str) -> None:
        self._library, self.pointer = library, ctypes.c_void_p()
        code = library.nvrtcCreateProgram(ctypes.byref(self.pointer), source.encode(), file.encode(), 0, None, None)
        self.check(code)

    def __enter__(self) -> _Program:
        return self

    def __exit__(self, *_: object) -> None:
        self._library.nvrtcDestroyProgram(ctypes.byref(self.pointer))

    def check(self, code: int) -> None:
        if code:
            raise CompileError(self._library.nvrtcGetErrorString(code).decode())

    def call(self, name: str, *args: object) -> None:
        self.check(getattr(self._library, name)(self.pointer, *args))

    def text(self, what: str) -> str:
        """nvrtcGet<what>, whose length is nvrtcGet<what>Size."""
        size = ctypes.c_size_t()
        self.call(f"nvrtcGet{what}Size", ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        self.call(f"nvrtcGet{what}", buffer)
        return buffer.value.decode()

    def lowered(self, expression: str) -> str:
        name = ctypes.c_char_p()
        self.call("nvrtcGetLoweredName", expression.encode(), ctypes.byref(name))
        return (name.value or b"").decode()


def compile_source(source: str, file: str, expressions: Sequence[str], options: Sequence[str]) -> Compiled:
    """Compile for the GPU that `options` name (`-arch=sm_90a`), with the CUDA headers in reach.

    Raises CompileError with the compiler's text, CompilerMissingError where there is no compiler.
    """
    library, headers = load()
    flags = [option.encode() for option in (*options, f"-I{headers}")]
    with _Program(library, source, file) as program:
        for expression in expressions:
            program.call("nvrtcAddNameExpression", expression.encode())
        try:
            program.call("nvrtcCompileProgram", len(flags), (ctypes.c_char_p * len(flags))(*flags))
        except CompileError as error:
            raise CompileError(
                f"{file} does not compile with {' '.join(options)}:\n{program.text('ProgramLog')}"
            ) from error
        lowered = {expression: program.lowered(expression) for expression in expressions}
        return Compiled(program.text("PTX"), program.text("ProgramLog"), lowered)


@functools.cache
def load() -> tuple[ctypes.CDLL, Path]:
    """The library, and the folder of CUDA's headers, of the wheels nvidia-cuda-nvrtc and nvidia-cuda-runtime."""
    root = _wheels()
    builtins, compiler = (
        next(iter(sorted(root.glob(f"lib/{name}.so.*"))), None) for name in ("libnvrtc-builtins", "libnvrtc")
    )
    if builtins is None or compiler is None or not (root / "include/cuda_bf16.h").exists():
        raise CompilerMissingError(f"{root} lacks libnvrtc or cuda_bf16.h: {INSTALL}", name="nvidia")
    ctypes.CDLL(str(builtins), ctypes.RTLD_GLOBAL)  # which NVRTC would look for on the library path only
    library = ctypes.CDLL(str(compiler))
    library.nvrtcGetErrorString.restype = ctypes.c_char_p
    return library, root / "include"


def _wheels() -> Path:
    spec = importlib.util.find_spec("nvidia")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        if (Path(place) / "cu13").is_dir():
            return Path(place) / "cu13"
    raise CompilerMissingError(f"the gate needs NVIDIA's compiler of CUDA C++: {INSTALL}", name="nvidia")
