"""Reading safetensors files: memory-mapped on demand, or whole."""

from __future__ import annotations

import mmap
import os
import stat
from collections.abc import Iterator, Mapping
from io import BufferedReader
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import FileFormatError, InvalidInputError, NonFiniteError, WeightsError
from .dtypes import NUMPY_DTYPES, is_float
from .header import LIMITS, Entry, Header, Limits, read_header
from .names import closest, show

Array = NDArray[Any]
_CHUNK = 2**20  # elements looked at at once


class SafetensorsFile(Mapping[str, Array]):
    """The tensors of one file by name, in the order of their data; each is a read-only view made when asked for.

    Arrays stay valid after `close()`, which only forgets the mapping; the memory goes when the last array does. The
    file must not be shortened in place meanwhile (files written by this library are replaced, never changed).
    """

    def __init__(self, buffer: mmap.mmap | bytes, header: Header, source: str) -> None:
        self._buffer: mmap.mmap | bytes | None = buffer
        self._header = header
        self.source = source

    @property
    def metadata(self) -> dict[str, str]:
        """The texts stored beside the tensors."""
        return dict(self._header.metadata)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every tensor; touches no data."""
        return {name: entry.shape for name, entry in self._header.entries.items()}

    @property
    def dtypes(self) -> dict[str, np.dtype[Any]]:
        """The dtype of every tensor; touches no data."""
        return {name: NUMPY_DTYPES[entry.dtype] for name, entry in self._header.entries.items()}

    def __getitem__(self, name: str) -> Array:
        if self._buffer is None:
            raise InvalidInputError(f"{self.source} is closed")
        entry = self._header.entries.get(name)
        if entry is None:
            raise WeightsError(f"{self.source} has no tensor {show(name)}{closest(name, self._header.entries)}")
        return _view(self._buffer, self._header.data_start, entry, f"{self.source}: tensor {show(name)}")

    def __contains__(self, name: object) -> bool:
        return name in self._header.entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._header.entries)

    def __len__(self) -> int:
        return len(self._header.entries)

    def __repr__(self) -> str:
        return f"<SafetensorsFile {self.source}: {len(self)} tensors>"

    def __enter__(self) -> SafetensorsFile:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Forget the mapping; arrays already handed out stay valid."""
        self._buffer = None


def open_safetensors(
    path: str | os.PathLike[str], *, limits: Limits = LIMITS, check_finite: bool = False
) -> SafetensorsFile:
    """Open a safetensors file; reads its header, maps the data, and touches a tensor only when it is asked for.

    Raises InvalidInputError if there is no such regular file, FileFormatError if it breaks the format or a limit, and
    NonFiniteError if `check_finite` is set (that reads all data) and a tensor holds NaN or Inf.
    """
    source = os.fspath(path)
    with _open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        header = read_header(file, size, source, limits)
        tensors = SafetensorsFile(_map(file, size, source), header, source)
    if check_finite:
        require_finite(tensors, source)
    return tensors


def read_safetensors(
    path: str | os.PathLike[str], *, limits: Limits = LIMITS, check_finite: bool = False
) -> dict[str, Array]:
    """All tensors of a file as ordinary arrays in memory, independent of the file; errors as in `open_safetensors`."""
    source = os.fspath(path)
    with _open_regular(path) as file:
        header = read_header(file, os.fstat(file.fileno()).st_size, source, limits)
        tensors = {}
        for name, entry in header.entries.items():  # in the order of their data: one pass over the file
            tensors[name] = _read(file, entry, f"{source}: tensor {show(name)}")
    if check_finite:
        require_finite(tensors, source)
    return tensors


def require_finite(tensors: Mapping[str, Array], source: str) -> None:
    """Raise NonFiniteError naming the first tensor that holds NaN or Inf, where, and how many."""
    for name in tensors:
        array = tensors[name]
        if not is_float(array.dtype):
            continue
        flat = array.reshape(-1)
        first, count = None, 0
        for start in range(0, flat.size, _CHUNK):
            bad = ~np.isfinite(flat[start : start + _CHUNK])
            if first is None and bad.any():
                first = start + int(bad.argmax())
            count += int(np.count_nonzero(bad))
        if first is not None:
            index = [int(i) for i in np.unravel_index(first, array.shape)]
            raise NonFiniteError(
                f"{source}: tensor {show(name)} holds {flat[first]} at {index}; {count} of its {flat.size} numbers are "
                "not finite. Did the training diverge, or the conversion to a narrower dtype overflow?"
            )


def _open_regular(path: str | os.PathLike[str]) -> BufferedReader:
    try:
        regular = stat.S_ISREG(os.stat(path).st_mode)  # first, because opening a pipe would wait for its writer
        file = open(path, "rb") if regular else None  # noqa: SIM115
    except FileNotFoundError as error:
        raise InvalidInputError(f"cannot read {os.fspath(path)}: there is no such file") from error
    except (OSError, ValueError) as error:  # no permission; a null byte
        raise InvalidInputError(f"cannot read {os.fspath(path)!r}: {error}") from error
    if file is None:
        raise InvalidInputError(
            f"cannot read {os.fspath(path)}: it is a folder or device, expected a .safetensors file"
        )
    return file


def _map(file: BufferedReader, size: int, source: str) -> mmap.mmap:
    try:
        return mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise FileFormatError(f"{source}: cannot map its {size} bytes: {error}") from error


def _view(buffer: mmap.mmap | bytes, data_start: int, entry: Entry, what: str) -> Array:
    dtype = NUMPY_DTYPES[entry.dtype]
    count = (entry.end - entry.begin) // dtype.itemsize
    if count == 0:
        array: Array = np.empty(entry.shape, dtype)
    else:
        array = np.frombuffer(buffer, dtype, count, data_start + entry.begin).reshape(entry.shape)
        if not array.flags.aligned:  # possible in files written by others; compiled kernels cannot use it
            array = array.copy()
    array.flags.writeable = False
    return _checked(array, what)


def _read(file: BufferedReader, entry: Entry, what: str) -> Array:
    array: Array = np.empty(entry.shape, NUMPY_DTYPES[entry.dtype])
    if array.size and file.readinto(array.reshape(-1).view(np.uint8).data) != array.nbytes:
        raise FileFormatError(f"{what}: the file became shorter while it was read")
    return _checked(array, what)


def _checked(array: Array, what: str) -> Array:
    """A byte that is neither 0 nor 1 is no bool and would make NumPy's results depend on its bits."""
    if array.dtype == np.bool_ and array.size and array.view(np.uint8).max() > 1:
        raise FileFormatError(f"{what}: a bool is stored as {array.view(np.uint8).max()}; expected 0 or 1")
    return array
