"""Versions of our own kernels as providers, by `backend:version`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from opensora_backends import attention_versions
from opensora_core.ops import FUSED
from opensora_core.testing.running import plain

Function = Callable[..., Any]


def composition(op: str) -> Function:
    """The op's default composition of NumPy's primitives, by which all others are judged."""
    return lambda *args: getattr(plain(), op)(*args)


def _versions() -> dict[str, tuple[str, Mapping[str, Function]]]:
    found: dict[str, tuple[str, Mapping[str, Function]]] = {
        "numpy:composition": ("numpy", {op: composition(op) for op in FUSED})
    }
    for name, function in attention_versions.VERSIONS.items():
        found[name] = name.partition(":")[0], {"attention": function}
    return found


VERSIONS = _versions()
"""By name, the package that a version needs, and its functions by op."""
