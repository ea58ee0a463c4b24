"""Where in a model an op is called: the call stack knows, as a module is the `self` of the method that runs."""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from ..module import named_modules
from ..ops import Ops

PACKAGE = __name__.partition(".")[0]
LANGUAGE = tuple(f"{PACKAGE}.{part}" for part in ("interpose", "ops", "primitives", "derived"))


class Place(NamedTuple):
    """The innermost module around an op ("" outside of all), and the function and line that called it."""

    module: str  # dotted name as in the state dict, such as "denoiser.spatial_blocks.2.attn"
    function: str
    line: str  # such as "opensora_core/nn/attention.py:62"

    @property
    def block(self) -> str:
        """The module cut to what one would list: its first two names, and a number behind them."""
        if not self.module:
            return f"({self.function})"
        names = self.module.split(".")
        return ".".join(names[: 3 if len(names) > 2 and names[2].isdigit() else 2])

    def __str__(self) -> str:
        return f"{self.module or self.function} ({self.line})"


class Places:
    """Names of modules by identity; the trees are kept, so that an identity stays theirs."""

    def __init__(self) -> None:
        self._names: dict[int, str] = {}
        self._trees: list[Any] = []

    def add(self, tree: Any, prefix: str = "") -> None:
        """Learn the names of all modules in a tree, as the state dict writes them."""
        self._trees.append(tree)
        self._names.update({id(module): f"{prefix}{name}" for name, module in named_modules(tree)})

    def here(self) -> Place:
        """Return the place of the op that is being called."""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and _speaks(frame):
            frame = frame.f_back
        if frame is None:
            return Place("", "?", "?")
        code = frame.f_code
        function = code.co_qualname.partition(".<locals>")[0]
        return Place(self._module(frame), function, f"{_short(code.co_filename)}:{frame.f_lineno}")

    def _module(self, frame: FrameType | None) -> str:
        while frame is not None:
            name = self._names.get(id(_self(frame)))
            if name is not None:
                return name
            frame = frame.f_back
        return ""


def _speaks(frame: FrameType) -> bool:
    """Whether a function is part of the language or of an interpreter, and not of what is said in it."""
    return frame.f_globals.get("__name__", "").startswith(LANGUAGE) or isinstance(_self(frame), Ops)


def _self(frame: FrameType) -> Any:
    return frame.f_locals.get("self") if frame.f_code.co_varnames[:1] == ("self",) else None


def _short(filename: str) -> str:
    """The path from the package on, or the last two parts of one that lies elsewhere."""
    parts = Path(filename).parts
    start = len(parts) - 1 - parts[::-1].index(PACKAGE) if PACKAGE in parts else max(0, len(parts) - 2)
    return "/".join(parts[start:])
