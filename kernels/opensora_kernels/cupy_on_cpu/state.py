"""What the stand-in remembers: devices, the memory's limit, the capture under way; and the errors CUDA would raise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np


class CUDARuntimeError(RuntimeError):
    """An error of the CUDA runtime; its message begins with the name of the code."""


class OutOfMemoryError(MemoryError):
    """The pool's limit is reached; in CuPy's words."""

    def __init__(self, size: int, total: int, limit: int) -> None:
        super().__init__(
            f"Out of memory allocating {size:,} bytes "
            f"(allocated so far: {total:,} bytes, limit set to: {limit:,} bytes)."
        )


class Capture:
    """Calls that a stream was asked for while it was captured, in order, on the memory they used."""

    def __init__(self) -> None:
        self._calls: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any], Any]] = []

    def note(self, function: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any], result: Any) -> None:
        """Remember a call whose result, if it is an array, will be written to the same place again."""
        self._calls.append((function, args, named, result))

    def end(self) -> Capture:
        """Forget what was computed: on a GPU a capture computes nothing."""
        for function, args, _, result in self._calls:
            if isinstance(result, np.ndarray) and not _is_view(result, args) and function is not np.empty:
                result.view(np.ndarray)[...] = np.frombuffer(b"\xff" * result.itemsize, result.dtype)[0]
        return self

    def launch(self, stream: Any = None) -> None:
        """Make the calls again."""
        for function, args, named, result in self._calls:
            if function is np.empty:
                continue
            value = function(*args, **named)
            if isinstance(result, np.ndarray) and not _is_view(result, args):
                result.view(np.ndarray)[...] = value


@dataclass
class State:
    """The state of the one process-wide stand-in."""

    device: int = 0
    limit: int = 0
    capture: Capture | None = None
    launches: list[str] = field(default_factory=list)


STATE = State()


def _is_view(result: Any, args: Any) -> bool:
    """Whether the call only looked at its arguments' memory in another way."""
    if isinstance(args, np.ndarray):
        return bool(result.size) and np.may_share_memory(result, args)
    return isinstance(args, list | tuple) and any(_is_view(result, x) for x in args)
