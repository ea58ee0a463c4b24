"""backends: on what one could compute here, and by which kernels."""

from __future__ import annotations

import importlib
from typing import Annotated, Any

from typer import Option

from .screen import Screen, columns


def backends(
    screen: Screen,
    kernels: Annotated[bool, Option("--kernels", help="Show what serves each op on backends with kernels.")] = False,
) -> None:
    """List the backends: which are here, which are missing and how to get them.

    Example: opensora backends --kernels
    """
    from ..registry import automatic

    if kernels:
        show_kernels(screen)
        return
    found = describe_backends()
    rows = [("backend", "available", "remedy or class")]
    rows += [(name, "yes" if b["available"] else "no", b["missing"] or b["target"]) for name, b in found.items()]
    chosen = automatic()
    screen.result({"backends": found, "auto": chosen}, *columns(rows), f"--backend auto is {chosen}")


def show_kernels(screen: Screen) -> None:
    """What serves which op in which dtype, and why nothing better does."""
    tables = describe_kernels()
    lines: list[Any] = []
    for name, table in tables.items():
        heading = ("op", "dtype", "layout", "serves", "why nothing better")
        rows = [heading, *((r["op"], r["dtype"], r["layout"], r["serves"], r["reason"]) for r in table)]
        lines += [f"{name}: what serves each op on a GPU of compute capability {table[0]['arch']}", *columns(rows)]
    screen.result({"kernels": tables}, *lines)


def describe_backends() -> dict[str, dict[str, Any]]:
    """Every known backend; those that need a driver or the like are made to find out."""
    from .. import registry

    return {
        name: {
            "available": (reason := registry.unusable_reason(name)) is None,
            "missing": reason,
            "extra": backend.extra,
            "target": backend.target,
        }
        for name, backend in registry.backends().items()
    }


def describe_kernels() -> dict[str, list[dict[str, str]]]:
    """Rows of what serves which op, for every backend that declares its kernels; none needs to be installed."""
    from .. import registry

    tables = {}
    for name, backend in registry.backends().items():
        if backend.kernels:
            module, _, function = backend.kernels.partition(":")
            tables[name] = list(getattr(importlib.import_module(module), function)())
    return tables
