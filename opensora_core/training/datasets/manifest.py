"""Manifests of training data in Open-Sora's columns: path, text, and perhaps num_frames, height, width, fps."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import InvalidInputError, MissingDependencyError

NEEDED = ("path", "text")
NUMBERS = ("num_frames", "height", "width", "fps")


@dataclass(frozen=True)
class Row:
    """What a manifest says of one file: its path, relative to the manifest, and caption; 0 where it is silent."""

    path: str
    text: str
    num_frames: int
    height: int
    width: int
    fps: float


def read_rows(path: Path) -> list[Row]:
    """The rows of a .csv or .parquet manifest; columns beyond those above may be there and are not looked at.

    Raises InvalidInputError for another kind of file, one that cannot be read and one without the columns path and
    text, MissingDependencyError for Parquet without pyarrow.
    """
    read = MANIFESTS.get(path.suffix.lower())
    if read is None:
        raise InvalidInputError(f"data={str(path)!r} must be a folder or a manifest, {' or '.join(MANIFESTS)}")
    return [_row(path, number, values) for number, values in enumerate(read(path), 1)]


def _csv(path: Path) -> Iterator[Mapping[str, Any]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            _check_columns(path, reader.fieldnames or [])
            yield from reader
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidInputError(f"the manifest {path} cannot be read: {error}") from error


def _parquet(path: Path) -> Iterator[Mapping[str, Any]]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        remedy = "pip install 'opensora-core[parquet]', or save the manifest as .csv"
        raise MissingDependencyError(f"reading {path} needs pyarrow: {remedy}", name="pyarrow") from error
    try:
        with parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            _check_columns(path, names)
            wanted = [name for name in (*NEEDED, *NUMBERS) if name in names]
            for batch in file.iter_batches(columns=wanted):
                yield from batch.to_pylist()
    except (OSError, ArrowException) as error:
        raise InvalidInputError(f"the manifest {path} cannot be read: {error}") from error


MANIFESTS = {".csv": _csv, ".parquet": _parquet}


def _check_columns(path: Path, names: Sequence[str]) -> None:
    if missing := [name for name in NEEDED if name not in names]:
        raise InvalidInputError(f"{path} lacks the columns {', '.join(missing)}; it has {', '.join(names) or 'none'}")


def _row(path: Path, number: int, values: Mapping[str, Any]) -> Row:
    name, text = (str(values[key] or "").strip() for key in NEEDED)
    num_frames, height, width, fps = (_number(path, number, key, values.get(key)) for key in NUMBERS)
    return Row(name, text, int(num_frames), int(height), int(width), fps)


def _number(path: Path, row: int, name: str, value: Any) -> float:
    try:
        number = float(value or 0)
    except (TypeError, ValueError):
        number = -1.0
    if math.isnan(number):  # how pandas writes what it does not know
        return 0.0
    if not 0 <= number < math.inf:
        raise InvalidInputError(f"row {row} of {path}: {name}={value!r} must be a number of at least 0, or empty")
    return number
