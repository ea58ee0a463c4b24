"""Model folders: the configuration under `config`, the weights under their dotted names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ..errors import InvalidInputError
from ..module import rebuild, state_dict
from ..nn.init import ShapeInit
from ..ops import Ops
from ..serialization.casting import Cast
from ..serialization.folder import CONFIG, load_config
from ..serialization.manifest import MANIFEST
from ..serialization.state import check_state
from .components import Components
from .config import OpenSoraConfig

FORMAT, VERSION = "opensora-core", 1
EMBEDDED = Path(__file__).resolve().parent.parent / "assets" / "embedded"


def header(config: OpenSoraConfig) -> dict[str, Any]:
    """Content of config.json."""
    return {"format": FORMAT, "version": VERSION, "config": config.to_dict()}


def is_own(path: Path) -> bool:
    """Whether a path is no published model: a folder of this library, a damaged one too, or nothing that is there."""
    if not path.is_dir():
        return not path.exists()
    if not (path / CONFIG).exists():
        return (path / MANIFEST).exists()
    return "format" in load_config(path)


def config_of(header: Mapping[str, Any]) -> OpenSoraConfig:
    """Read what `header` made; raises InvalidInputError for another format or a newer version."""
    found = (header.get("format"), header.get("version"))
    if found != (FORMAT, VERSION) or "config" not in header:
        raise InvalidInputError(
            f"the model has format and version {found}, expected {(FORMAT, VERSION)}; is it of a newer library?"
        )
    return OpenSoraConfig.from_dict(header["config"])


def assemble(header: Mapping[str, Any], tensors: Mapping[str, Any], ops: Ops) -> Components:
    """Fit weights into a model of this header, each checked by name and shape, and bring them to the backend."""
    shell = Components.create(config_of(header), ShapeInit())
    check_state(shapes(state_dict(shell)), shapes(tensors))
    return rebuild(shell, tensors).on(ops)


def shapes(state: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Shape of every array under its name."""
    return {name: tuple(array.shape) for name, array in state.items()}


def stored(state: Mapping[str, NDArray[Any]], dtype: str | None) -> Mapping[str, NDArray[Any]]:
    """Weights in the precision of a file; None keeps theirs."""
    return state if dtype is None else Cast(state, dtype)
