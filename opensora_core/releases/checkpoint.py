"""Published weights on disk: a file, or a folder with a configuration and one file or several, nothing of it read yet.

The layouts are those of the official repositories: a bare file (v2.0), `config.json` and `model.safetensors` (v1.1 to
v1.3), shards with an index, and the names of diffusers (`diffusion_pytorch_model`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ..errors import InvalidInputError
from ..serialization.jsonfile import read_object
from ..serialization.reader import open_safetensors
from ..serialization.shards import has_index, read_shards
from ..serialization.single import CONFIG_BYTES
from .shapes import Shapes
from .unpickling import PICKLES, unpickled

STEMS = ("model", "diffusion_pytorch_model")
PREFIXES = ("module.", "ema.", "_orig_mod.")  # of wrappers that were saved with what they wrapped


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
    """Open a safetensors file, or a folder with one model in it.

    Raises InvalidInputError where there is none, several, or an old pickle (which is converted first), FileFormatError
    for a damaged one.
    """
    path = Path(path)
    if not path.is_dir():
        _refuse_pickle(path)
        return Checkpoint(str(path), _plain_names(dict(open_safetensors(path))), {})
    config = path / "config.json"
    published = read_object(config, CONFIG_BYTES) if config.exists() else {}
    return Checkpoint(str(path), _plain_names(_tensors(path)), published)


@contextmanager
def opened(source: str | Path) -> Iterator[Checkpoint]:
    """`open_checkpoint`, and of an old pickle what a limited process of its own has read, while the context lasts."""
    path = Path(source)
    if path.suffix not in PICKLES:
        yield open_checkpoint(path)
        return
    with unpickled(path) as file:
        yield open_checkpoint(file)


def _tensors(folder: Path) -> dict[str, NDArray[Any]]:
    for stem in STEMS:
        if has_index(folder, stem):
            return read_shards(folder, stem)
    found = sorted(folder.glob("*.safetensors"))
    for pickle in [] if found else sorted(file for file in folder.iterdir() if file.suffix in PICKLES):
        _refuse_pickle(pickle)
    if len(found) != 1:
        names = ", ".join(file.name for file in found) or "none"
        raise InvalidInputError(
            f"{folder} should hold one model as .safetensors; it holds {names}. Name the file that is meant"
        )
    return dict(open_safetensors(found[0]))


def _refuse_pickle(path: Path) -> None:
    if path.suffix in PICKLES:
        raise InvalidInputError(
            f"{path} is a pickle, which may run any code when it is read: "
            f"turn it into safetensors with `opensora convert {path.name} FOLDER`"
        )


def _plain_names(tensors: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Names without a prefix that all of them have."""
    for prefix in PREFIXES:
        if tensors and all(name.startswith(prefix) for name in tensors):
            return {name.removeprefix(prefix): array for name, array in tensors.items()}
    return tensors
