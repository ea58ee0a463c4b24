"""What is put to the test: a backend by name, by class or as it is, and the Python lines that make it again."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches

from ...autodiff import Autodiff
from ...errors import InvalidInputError, OpenSoraError
from ...interpose import Strict
from ...ops import Ops
from ...registry import backends, get_backend
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
        return Target(target.name, target, f"# ops: the {type(target).__name__} that was tested")
    if isinstance(target, str):
        return _by_name(target, device)
    if not (isinstance(target, type) and issubclass(target, Ops)):
        raise InvalidInputError(f"cannot test {target!r}: expected a name, 'module:Class', a class of Ops or an Ops")
    options = {} if device is None else {"device": device}
    shown = ", ".join(f"{name}={value!r}" for name, value in options.items())
    if importlib.util.find_spec(target.__module__) is None or "<locals>" in target.__qualname__:
        code = f"# ops: a {target.__qualname__}({shown})"
    else:
        code = f"from {target.__module__} import {target.__name__}\n\nops = {target.__name__}({shown})"
    return Target(target.__name__, _make(target.__name__, lambda: target(**options)), code)


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
    return Target(name, _make(name, lambda: get_backend(name, device=device, dtype="float32")), code)


def _make(name: str, make: Callable[[], Ops]) -> Ops:
    """Call what makes a backend; whatever a stranger's code raises becomes an error that names it."""
    try:
        return make()
    except OpenSoraError:
        raise
    except Exception as error:
        raise InvalidInputError(
            f"the backend {name!r} cannot be made: {type(error).__name__}: {error}; it must be importable, and its "
            "class must take device= and dtype="
        ) from error
