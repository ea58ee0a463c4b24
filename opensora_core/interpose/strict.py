"""Strict: runs a computation and refuses everything outside the language."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import ProtocolError
from ..ops import HALF, Array
from .box import Box
from .interposer import Args, Interposer

ALIKE = {  # the arguments of a primitive that must share one dtype
    **dict.fromkeys(("add", "subtract", "multiply", "divide", "pow", "maximum", "equal", "less", "matmul"), (0, 1)),
    "where": (1, 2),
    "index_add": (0, 2),
}


class Strict(Interposer):
    """Does what `inner` does, and raises ProtocolError, naming the op, where code leaves the language.

    Refused: two dtypes in one primitive, a Python float in integer or half-precision arithmetic, matmul below two axes,
    conditions that are not bool, indices that are not 1-D integers, indexing by arrays, attributes and methods of
    values other than .shape .ndim .dtype, `if` on a value, and (NumPy) writing into an argument: every array that an op
    receives is read-only. With units=FUSED the inner backend's own fused ops are watched; by default the compositions.
    """

    def process(self, op: str, args: Args) -> Any:
        """Check the arguments, run the op on read-only arrays."""
        raw = tuple(map(self.unbox, args))
        self._check(op, raw)
        try:
            result = getattr(self.inner, op)(*map(_read_only, raw))
        except ValueError as error:
            if "read-only" in str(error):
                raise ProtocolError(f"{op} of {self.inner.name!r} writes into an argument: {error}") from error
            raise
        return Box(_read_only(result), self)

    def _check(self, op: str, args: Args) -> None:
        if op == "concat":
            self._check_alike(op, list(args[0]))
        elif op in ALIKE:
            self._check_alike(op, [args[i] for i in ALIKE[op]])
        if op == "where" and self._dtype(args[0]) != "bool":
            raise ProtocolError(f"where: the condition must be bool, not {self._dtype(args[0])}")
        if op in ("take", "index_add") and not (self._dtype(args[1]).startswith(("int", "uint")) and args[1].ndim == 1):
            raise ProtocolError(f"{op}: indices must be a 1-D integer array, not {self._describe(args[1])}")
        if op == "matmul" and min(args[0].ndim, args[1].ndim) < 2:
            raise ProtocolError(f"matmul: both sides need two axes; got {', '.join(map(self._describe, args))}")

    def _check_alike(self, op: str, operands: list[Any]) -> None:
        """Arrays must share a dtype; a Python number must be one that no library would promote for."""
        dtypes = {self._dtype(x) for x in operands if hasattr(x, "dtype")}
        numbers = [x for x in operands if not hasattr(x, "dtype")]
        shown = f"{op}({', '.join(map(self._describe, operands))})"
        if not dtypes:
            raise ProtocolError(f"{shown} has no array among its operands; compute with Python numbers in Python")
        if len(dtypes) > 1:
            raise ProtocolError(f"{shown} mixes dtypes; ops.astype one of them")
        dtype = dtypes.pop()
        if numbers and op != "where" and dtype in HALF:
            raise ProtocolError(f"{shown}: array libraries disagree about a Python number beside {dtype}; widen first")
        if any(isinstance(x, float) for x in numbers) and not dtype.startswith(("float", "bfloat")):
            raise ProtocolError(f"{shown} would promote {dtype} to a floating dtype; ops.astype it")

    def _dtype(self, x: Array) -> str:
        return self.inner.dtype_name(x) if hasattr(x, "dtype") else type(x).__name__

    def _describe(self, x: Any) -> str:
        return f"{self._dtype(x)}{list(x.shape)}" if hasattr(x, "dtype") else repr(x)


def _read_only(x: Any) -> Any:
    """Return NumPy arrays, also inside a list, as views that cannot be written."""
    if isinstance(x, list):
        return list(map(_read_only, x))
    if isinstance(x, tuple):
        return tuple(map(_read_only, x))
    if not isinstance(x, np.ndarray):
        return x
    view = x.view()
    view.flags.writeable = False
    return view
