"""The comment inside a saved file: how it was made, as one line of ASCII JSON that every container can carry.

ASCII because a GIF comment knows no encoding; JSON because people and programs read it. Reading is lenient: strangers
write comments too, and one that is not ours says nothing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import InvalidInputError

MAX_RECORD_BYTES = 1 << 16  # fits into an EXIF field, a PNG text chunk and an mp4 atom alike
EXIF_DESCRIPTION = 0x010E  # the tag that holds the comment where a format has no field for one
_COUNTS = ("num_frames", "height", "width", "scale")
_MARK = "opensora-video"


@dataclass(frozen=True)
class Record:
    """What a file saved by this library says about itself: size before enlargement and padding, rate and metadata."""

    fps: float
    num_frames: int
    height: int
    width: int
    scale: int = 1
    metadata: dict[str, Any] = field(default_factory=dict)

    def to_comment(self) -> str:
        """The record as one line of ASCII."""
        return json.dumps(
            {
                "format": _MARK,
                "fps": self.fps,
                "num_frames": self.num_frames,
                "height": self.height,
                "width": self.width,
                "scale": self.scale,
                "metadata": self.metadata,
            }
        )

    @classmethod
    def from_comment(cls, comment: object) -> Record | None:
        """The record in a comment, or None when it is not one of ours or is damaged."""
        if isinstance(comment, bytes):
            comment = comment.decode("ascii", errors="replace")
        if not isinstance(comment, str) or _MARK not in comment[:64] or len(comment) > 2 * MAX_RECORD_BYTES:
            return None
        try:
            entries = json.loads(comment.strip("\0 "))
            num_frames, height, width, scale = (_count(entries[key]) for key in _COUNTS)
            rate, metadata = _rate(entries["fps"]), plain_metadata(entries["metadata"])
            return cls(rate, num_frames, height, width, scale, metadata)
        except (ValueError, KeyError, TypeError, RecursionError):
            return None


def plain_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """A deep copy of `metadata` in plain JSON types: NumPy scalars become numbers, tuples lists.

    Raises InvalidInputError when something has no place in JSON, or takes more than `MAX_RECORD_BYTES`.
    """
    if not isinstance(metadata, Mapping):
        raise InvalidInputError(f"metadata is a {type(metadata).__name__}; expected a dict")
    plain = {_key(key): _plain(f"metadata[{key!r}]", value) for key, value in metadata.items()}
    size = len(json.dumps(plain))
    if size > MAX_RECORD_BYTES:
        raise InvalidInputError(f"metadata takes {size:,} bytes as JSON; at most {MAX_RECORD_BYTES:,} fit into a file")
    return plain


def _plain(where: str, value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int | float):
        return _number(where, value)
    if isinstance(value, Mapping):
        return {_key(key): _plain(f"{where}[{key!r}]", item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(f"{where}[{index}]", item) for index, item in enumerate(value)]
    raise InvalidInputError(
        f"{where} is a {type(value).__name__}; metadata holds what JSON holds: text, numbers, true, false, None, lists "
        "and dicts"
    )


def _number(where: str, value: float) -> float:
    if not math.isfinite(value):
        raise InvalidInputError(f"{where} is {value}; JSON has no word for it, use None")
    return value


def _key(key: object) -> str:
    if not isinstance(key, str):
        raise InvalidInputError(f"metadata key {key!r} is a {type(key).__name__}; expected text")
    return key


def _count(value: object) -> int:
    if not isinstance(value, int) or not 0 < value < 1 << 31:
        raise ValueError(value)
    return value


def _rate(value: object) -> float:
    if not isinstance(value, int | float) or not 0 < value <= 1000:
        raise ValueError(value)
    return float(value)
