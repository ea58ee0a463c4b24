"""The library's own format: a folder with `config.json`, the weights as safetensors, and a manifest.

    config.json                          what the model is
    model.safetensors                    the weights, or, above `max_shard_bytes`:
    model-00001-of-00003.safetensors …   shards, and
    model.safetensors.index.json         which tensor is in which shard (the layout of Hugging Face)
    manifest.json                        size and sha256 of every file

The same config and tensors give the same bytes in every file.
"""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from ..errors import FileFormatError, InvalidInputError
from .atomic import atomic_folder
from .header import Entry, read_header
from .jsonfile import encode_object, read_object
from .manifest import verify_manifest
from .names import show
from .reader import SafetensorsFile, open_safetensors
from .shards import STEM, encode_index, has_index, index_name, read_index, read_shards, shard_name
from .single import CONFIG_BYTES, decode_metadata, encode_metadata
from .writer import encode_header, iter_data, plan, write_safetensors

Array = NDArray[Any]
Config = dict[str, Any]

CONFIG: Final = "config.json"
WEIGHTS: Final = f"{STEM}.safetensors"


def save_folder(
    path: str | os.PathLike[str],
    config: Mapping[str, Any],
    tensors: Mapping[str, Array],
    *,
    max_shard_bytes: int = 5 * 10**9,
    overwrite: bool = True,
    stem: str = STEM,
    beside: Sequence[Path] = (),
) -> None:
    """Write a folder, whole or not at all, tensor by tensor; a lazy mapping never holds two.

    `config` holds JSON values only (tuples come back as lists). A tensor of more than `max_shard_bytes` gets a shard of
    its own. `stem` names the weight files for other readers; `load_folder` wants "model". `beside`: files that are
    copied into the folder. Raises InvalidInputError for
    a config or tensors that could not be read back, and for a `path` that cannot be written to or holds files of
    somebody else.
    """
    text = encode_object(config, "config", CONFIG_BYTES)
    entries = plan(tensors)
    shards = _split(entries, max_shard_bytes, stem)
    with atomic_folder(path, overwrite=overwrite) as folder:
        (folder / CONFIG).write_bytes(text)
        for file in beside:
            shutil.copyfile(file, folder / file.name)
        for shard, names in shards.items():
            write_safetensors(folder / shard, _Subset(tensors, names))
        if len(shards) > 1:
            (folder / index_name(stem)).write_bytes(encode_index(shards, entries))


def load_folder(path: str | os.PathLike[str], *, verify: bool = True) -> tuple[Config, dict[str, Array]]:
    """Config and tensors of a folder; the tensors are read-only and memory-mapped, so that only what is used is read.

    `verify` reads every file once and compares its sha256 with the manifest; without it a folder may lack one, or
    have an edited config. Raises InvalidInputError if there is no such folder, FileFormatError for all damage.
    """
    folder = Path(path)
    config = load_config(folder)
    if verify:
        verify_manifest(folder)
    sharded = has_index(folder)
    _check_files(folder, set(read_index(folder) if sharded else [WEIGHTS]))
    return config, read_shards(folder) if sharded else dict(open_safetensors(folder / WEIGHTS))


def load_config(path: str | os.PathLike[str]) -> Config:
    """The config of a folder alone; errors as in `load_folder`."""
    if not Path(path).is_dir():
        raise InvalidInputError(
            f"{os.fspath(path)} is not a folder on this machine; expected one with {CONFIG} and {WEIGHTS}"
        )
    return read_object(Path(path) / CONFIG, CONFIG_BYTES)


def to_bytes(config: Mapping[str, Any], tensors: Mapping[str, Array]) -> bytes:
    """Config and tensors as one safetensors file in memory, the config in its metadata."""
    entries = plan(tensors)
    return b"".join([encode_header(entries, encode_metadata(config)), *iter_data(entries, tensors)])


def from_bytes(data: bytes) -> tuple[Config, dict[str, Array]]:
    """What `to_bytes` was given; the tensors are read-only views of `data`. FileFormatError for anything else."""
    source = "the serialized model"
    data = bytes(data)  # free for bytes; what could be changed later is copied
    opened = SafetensorsFile(data, read_header(io.BytesIO(data), len(data), source), source)
    return decode_metadata(opened), dict(opened)


class _Subset(Mapping[str, Array]):
    """Some of the tensors of a mapping, fetched when asked for."""

    def __init__(self, tensors: Mapping[str, Array], names: list[str]) -> None:
        self.tensors, self.names = tensors, names

    def __getitem__(self, name: str) -> Array:
        return self.tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


def _split(entries: Mapping[str, Entry], max_shard_bytes: int, stem: str) -> dict[str, list[str]]:
    """File names and the sorted names of the tensors in each, filled in order up to the limit."""
    if max_shard_bytes < 1:
        raise InvalidInputError(f"max_shard_bytes is {max_shard_bytes}, expected at least 1")
    shards: list[list[str]] = [[]]
    room = max_shard_bytes
    for name, entry in sorted(entries.items()):
        size = entry.end - entry.begin
        if size > room and shards[-1]:
            shards.append([])
            room = max_shard_bytes
        shards[-1].append(name)
        room -= size
    if len(shards) == 1:
        return {f"{stem}.safetensors": shards[0]}
    return {shard_name(i, len(shards), stem): names for i, names in enumerate(shards, 1)}


def _check_files(folder: Path, expected: set[str]) -> None:
    found = {path.name for path in folder.glob("*.safetensors")}
    if missing := sorted(expected - found):
        raise FileFormatError(f"{folder} lacks {missing[0]} ({len(missing)} of {len(expected)} weight files missing)")
    if surplus := sorted(found - expected):
        raise FileFormatError(f"{folder} holds {show(surplus[0])}, which does not belong to the model; remove it")
