"""Who can be timed: our backends, hand-written NumPy, Torch's and other libraries' ways, and functions of others."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from opensora_core import get_backend
from opensora_core.errors import InvalidInputError, MissingDependencyError, OpenSoraError
from opensora_core.ops import Ops
from opensora_core.registry import backends, unusable_reason
from opensora_core.testing.running import invoke

from .case import Case, stand_ins
from .library import Library, library, library_of
from .versions import VERSIONS

PROGRAM = "program"  # under which `invoke` calls a function of ops


class UnsupportedError(Exception):
    """A provider has nothing for a case; the message says why."""


@dataclass(frozen=True)
class Provider:
    """A name, the library of its arrays, and what makes its function for a case or raises UnsupportedError.

    backend: the backend that it is; None for functions of ops, which the library's own backend must not stand in for.
    """

    name: str
    library: Library
    function: Callable[[Case], Callable[..., Any]]
    backend: Ops | None = None


RIVALS = {  # name -> (module of functions by op, library, package it needs)
    "plain-numpy": ("rivals_numpy:EAGER", "numpy", "numpy"),
    "torch-eager": ("rivals_torch:EAGER", "torch", "torch"),
    "torch-sdpa": ("rivals_torch:SDPA", "torch", "torch"),
    "torch-sdpa-math": ("rivals_torch:SDPA_MATH", "torch", "torch"),
    "torch-sdpa-flash": ("rivals_torch:SDPA_FLASH", "torch", "torch"),
    "torch-sdpa-efficient": ("rivals_torch:SDPA_EFFICIENT", "torch", "torch"),
    "torch-sdpa-cudnn": ("rivals_torch:SDPA_CUDNN", "torch", "torch"),
    "torch-compile": ("rivals_torch:COMPILED", "torch", "torch"),
    "jax": ("rivals_jax:COMPILED", "jax", "jax"),
    "flash-attn": ("rivals_attention:FLASH", "torch", "flash_attn"),
    "xformers": ("rivals_attention:XFORMERS", "torch", "xformers"),
}
ON_CPU = ("plain-numpy", "jax")
ON_GPU = ("torch-sdpa-efficient", "torch-sdpa-cudnn", "flash-attn", "xformers")
SLOW_START = ("torch-compile",)  # compiles for seconds in every case: only where it is asked for, or without --quick


def missing_rival(name: str, device: str | None) -> str | None:
    """Why a rival cannot be used here; None when it can."""
    *_, package = RIVALS[name]
    if find_spec(package) is None:
        return f"the package {package!r} is not installed"
    on_gpu = (device or "cpu").startswith("cuda")
    if name in ON_GPU and not on_gpu:
        return "it needs a GPU: --device cuda:0"
    return "it is timed on the CPU only" if name in ON_CPU and on_gpu else None


def missing_version(name: str, device: str | None) -> str | None:
    """Why a version of one of our kernels cannot be used here; None when it can."""
    version = VERSIONS[name]
    if absent := [package for package in version.packages if find_spec(package) is None]:
        return f"the package {absent[0]!r} is not installed"
    on_gpu = (device or "cpu").startswith("cuda")
    if version.arrays == "cupy" and not on_gpu:
        return "it needs a GPU: --device cuda:0"
    return "it is timed on the CPU only" if version.arrays == "numpy" and on_gpu else None


def available(device: str | None, quick: bool = False) -> list[str]:
    """Names of everything that can be used on a device."""
    on_gpu = (device or "cpu").startswith("cuda")
    ours = [name for name in backends() if _fits(name, on_gpu) and unusable_reason(name) is None]
    rivals = [name for name in RIVALS if missing_rival(name, device) is None]
    return [name for name in (*ours, *rivals) if not (quick and name in SLOW_START)]


def _fits(backend: str, on_gpu: bool) -> bool:
    return backend in (("cuda", "torch") if on_gpu else [name for name in backends() if name != "cuda"])


def open_backend(name: str, device: str | None, dtype: str) -> Provider:
    """One of our backends, or any other by entry point or "module:Class"."""
    ops = get_backend(name, device=device, dtype=dtype)

    def function(case: Case) -> Callable[..., Any]:
        if case.program is None:
            return lambda *args: invoke(ops, case.op, args)
        return lambda *args: invoke(ops, PROGRAM, (case.program, *args))

    return Provider(name, library_of(ops), function, ops)


def open_provider(name: str, device: str | None, dtype: str, arrays: str) -> Provider:
    """A rival by name, a function by "module:function" that takes arrays of the library `arrays`, or a backend."""
    if name in RIVALS:
        return _open_rival(name, device)
    if name in VERSIONS:
        return _open_version(name, device, dtype)
    if ":" not in name:
        if name in backends():
            return open_backend(name, device, dtype)
        known = ", ".join([*backends(), *RIVALS, *VERSIONS])
        raise InvalidInputError(f"there is no provider {name!r}; known: {known}, or 'module:function'")
    found = _load(name)
    if isinstance(found, type):
        return open_backend(name, device, dtype)
    if not callable(found):
        raise InvalidInputError(
            f"provider {name!r} is {type(found).__name__}; expected a function of the op's arguments"
        )

    def function(case: Case) -> Callable[..., Any]:
        if case.program is not None:
            raise UnsupportedError("it is a function of an op's arguments, and this is a block")
        return found  # type: ignore[no-any-return]

    return Provider(name, library(arrays, device), function)


def _open_rival(name: str, device: str | None) -> Provider:
    target, arrays, package = RIVALS[name]
    if reason := missing_rival(name, device):
        raise MissingDependencyError(f"provider {name!r}: {reason}", name=package)
    module, _, table = target.partition(":")
    functions = getattr(importlib.import_module(f".{module}", __package__), table)
    return _of_functions(name, functions, library(arrays, device))


def _open_version(name: str, device: str | None, dtype: str) -> Provider:
    if reason := missing_version(name, device):
        raise MissingDependencyError(f"provider {name!r}: {reason}", name=VERSIONS[name].packages[-1])
    arrays = library(VERSIONS[name].arrays, device)
    version = VERSIONS[name].open(arrays.ops)
    of_op = _of_functions(name, version.functions, arrays)

    def function(case: Case) -> Callable[..., Any]:
        found = of_op.function(case)
        refuses = version.refusals.get(case.op)
        if refuses and (reason := refuses(*stand_ins(case.arguments, dtype))):
            raise UnsupportedError(reason)
        return found

    return Provider(name, arrays, function)


def _of_functions(name: str, functions: Mapping[str, Callable[..., Any]], arrays: Library) -> Provider:
    def function(case: Case) -> Callable[..., Any]:
        if case.op not in functions:
            raise UnsupportedError(f"it has no {case.op}")
        return functions[case.op]

    return Provider(name, arrays, function)


def _load(target: str) -> Any:
    module, _, attribute = target.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except OpenSoraError:
        raise
    except (Exception, SystemExit) as error:
        raise InvalidInputError(
            f"provider {target!r} cannot be loaded ({type(error).__name__}: {error}); expected 'module:function'"
        ) from error


def probes(providers: Sequence[Provider]) -> list[Library]:
    """Libraries by which the machine's roofline is measured: one of each kind that has products, at least NumPy."""
    able = [p.library for p in providers if hasattr(p.library.ops, "matmul") and p.library.module is not None]
    return list({x.module.__name__: x for x in able}.values()) or [library("numpy")]
