"""JSON objects, strictly: no repeated keys, no NaN, no surprises on the way back; the same object, the same bytes."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import FileFormatError, InvalidInputError
from .names import show

_DEPTH = 64


def encode_object(value: Mapping[str, Any], what: str, limit: int, *, indent: int | None = 2) -> bytes:
    """The UTF-8 text of an object with its keys sorted; `what` names it in errors.

    Tuples become lists. Raises InvalidInputError, naming the place, for what would not come back as it was (keys that
    are no text, NaN, NumPy scalars, other objects) and for texts longer than `limit` bytes.
    """
    if not isinstance(value, Mapping):
        raise InvalidInputError(f"{what}: expected a mapping, got {type(value).__name__}")
    separators = (",", ":") if indent is None else None
    text = json.dumps(_plain(value, what), sort_keys=True, ensure_ascii=False, indent=indent, separators=separators)
    data = (text if indent is None else text + "\n").encode()
    if len(data) > limit:
        raise InvalidInputError(f"{what} takes {len(data)} bytes, the limit is {limit}")
    return data


def decode_object(data: bytes, source: str) -> dict[str, Any]:
    """The object in a UTF-8 text. FileFormatError for anything but one object without repeated keys, NaN or Inf."""
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse, parse_float=_finite)
        json.dumps(value, ensure_ascii=False).encode()  # finds lone surrogates, which no later write could encode
    except RecursionError as error:
        raise FileFormatError(f"{source}: nested too deeply") from error
    except ValueError as error:  # JSONDecodeError, UnicodeDecodeError, ours, and integers of thousands of digits
        raise FileFormatError(f"{source} is not the JSON expected here: {error}") from error
    if not isinstance(value, dict):
        raise FileFormatError(f"{source}: expected a JSON object, found a {type(value).__name__}")
    return value


def read_object(path: Path, limit: int) -> dict[str, Any]:
    """The object in a file of at most `limit` bytes; FileFormatError as in `decode_object`, or if it is not there."""
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            data = file.read(limit + 1)
    except OSError as error:
        raise FileFormatError(f"cannot read {path}: {error.strerror or error}") from error
    if len(data) > limit:
        raise FileFormatError(f"{path} has {size} bytes, the limit is {limit}")
    return decode_object(data, os.fspath(path))


def _plain(value: Any, where: str, depth: int = 0) -> Any:
    if depth > _DEPTH:
        raise InvalidInputError(f"{where}: nested deeper than {_DEPTH}")
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str) or not _encodable(key):
                raise InvalidInputError(f"{where}: the key {key!r} is not a text")
        return {key: _plain(item, f"{where}.{key}", depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{where}[{i}]", depth + 1) for i, item in enumerate(value)]
    legal = isinstance(value, str) and _encodable(value)
    legal = legal or (isinstance(value, float) and math.isfinite(value))
    if not (legal or value is None or isinstance(value, bool | int)):
        raise InvalidInputError(
            f"{where}: {value!r} ({type(value).__name__}) has no JSON form; use texts, finite numbers, booleans, None, "
            "lists and mappings"
        )
    return value


def _encodable(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for i, name in enumerate(names) if name in set(names[:i]))
        raise ValueError(f"the key {show(repeated)} appears twice")
    return found


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not a JSON number")


def _finite(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise ValueError(f"{show(digits)} is out of the range of float64")
    return value
