"""A config and tensors in one safetensors file, the config as JSON in its metadata."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from ..errors import FileFormatError
from .jsonfile import decode_object, encode_object
from .reader import SafetensorsFile, open_safetensors
from .writer import write_safetensors

Array = NDArray[Any]
KEY = "config"  # of the metadata
CONFIG_BYTES = 2**20


def save_single(path: str | os.PathLike[str], config: Mapping[str, Any], tensors: Mapping[str, Array]) -> None:
    """Write a file, whole or not at all; errors as in `write_safetensors`, and for a config that JSON cannot hold."""
    write_safetensors(path, tensors, encode_metadata(config))


def load_single(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, Array]]:
    """Config and tensors of a file; the tensors are read-only and memory-mapped.

    Raises InvalidInputError if there is no such file, FileFormatError if it is damaged or holds no config.
    """
    opened = open_safetensors(path)
    return decode_metadata(opened), dict(opened)


def encode_metadata(config: Mapping[str, Any]) -> dict[str, str]:
    """The metadata that holds a config."""
    return {KEY: encode_object(config, "config", CONFIG_BYTES, indent=None).decode()}


def decode_metadata(opened: SafetensorsFile) -> dict[str, Any]:
    """The config in a file's metadata."""
    if set(opened.metadata) != {KEY}:
        raise FileFormatError(f"{opened.source}: expected {KEY!r} in the metadata, found {sorted(opened.metadata)[:8]}")
    return decode_object(opened.metadata[KEY].encode(), f"the config of {opened.source}")
