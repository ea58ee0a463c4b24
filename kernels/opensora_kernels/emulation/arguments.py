"""Arguments of a launch, checked against the kernel's parameters: a GPU would take anything of any size."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np

KINDS = {"f": "float", "i": "integer", "h": "__half", "b": "__nv_bfloat16", "s": "struct", "p": "pointer"}


class Parameter(ctypes.Structure):
    """One parameter of a kernel, as exports.hpp describes it: sizes in bytes, kinds by the letters of KINDS."""

    _fields_ = (
        *(("size", ctypes.c_uint8), ("kind", ctypes.c_uint8)),
        *(("to", ctypes.c_uint8), ("to_size", ctypes.c_uint8), ("to_const", ctypes.c_uint8)),
    )

    def __str__(self) -> str:
        if chr(self.kind) == "p":
            const = "const " if self.to_const else ""
            return f"pointer to {const}{KINDS.get(chr(self.to), 'anything')} of {self.to_size} bytes"
        return f"{KINDS[chr(self.kind)]} of {self.size} bytes"


def pack(args: Sequence[Any], parameters: Sequence[Parameter]) -> list[Any]:
    """Return a ctypes cell per argument; TypeError names the first that does not fit its parameter."""
    if len(args) != len(parameters):
        raise TypeError(f"{len(args)} arguments; the kernel has {len(parameters)} parameters")
    return [_cell(i, arg, parameter) for i, (arg, parameter) in enumerate(zip(args, parameters, strict=True))]


def _cell(index: int, arg: Any, parameter: Parameter) -> Any:
    if isinstance(arg, np.ndarray):
        return _pointer(index, arg, parameter)
    arg = _as_cupy_passes(index, arg)
    null = chr(parameter.kind) == "p" and arg.dtype.kind in "iu" and arg.nbytes == 8 and arg == 0
    if not null and (arg.nbytes != parameter.size or _letter(arg.dtype) != chr(parameter.kind)):
        raise TypeError(f"argument {index} is {arg!r} ({arg.dtype}); the kernel wants a {parameter}")
    return (ctypes.c_char * arg.nbytes).from_buffer_copy(arg.tobytes())


def _pointer(index: int, array: Any, parameter: Parameter) -> Any:
    to, size = chr(parameter.to), parameter.to_size
    typed = to in "fihb" and size > 0
    fits = not typed or (array.dtype.itemsize == size and _letter(array.dtype) == to)
    if chr(parameter.kind) != "p" or not fits:
        raise TypeError(f"argument {index} is an array of {array.dtype}; the kernel wants a {parameter}")
    if not parameter.to_const and not array.flags.writeable:
        raise TypeError(f"argument {index} is a read-only array, which the kernel may write: it wants a {parameter}")
    return ctypes.c_void_p(array.ctypes.data)


def _as_cupy_passes(index: int, arg: Any) -> Any:
    """Python's numbers become what CuPy makes of them: 64 bits wide."""
    if isinstance(arg, bool):
        return np.bool_(arg)
    if isinstance(arg, int):
        return np.int64(arg)
    if isinstance(arg, float):
        return np.float64(arg)
    if isinstance(arg, np.generic):
        return arg
    raise TypeError(f"argument {index} is a {type(arg).__name__}, neither an array nor a number")


def _letter(dtype: Any) -> str:
    """Kind of a dtype by the letters of KINDS; bfloat16 is known by its name, for it is not NumPy's own."""
    if dtype.name == "bfloat16":
        return "b"
    if dtype.name == "float16":
        return "h"
    return {"f": "f", "i": "i", "u": "i", "b": "i"}.get(dtype.kind, "s")
