"""Arrays kept on the disk under the hash of all that they were made of: the same question is answered once."""

from __future__ import annotations

import hashlib
import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import FileFormatError, InvalidInputError, LimitError
from .manifest import sha256
from .reader import open_safetensors
from .writer import write_safetensors

DEFAULT_BYTES = 10 << 30
NAME = "array"  # of the tensor in a file


class ArrayCache:
    """A folder of arrays, each in a file of its own that appears whole or not at all.

    When `limit` bytes are full nothing more is added: files are used again in turn, and throwing out the oldest would
    throw out what is wanted next. Any thread may use it, and several runs may share a folder.
    """

    def __init__(self, folder: Path, limit: int = DEFAULT_BYTES) -> None:
        self.folder, self.limit = folder, limit
        self.is_full = False  # whether something found no room
        self.bytes = 0
        self._sizes: dict[str, int] = {}
        self._lock = threading.Lock()
        for path in folder.glob("??/*.safetensors"):
            self._count(path.stem, path.stat().st_size)

    def get(self, key: str) -> NDArray[Any] | None:
        """The array kept under a key; None for none, and for a damaged one, which `put` then replaces."""
        try:
            return np.array(open_safetensors(self._path(key))[NAME])  # not mapped: thousands of them would stay open
        except (InvalidInputError, FileFormatError, KeyError):
            return None

    def put(self, key: str, array: NDArray[Any]) -> None:
        """Keep an array, as long as there is room."""
        with self._lock:
            self.is_full |= self.bytes + array.nbytes > self.limit
            if self.is_full:
                return
            self._count(key, array.nbytes)
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write_safetensors(path, {NAME: array})
        except LimitError:  # the disk is full before the limit: go on without
            self.is_full = True
        with self._lock:
            self._count(key, path.stat().st_size if path.exists() else 0)

    def _count(self, key: str, size: int) -> None:
        self.bytes += size - self._sizes.get(key, 0)  # of two threads with one key, the second replaces the file
        self._sizes[key] = size

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.safetensors"


def key_of(*parts: Any) -> str:
    """Hash of all that an array is made of: texts and numbers, in order."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


class Contents:
    """Hashes of files by their content, each read once as long as its size and time of change stay."""

    def __init__(self) -> None:
        self._known: dict[tuple[Path, int, int], str] = {}

    def hash(self, path: Path) -> str:
        """sha256 of a file; InvalidInputError for one that cannot be read."""
        try:
            stat = path.stat()
            mark = (path, stat.st_size, stat.st_mtime_ns)
            if mark not in self._known:
                self._known[mark] = sha256(path)
        except OSError as error:
            raise InvalidInputError(f"cannot read {path}: {error.strerror or error}") from error
        return self._known[mark]
