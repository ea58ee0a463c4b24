"""Large videos through a network tile by tile; tiles overlap and are blended linearly where they do.

As in the code of HunyuanVideo, which Open-Sora v2.0 follows. Only the tiles of two rows are held at a time, beside the
result.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ..ops import Array, Ops

Network = Callable[[Array], Array]


class Tile(NamedTuple):
    """Cells of a tile along each of its axes, before and after the network; `overlap` is a share of both."""

    size: int
    result: int
    overlap: float

    @property
    def step(self) -> int:
        """From one tile's start to the next one's."""
        return max(1, int(self.size * (1 - self.overlap)))

    @property
    def blended(self) -> int:
        """Cells of the result that a tile shares with the one before it."""
        return int(self.result * self.overlap)

    @property
    def kept(self) -> int:
        """Cells of the result that a tile adds, the last ones being left to the next tile."""
        return self.result - self.blended


def tiled_space(ops: Ops, x: Array, network: Network, tile: Tile) -> Array:
    """network(x) for x [B, C, T, H, W], computed on square tiles.

    A tile is blended with the one above it, then with the one on its left, both of which are blended already.
    """
    rows: list[Array] = []
    above: list[Array] = []
    for top in range(0, x.shape[3], tile.step):
        row: list[Array] = []
        for index, left in enumerate(range(0, x.shape[4], tile.step)):
            y = network(x[:, :, :, top : top + tile.size, left : left + tile.size])
            y = blend(ops, above[index], y, 3, tile.blended) if above else y
            row.append(blend(ops, row[-1], y, 4, tile.blended) if row else y)
        rows.append(ops.concat([y[:, :, :, : tile.kept, : tile.kept] for y in row], axis=4))
        above = row
    return ops.concat(rows, axis=3)


def tiled_time(ops: Ops, x: Array, network: Network, tile: Tile) -> Array:
    """network(x) for x [B, C, T, H, W], computed on runs of frames.

    Each takes one frame more than `tile` says. The first frame of the result, which a causal network makes from nothing
    before it, is dropped of all but the first run.
    """
    kept: list[Array] = []
    before = None
    for start in range(0, x.shape[2], tile.step):
        y = network(x[:, :, start : start + tile.size + 1])
        if before is None:
            kept.append(y[:, :, : tile.kept + 1])
        else:
            y = blend(ops, before, y[:, :, 1:], 2, tile.blended)
            kept.append(y[:, :, : tile.kept])
        before = y
    return ops.concat(kept, axis=2)


def blend(ops: Ops, before: Array, after: Array, axis: int, extent: int) -> Array:
    """`after`, its first `extent` cells along an axis fading in from the last ones of `before`."""
    extent = min(before.shape[axis], after.shape[axis], extent)
    if not extent:
        return after
    weight = np.reshape(np.arange(extent) / extent, [extent if i == axis else 1 for i in range(after.ndim)])
    fading = ops.asarray(weight, after.dtype)
    first = _part(before, axis, before.shape[axis] - extent, before.shape[axis]) * (1.0 - fading)
    mixed = first + _part(after, axis, 0, extent) * fading
    return ops.concat([mixed, _part(after, axis, extent, after.shape[axis])], axis=axis)


def _part(x: Array, axis: int, start: int, stop: int) -> Array:
    return x[tuple(slice(start, stop) if i == axis else slice(None) for i in range(x.ndim))]
