"""Open-Sora's buckets: resolution x frames x aspect ratio, each file falling into the first that will have it.

A config is `{resolution: {num_frames: (keep, batch_size)}}`, or `((keep, length), batch_size)`: a file that is large
and long enough for a bucket stays in it with the probability `keep` and else falls through to the next smaller
resolution; with the probability 1 - `length` it passes over this number of frames, to the next shorter one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...checks import number, whole
from ...errors import InvalidInputError
from .resolutions import Resolution, resolutions

LEAST_SHARE = 0.8  # of a resolution's nominal pixels that a file must have: nothing is enlarged by much

BucketId = tuple[str, int, str]
"""Resolution, frames, aspect ratio."""


@dataclass(frozen=True)
class Row:
    """One number of frames at one resolution; `length` None: every file that is long enough stops here."""

    number: int  # of the row in the whole table, part of its seed
    num_frames: int
    keep: float
    length: float | None
    batch_size: int


class BucketConfig:
    """The table of buckets, the largest resolution first and the longest clips first.

    Raises InvalidInputError for an unknown resolution and for numbers that are not legal.
    """

    def __init__(self, config: Mapping[str, Mapping[Any, Any]]) -> None:
        if not isinstance(config, Mapping) or not config:
            raise InvalidInputError(f"bucket_config={config!r} must be a table of resolutions, such as 144p")
        self._rows: list[tuple[Resolution, list[Row]]] = []
        first = 0
        for resolution in sorted(map(_resolution, config), key=lambda r: r.pixels, reverse=True):
            rows = _rows(resolution.name, config[resolution.name], first)
            self._rows.append((resolution, rows))
            first += len(rows)

    @property
    def num_buckets(self) -> int:
        """How many buckets there are, each aspect ratio being one."""
        return sum(len(resolution.sizes) * len(rows) for resolution, rows in self._rows)

    def bucket_id(self, num_frames: int, height: int, width: int, interval: int = 1, seed: int = 0) -> BucketId | None:
        """The bucket of a file of so many frames of this size, None when none will have it; the same seed, the same.

        interval: every how many frames one is taken.
        """
        for resolution, rows in self._rows:
            if height * width < LEAST_SHARE * resolution.pixels:
                continue
            row = _image_row(rows, seed) if num_frames == 1 else _video_row(rows, num_frames, interval, seed)
            if row is not None:
                return resolution.name, row.num_frames, resolution.closest_ratio(height, width)
        return None

    def size(self, bucket: BucketId) -> tuple[int, int, int]:
        """Frames, height and width of a bucket."""
        name, num_frames, ratio = bucket
        return (num_frames, *resolutions()[name].sizes[ratio])

    def batch_size(self, bucket: BucketId) -> int:
        """How many files of a bucket make a batch."""
        rows = next(rows for resolution, rows in self._rows if resolution.name == bucket[0])
        return next(row.batch_size for row in rows if row.num_frames == bucket[1])


def _image_row(rows: list[Row], seed: int) -> Row | None:
    for row in rows:
        if row.num_frames == 1 and np.random.default_rng(seed + row.number).random() < row.keep:
            return row
    return None


def _video_row(rows: list[Row], num_frames: int, interval: int, seed: int) -> Row | None:
    for row in rows:
        rng = np.random.default_rng(seed + row.number)
        if row.length is not None and rng.random() > row.length:
            continue
        if num_frames > row.num_frames * interval and row.num_frames != 1:
            return row if row.keep >= 1 or rng.random() < row.keep else None
    return None


def _resolution(name: Any) -> Resolution:
    known = resolutions()
    if name not in known:
        raise InvalidInputError(f"bucket_config: resolution {name!r} is not one of {', '.join(known)}")
    return known[name]


def _rows(resolution: str, cells: Any, first: int) -> list[Row]:
    if not isinstance(cells, Mapping) or not cells:
        raise InvalidInputError(f"bucket_config {resolution}: {cells!r} must be a table, frames = [keep, batch_size]")
    found = ((_frames(resolution, key), cell) for key, cell in cells.items())
    by_length = sorted(found, key=lambda item: item[0], reverse=True)
    return [_row(resolution, first + i, n, cell) for i, (n, cell) in enumerate(by_length)]


def _frames(resolution: str, key: Any) -> int:
    """A number of frames; the keys of TOML are text."""
    frames = int(key) if isinstance(key, str) and key.isdecimal() else key
    return whole(f"bucket_config {resolution}: frames", frames, 1)


def _row(resolution: str, index: int, num_frames: int, cell: Any) -> Row:
    where = f"bucket_config {resolution}, {num_frames} frames"
    if not isinstance(cell, list | tuple) or len(cell) != 2:
        raise InvalidInputError(f"{where}: {cell!r} must be [keep, batch_size] or [[keep, length], batch_size]")
    share, batch_size = cell
    keep, length = share if isinstance(share, list | tuple) and len(share) == 2 else (share, None)
    if length is not None:
        number(f"{where}: length", length, 0, 1)
        if num_frames == 1:
            raise InvalidInputError(f"{where}: pictures have no length; write [{keep}, {batch_size}]")
    if number(f"{where}: keep", keep, 0, 1) == 0 and batch_size is None:
        batch_size = 1  # never used: the official configs say None where they keep nothing
    return Row(index, num_frames, float(keep), length, whole(f"{where}: batch_size", batch_size, 1))
