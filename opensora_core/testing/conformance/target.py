"""What is put to the test: a backend by name, by class or as it is, and the Python lines that make it again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.util import find_spec

from ...autodiff import Autodiff
from ...errors import InvalidInputError
from ...interpose import Strict
from ...ops import Ops
from ...registry import backends, get_backend, made
from ..running import vanilla

WRAPPERS: dict[str, Callable[[Ops], Ops]] = {
    "vanilla": lambda ops: vanilla(type(ops))(ops.device, ops.dtype),
    "strict": Strict,
    "tape": Autodiff,
}
"""Interpreters over NumPy: its primitives without overrides, the one that refuses, the one that remembers."""


@dataclass(frozen=True)
class Target:
    """A backend under test. name: as it was asked for. code: lines of Python after which `ops` is this backend."""

    name: str
    ops: Ops
    code: str


def open_target(target: str | type[Ops] | Ops, device: str | None = None) -> Target:
    """Make the backend to test.

    target: the name of a backend, "vanilla", "strict" or "tape" (over NumPy), "module:Class", a class or an instance.
    Raises InvalidInputError for anything else and for a class that cannot be made, MissingDependencyError for a backend
    whose framework is not installed.
    """
    if isinstance(target, Ops):
        ops = made(type(target).__name__, lambda: target)
        return Target(ops.name, ops, f"# ops: the {type(ops).__name__} that was tested")
    if isinstance(target, str):
        return _by_name(target, device)
    if not (isinstance(target, type) and issubclass(target, Ops)):
        raise InvalidInputError(f"cannot test {target!r}: expected a name, 'module:Class', a class of Ops or an Ops")
    options = {} if device is None else {"device": device}
    shown = ", ".join(f"{name}={value!r}" for name, value in options.items())
    if "<locals>" in target.__qualname__ or not _importable(target.__module__):
        code = f"# ops: a {target.__qualname__}({shown})"
    else:
        code = f"from {target.__module__} import {target.__name__}\n\nops = {target.__name__}({shown})"
    return Target(target.__name__, made(target.__name__, lambda: target(**options)), code)


def _importable(module: str) -> bool:
    """Whether another program could import it; a script cannot be, nor what was made by hand."""
    try:
        return module != "__main__" and find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _by_name(name: str, device: str | None) -> Target:
    if name in WRAPPERS:
        code = f"from opensora_core.testing.conformance import open_target\n\nops = open_target({name!r}).ops"
        return Target(name, WRAPPERS[name](get_backend("numpy", device=device or "cpu", dtype="float32")), code)
    known = [*backends(), *WRAPPERS]
    if ":" not in name and name not in known:
        near = get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise InvalidInputError(
            f"there is no backend {name!r}; {hint}known: {', '.join(sorted(known))}, or 'module:Class'"
        )
    where = f", device={device!r}" if device else ""
    code = f"from opensora_core import get_backend\n\nops = get_backend({name!r}{where})"
    return Target(name, get_backend(name, device=device, dtype="float32"), code)
