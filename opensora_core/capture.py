"""See inside a model: a copy of it whose named parts note what went in and what came out."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any, NamedTuple, TypeVar

from .errors import InvalidInputError
from .module import replace_part

M = TypeVar("M")


class Call(NamedTuple):
    """One call of a captured module."""

    args: tuple[Any, ...]  # without the leading ops
    output: Any


def capture(module: M, names: Iterable[str]) -> tuple[M, dict[str, list[Call]]]:
    """Return (the same module, its named parts recording, and the calls of each part in order).

    names: dotted names as in the state dict, such as "spatial_blocks.0" or "t_block.1"; each must be a module with
    `__call__`. The recording copy shares all weights and computes the same; take the state dict from the original.

        model, calls = capture(model, ["final_layer"])
        model(ops, ...)
        calls["final_layer"][0].output

    Raises InvalidInputError for a name that leads nowhere or to something that is not called.
    """
    calls: dict[str, list[Call]] = {name: [] for name in names}
    for name in sorted(calls, key=lambda n: -n.count(".")):  # parts of parts first: a recording part cannot be opened
        module = replace_part(module, name, partial(_record, name=name, calls=calls[name]))
    return module, calls


def _record(part: Any, name: str, calls: list[Call]) -> _Recording:
    if not callable(part):
        raise InvalidInputError(f"{name!r} is a {type(part).__name__}; only modules that are called can be captured")
    return _Recording(part, calls)


class _Recording:
    """Stands in for a module and appends each of its calls to a list."""

    def __init__(self, part: Any, calls: list[Call]) -> None:
        self._part, self._calls = part, calls

    def __call__(self, ops: Any, *args: Any, **kwargs: Any) -> Any:
        output = self._part(ops, *args, **kwargs)
        self._calls.append(Call((*args, *kwargs.values()), output))
        return output

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._part, name)
