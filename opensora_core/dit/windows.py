"""Attention of Open-Sora v1.3: within frames, and inside windows of space and time, with rope in three dimensions."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..derived import rearrange
from ..nn.attention import Rope, SelfAttention
from ..nn.layers import RmsNorm
from ..ops import Array, Ops

Grid = tuple[int, ...]


class Windows(NamedTuple):
    """How a grid of tokens falls into windows, and where the tokens of a frame and of a window are."""

    grid: Grid  # (T, H, W)
    size: Grid  # (time, height, width) of a window
    frame: Rope  # of the tokens of a frame, (h, w) order
    window: Rope  # of the tokens of a window, (h, w, t) order; places restart in every window

    @classmethod
    def create(cls, ops: Ops, grid: Grid, kernel: Grid, frequencies: Array, scale: float) -> Windows:
        """Windows kernel = (height, width, time) of a grid (T, H, W), -1 for a whole axis; places divided by scale."""
        wanted = (kernel[2], kernel[0], kernel[1])
        size = tuple(n if n > 0 else whole for n, whole in zip(wanted, grid, strict=True))
        frame = rope_3d(ops, frequencies, (1, *grid[1:]), scale, "thw")
        return cls(grid, size, frame, rope_3d(ops, frequencies, size, scale, "hwt"))

    @property
    def padded(self) -> Grid:
        """The grid filled up to whole windows."""
        return tuple(-(-n // m) * m for n, m in zip(self.grid, self.size, strict=True))

    def keys(self) -> NDArray[np.bool_]:
        """Which tokens of every window are there, and not filling: [windows, tokens]."""
        there = np.zeros(self.padded, bool)
        there[tuple(slice(n) for n in self.grid)] = True
        counts = [n for whole, part in zip(self.padded, self.size, strict=True) for n in (whole // part, part)]
        return there.reshape(counts).transpose(2, 4, 0, 3, 5, 1).reshape(-1, int(np.prod(self.size)))


def attend_in_windows(ops: Ops, attn: SelfAttention, x: Array, windows: Windows) -> Array:
    """x [B, T, S, C] -> the same: attention inside windows that do not overlap, filled up with tokens nobody sees."""
    B, _, _, C = x.shape
    T, H, W = windows.grid
    x = ops.reshape(x, (B, T, H, W, C))
    fill = (0, *(n - m for n, m in zip(windows.padded, windows.grid, strict=True)), 0)
    sizes = dict(zip(("pt", "ph", "pw"), windows.size, strict=True))
    rows = rearrange(
        ops, ops.pad(x, (0,) * 5, fill, (0,) * 5), "b (t pt) (h ph) (w pw) c -> b (h w t) (ph pw pt) c", **sizes
    )  # (B, windows, N, C)
    out = attn.proj(ops, _attend(ops, attn, rows, windows))
    counts = [n // m for n, m in zip(windows.padded, windows.size, strict=True)]
    sizes |= dict(zip("thw", counts, strict=True))
    out = rearrange(ops, out, "b (h w t) (ph pw pt) c -> b (t pt) (h ph) (w pw) c", **sizes)
    return ops.reshape(out[:, :T, :H, :W], (B, T, H * W, C))


def _attend(ops: Ops, attn: SelfAttention, rows: Array, windows: Windows) -> Array:
    """Rows [B, windows, N, C] -> heads side by side, [B, windows, N, C]."""
    qkv = ops.reshape(attn.qkv(ops, rows), (*rows.shape[:3], 3, attn.num_heads, -1))
    q, k, v = (ops.permute_dims(qkv[:, :, :, i], (0, 1, 3, 2, 4)) for i in range(3))  # (B, windows, H, N, D)
    q, k = (_placed(ops, norm, y, windows.window) for norm, y in ((attn.q_norm, q), (attn.k_norm, k)))
    keys = windows.keys()
    mask = None if keys.all() else ops.asarray(keys[None, :, None, None, :])
    return ops.reshape(ops.permute_dims(ops.attention(q, k, v, mask=mask), (0, 1, 3, 2, 4)), rows.shape)


def _placed(ops: Ops, norm: RmsNorm | None, x: Array, rope: Rope) -> Array:
    return ops.rotary(x, *rope) if norm is None else ops.rms_norm_rotary(x, norm.weight, *rope)


def rope_3d(ops: Ops, frequencies: Array, sizes: Grid, scale: float, order: str) -> Rope:
    """Rotary tables [T·H·W, D/2] of a box (T, H, W), a third of the channels each for time, height and width.

    scale: divides the places in space. order: in which the tokens lie, outermost axis first, such as "thw".
    """
    places = np.stack(np.meshgrid(*(np.arange(n, dtype=np.float64) for n in sizes), indexing="ij"), axis=-1)
    places[..., 1:] /= scale
    places = places.transpose(*("thw".index(axis) for axis in order), 3).reshape(-1, 3, 1)
    frequencies = ops.widen(frequencies)
    angles = ops.asarray(places, frequencies.dtype) * frequencies  # (N, 3, D/6)
    angles = ops.reshape(angles, (places.shape[0], -1))
    return Rope(ops.cos(angles), ops.sin(angles))
