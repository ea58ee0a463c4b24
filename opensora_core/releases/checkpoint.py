"""Published weights on disk: a file, or a folder with a configuration and one file or several, nothing of it read yet.

The layouts are those of the official repositories: a bare file (v2.0), `config.json` and `model.safetensors` (v1.1 to
v1.3), shards with an index, and the names of diffusers (`diffusion_pytorch_model`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ..errors import InvalidInputError
from ..serialization.jsonfile import read_object
from ..serialization.reader import open_safetensors
from ..serialization.shards import read_index, read_shards
from ..serialization.single import CONFIG_BYTES
from .shapes import Shapes
from .unpickling import PICKLES

STEMS = ("model", "diffusion_pytorch_model")
WHOLE, INDEX = ".safetensors", ".safetensors.index.json"
PREFIXES = ("module.", "ema.", "model.", "_orig_mod.")  # of wrappers that were saved with what they wrapped


@dataclass(frozen=True)
class Checkpoint:
    """Weights by name, mapped into memory and read when used; and the fields of the configuration beside them."""

    source: str
    tensors: Mapping[str, NDArray[Any]]
    config: Mapping[str, Any]

    @property
    def shapes(self) -> Shapes:
        """The shape of every weight; touches no data."""
        return {name: tuple(array.shape) for name, array in self.tensors.items()}


def open_checkpoint(path: str | Path) -> Checkpoint:
    """Open a safetensors file, the index of one in shards, or a folder with one model in it.

    `config.json` belongs to the only model of its folder, and among several to the one with a name of `STEMS`.
    Raises InvalidInputError where there is none, several, or an old pickle (which is converted first), FileFormatError
    for a damaged one.
    """
    path = Path(path)
    file = _model_at(path)
    tensors = read_shards(file.parent, stem_of(file)) if file.name.endswith(INDEX) else dict(open_safetensors(file))
    return Checkpoint(str(path), plain_names(tensors), _config_of(file))


def files_of(path: str | Path) -> list[Path]:
    """The files that `open_checkpoint` would read: the weights in the order of their shards, and the configuration."""
    file = _model_at(Path(path))
    is_index = file.name.endswith(INDEX)
    weights = [file.parent / name for name in read_index(file.parent, stem_of(file))] if is_index else [file]
    config = _config_at(file)
    return weights if config is None else [*weights, config]


def models_in(folder: Path) -> list[Path]:
    """The models of a folder, not of those below: a safetensors file each, or the index of one in shards."""
    indexes = sorted(folder.glob(f"*{INDEX}"))
    files = sorted(folder.glob(f"*{WHOLE}"))
    stems = [re.escape(stem_of(index)) for index in indexes]
    in_shards = re.compile(rf"({'|'.join(stems)})(-[0-9]+-of-[0-9]+)?\.safetensors")
    return sorted([*indexes, *(file for file in files if not (stems and in_shards.fullmatch(file.name)))])


def stem_of(model: Path) -> str:
    """The name of a model's file or index without what stands for its kind."""
    return model.name.removesuffix(INDEX).removesuffix(WHOLE)


def _model_at(path: Path) -> Path:
    if path.suffix in PICKLES:
        raise _pickles(path, [path])
    return _only_model(path) if path.is_dir() else path


def _only_model(folder: Path) -> Path:
    found = models_in(folder)
    pickles = sorted(file for file in folder.iterdir() if file.suffix in PICKLES)
    if pickles and not found:
        raise _pickles(folder, pickles)
    if len(found) != 1:
        names = ", ".join(file.name for file in found) or "none"
        raise InvalidInputError(
            f"{folder} should hold one model as .safetensors; it holds {names}. Name the file that is meant"
        )
    return found[0]


def _config_at(model: Path) -> Path | None:
    config = model.parent / "config.json"
    is_its = stem_of(model) in STEMS or len(models_in(model.parent)) == 1
    return config if config.exists() and is_its else None


def _config_of(model: Path) -> dict[str, Any]:
    config = _config_at(model)
    return {} if config is None else read_object(config, CONFIG_BYTES)


def _pickles(source: Path, found: list[Path]) -> InvalidInputError:
    names = ", ".join(file.name for file in found)
    return InvalidInputError(
        f"{names}: pickles may run any code when they are read: turn them into safetensors with "
        f"`opensora convert {source} FOLDER`"
    )


def plain_names(tensors: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Names without the prefixes that all of them have."""
    for prefix in PREFIXES:
        if tensors and all(name.startswith(prefix) for name in tensors):
            return plain_names({name.removeprefix(prefix): array for name, array in tensors.items()})
    return tensors
