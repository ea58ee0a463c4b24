"""Writing safetensors files: the same tensors give the same bytes, and a file appears whole or not at all.

The format is written here and not by the safetensors library, because that one wants all tensors in memory at once,
writes several metadata keys in random order, and writes straight onto the final name. The layout is the library's: the
bytes are identical to what it writes for the same tensors and at most one metadata key.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInputError
from .atomic import atomic_file
from .dtypes import NUMPY_DTYPES, dtype_name
from .header import LIMITS, METADATA_KEY, Entry
from .names import name_problem, show, value_problem

Array = NDArray[Any]


def write_safetensors(
    path: str | os.PathLike[str], tensors: Mapping[str, Array], metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors to a file, one after another: a lazy mapping is asked for each tensor twice and never holds two.

    Bit-exact for float64, float32, float16, bfloat16, int64, int32, int16, int8, uint8 and bool of any shape, strides
    and byte order. Raises InvalidInputError for other dtypes, for names or metadata that `open_safetensors` would
    refuse, and for places that cannot be written to.
    """
    entries = plan(tensors)
    header = encode_header(entries, metadata or {})
    with atomic_file(path) as temporary, open(temporary, "wb") as file:
        file.write(header)
        for data in iter_data(entries, tensors):
            file.write(data)


def plan(tensors: Mapping[str, Array]) -> dict[str, Entry]:
    """Where each tensor goes: widest dtype first, so that all are aligned, then by name."""
    described = [_describe(name, tensors[name]) for name in tensors]
    if len(described) > LIMITS.entries:
        raise InvalidInputError(f"{len(described)} tensors are more than the {LIMITS.entries} one file may hold")
    order = list(NUMPY_DTYPES)
    entries, at = {}, 0
    for name, dtype, shape in sorted(described, key=lambda item: (order.index(item[1]), item[0])):
        end = at + math.prod(shape) * NUMPY_DTYPES[dtype].itemsize
        entries[name] = Entry(dtype, shape, at, end)
        at = end
    return entries


def encode_header(entries: Mapping[str, Entry], metadata: Mapping[str, str]) -> bytes:
    """Length and header, padded with blanks so that the data starts at a multiple of 8 bytes."""
    _check_metadata(metadata)
    header: dict[str, object] = {METADATA_KEY: dict(sorted(metadata.items()))} if metadata else {}
    for name, entry in entries.items():
        offsets = [entry.begin, entry.end]
        header[name] = {"dtype": entry.dtype, "shape": list(entry.shape), "data_offsets": offsets}
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > LIMITS.header_bytes:
        raise InvalidInputError(f"names and metadata take {len(text)} bytes, the limit is {LIMITS.header_bytes}")
    return len(text).to_bytes(8, "little") + text


def iter_data(entries: Mapping[str, Entry], tensors: Mapping[str, Array]) -> Iterator[memoryview]:
    """The bytes of each tensor in turn; only one that is not contiguous is copied."""
    for name, entry in entries.items():
        array = tensors[name]
        if _describe(name, array)[1:] != (entry.dtype, entry.shape):
            raise InvalidInputError(f"tensor {show(name)} changed its shape or dtype while it was being written")
        if array.size:
            dense = np.ascontiguousarray(array, NUMPY_DTYPES[entry.dtype])
            yield dense.reshape(-1).view(np.uint8).data


def _describe(name: str, array: Array) -> tuple[str, str, tuple[int, ...]]:
    if not isinstance(name, str):
        raise InvalidInputError(f"the name {name!r} of a tensor is not a text")
    if problem := name_problem(name, LIMITS.name_length):
        raise InvalidInputError(f"the name {show(name)} of a tensor is refused: {problem}")
    if name == METADATA_KEY:
        raise InvalidInputError(f"the name {METADATA_KEY!r} is taken by the format; rename the tensor")
    if not isinstance(array, np.ndarray | np.generic):
        raise InvalidInputError(f"tensor {show(name)}: expected a NumPy array, got {type(array).__name__}")
    if array.ndim > LIMITS.rank:
        raise InvalidInputError(f"tensor {show(name)} has {array.ndim} axes, the limit is {LIMITS.rank}")
    return name, dtype_name(array.dtype, name), array.shape


def _check_metadata(metadata: Mapping[str, str]) -> None:
    if len(metadata) > LIMITS.metadata_entries:
        raise InvalidInputError(f"{len(metadata)} metadata keys are more than the limit of {LIMITS.metadata_entries}")
    for key, value in metadata.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise InvalidInputError(f"metadata {key!r}: {value!r} is refused: both must be text")
        if problem := name_problem(key, LIMITS.name_length) or value_problem(value):
            raise InvalidInputError(f"metadata {show(key)} is refused: {problem}")
