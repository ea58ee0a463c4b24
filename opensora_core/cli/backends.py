"""backends: on what one could compute here."""

from __future__ import annotations

from typing import Any

from .screen import Screen, columns


def backends(screen: Screen) -> None:
    """List the backends: which are here, which are missing and how to get them.

    Example: opensora backends
    """
    from ..registry import automatic

    found = describe_backends()
    rows = [("backend", "available", "remedy or class")]
    rows += [(name, "yes" if b["available"] else "no", b["missing"] or b["target"]) for name, b in found.items()]
    chosen = automatic()
    screen.result({"backends": found, "auto": chosen}, *columns(rows), f"--backend auto is {chosen}")


def describe_backends() -> dict[str, dict[str, Any]]:
    """Every known backend; none is imported."""
    from .. import registry

    return {
        name: {
            "available": (reason := registry.missing_reason(name)) is None,
            "missing": reason,
            "extra": backend.extra,
            "target": backend.target,
        }
        for name, backend in registry.backends().items()
    }
