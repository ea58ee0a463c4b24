"""Open-Sora as one framework-agnostic library: text to video on NumPy and Torch alike.

Importing this package loads no framework; backends load on the first `get_backend(name)`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what `__getattr__` hands out, for type checkers and editors
    from .media.video import Video as Video
    from .ops import Ops as Ops
    from .pipelines.config import OpenSoraConfig as OpenSoraConfig
    from .pipelines.opensora import OpenSora as OpenSora
    from .registry import available_backends as available_backends
    from .registry import get_backend as get_backend

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
