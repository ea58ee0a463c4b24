"""Weights in several files and the index that says which tensor is in which: the layout of Hugging Face.

STEM-00001-of-00003.safetensors …    shards
STEM.safetensors.index.json          weight_map: the shard of every tensor
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from ..errors import FileFormatError
from .header import Entry
from .jsonfile import encode_object, read_object
from .names import show
from .reader import SafetensorsFile, open_safetensors

Array = NDArray[Any]

STEM: Final = "model"  # of this library's own folders
INDEX_BYTES: Final = 8 * 2**20


def index_name(stem: str = STEM) -> str:
    """File name of the index."""
    return f"{stem}.safetensors.index.json"


def shard_name(number: int, count: int, stem: str = STEM) -> str:
    """File name of a shard, counted from 1."""
    return f"{stem}-{number:05d}-of-{count:05d}.safetensors"


def encode_index(shards: Mapping[str, list[str]], entries: Mapping[str, Entry]) -> bytes:
    """Content of the index of these shards and the tensors in each."""
    total = sum(entry.end - entry.begin for entry in entries.values())
    weight_map = {name: file for file, names in shards.items() for name in names}
    return encode_object({"metadata": {"total_size": total}, "weight_map": weight_map}, index_name(), INDEX_BYTES)


def has_index(folder: Path, stem: str = STEM) -> bool:
    """Whether a folder's weights are in several files."""
    return (folder / index_name(stem)).exists()


def read_index(folder: Path, stem: str = STEM) -> dict[str, set[str]]:
    """The tensors that each shard should hold; the shards must be number 1 to N of N, in this folder."""
    index = folder / index_name(stem)
    weight_map = read_object(index, INDEX_BYTES).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise FileFormatError(f"{index}: 'weight_map' is not an object that names tensors and their shards")
    shard = re.compile(rf"{re.escape(stem)}-[0-9]{{5}}-of-[0-9]{{5}}\.safetensors")
    shards: dict[str, set[str]] = {}
    for name, file in weight_map.items():
        if not isinstance(file, str) or shard.fullmatch(file) is None:
            raise FileFormatError(
                f"{index}: tensor {show(name)} is in {show(str(file))}, expected a name like "
                f"{shard_name(1, 2, stem)!r} without folders"
            )
        shards.setdefault(file, set()).add(name)
    wanted = {shard_name(i, len(shards), stem) for i in range(1, len(shards) + 1)}
    if odd := sorted(set(shards) - wanted):
        raise FileFormatError(f"{index}: {len(shards)} shards are named, {odd[0]!r} is not one of so many")
    return dict(sorted(shards.items()))


def read_shards(folder: Path, stem: str = STEM) -> dict[str, Array]:
    """The tensors of all shards, mapped into memory. FileFormatError unless the shards hold what the index says."""
    tensors: dict[str, Array] = {}
    for file, names in read_index(folder, stem).items():
        if not (folder / file).exists():
            raise FileFormatError(f"{folder} lacks the shard {file} of {index_name(stem)}; was the download cut short?")
        opened = open_safetensors(folder / file)
        _check_shard(opened, names, index_name(stem))
        tensors.update(opened)
    return tensors


def _check_shard(opened: SafetensorsFile, names: set[str], index: str) -> None:
    if missing := sorted(names - opened.keys()):
        raise FileFormatError(f"{opened.source}: tensor {show(missing[0])} of {index} is not in it")
    if surplus := sorted(opened.keys() - names):
        raise FileFormatError(f"{opened.source}: tensor {show(surplus[0])} is not in {index}")
