"""Open-Sora as one framework-agnostic library: text to video on NumPy, Torch and CUDA alike.

Importing this package loads no framework; backends load on the first `get_backend(name)`.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "OpenSora": "pipelines.opensora",
    "OpenSoraConfig": "pipelines.config",
    "Ops": "ops",
    "Video": "media.video",
    "available_backends": "registry",
    "get_backend": "registry",
}
__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
