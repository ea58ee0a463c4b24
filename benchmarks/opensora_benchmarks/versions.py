"""Versions of our own kernels as providers, by `backend:version`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from opensora_backends import attention_versions, cuda_versions
from opensora_backends.attention_versions import Version
from opensora_core.ops import FUSED, Ops
from opensora_core.testing.running import plain


@dataclass(frozen=True)
class Named:
    """The packages that a version needs, the library of its arrays, and what opens it on a backend of that library."""

    packages: tuple[str, ...]
    arrays: str
    open: Callable[[Ops], Version]


def composition(ops: Ops) -> Version:
    """Every fused op by its default composition of NumPy's primitives, by which all others are judged."""
    return Version({op: partial(_composed, op) for op in FUSED}, {})


def _composed(op: str, *args: Any) -> Any:
    return getattr(plain(), op)(*args)


def _on_cpu(version: Version, ops: Ops) -> Version:
    return version


def _versions() -> dict[str, Named]:
    found = {"numpy:composition": Named(("numpy",), "numpy", composition)}
    for name, version in attention_versions.VERSIONS.items():
        found[name] = Named((name.partition(":")[0],), "numpy", partial(_on_cpu, version))
    for name in cuda_versions.VERSIONS:
        packages = ("cupy", "numba_cuda") if name == "cuda:numba" else ("cupy",)
        found[name] = Named(packages, "cupy", partial(cuda_versions.open_version, name))
    return found


VERSIONS = _versions()
"""By name."""
