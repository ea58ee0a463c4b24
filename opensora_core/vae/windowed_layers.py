"""Layers of the autoencoder of v1.3 alone: its attention, and how it changes the number of frames and pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..nn.init import RandomInit
from ..ops import Array, Ops
from .attention import causal_attention, to_tokens
from .layers import CausalConv, Conv, GroupNorm, nearest, per_frame

UPSAMPLED_EPS = 1e-5


@dataclass(frozen=True)
class CellAttention:
    """Self-attention of one head in which a cell sees itself and those before it: earlier frames, rows and columns."""

    norm: GroupNorm
    q: CausalConv
    k: CausalConv
    v: CausalConv
    proj_out: CausalConv

    @classmethod
    def create(cls, init: RandomInit, channels: int, groups: int) -> CellAttention:
        """One head as wide as the channels."""
        q, k, v, out = (CausalConv.create(init, channels, channels, 1) for _ in range(4))
        return cls(GroupNorm.create(init, channels, groups), q, k, v, out)

    def __call__(self, ops: Ops, x: Array) -> Array:
        """x [B, C, T, H, W] of the same shape back."""
        y = self.norm(ops, x)
        q, k, v = (to_tokens(ops, conv(ops, y)) for conv in (self.q, self.k, self.v))  # (B, N, C)
        y = causal_attention(ops, q, k, v, math.prod(x.shape[-2:]), by_token=True)
        return x + self.proj_out(ops, ops.reshape(ops.permute_dims(y, (0, 2, 1)), x.shape))


@dataclass(frozen=True)
class SpatialDownsample:
    """Half as many pixels a side, frame by frame; one row and column of zeros at the bottom and on the right."""

    conv: Conv

    @classmethod
    def create(cls, init: RandomInit, channels: int) -> SpatialDownsample:
        """Keeps the channels."""
        return cls(Conv.create(init, channels, channels, (3, 3), stride=(2, 2), low=(0, 0), high=(1, 1)))

    def __call__(self, ops: Ops, x: Array) -> Array:
        """x [B, C, T, H, W] -> [B, C, T, H/2, W/2]."""
        return per_frame(ops, x, self.conv)


@dataclass(frozen=True)
class SpatialUpsample:
    """Twice as many pixels a side, frame by frame."""

    conv: Conv

    @classmethod
    def create(cls, init: RandomInit, channels: int) -> SpatialUpsample:
        """Keeps the channels."""
        return cls(Conv.create(init, channels, channels, (3, 3)))

    def __call__(self, ops: Ops, x: Array) -> Array:
        """x [B, C, T, H, W] -> [B, C, T, 2H, 2W]."""
        return per_frame(ops, nearest(ops, x, (1, 2, 2)), self.conv)


@dataclass(frozen=True)
class UpsampleSmoothing:
    """silu(norm2(conv2(silu(norm1(conv1(x))))) + x)."""

    conv1: CausalConv
    norm1: GroupNorm
    conv2: CausalConv
    norm2: GroupNorm

    @classmethod
    def create(cls, init: RandomInit, channels: int, groups: int) -> UpsampleSmoothing:
        """Keeps the channels."""
        conv1, conv2 = (CausalConv.create(init, channels, channels, 3) for _ in range(2))
        norm1, norm2 = (GroupNorm.create(init, channels, groups, UPSAMPLED_EPS) for _ in range(2))
        return cls(conv1, norm1, conv2, norm2)

    def __call__(self, ops: Ops, x: Array) -> Array:
        """x [B, C, T, H, W] of the same shape back."""
        y = self.norm1.silu(ops, self.conv1(ops, x))
        return ops.silu(self.norm2(ops, self.conv2(ops, y)) + x)


@dataclass(frozen=True)
class Upsample3D:
    """Twice as many frames and pixels a side, and what `UpsampleSmoothing` makes of them added."""

    conv3d: UpsampleSmoothing

    def __call__(self, ops: Ops, x: Array) -> Array:
        """x [B, C, T, H, W] -> [B, C, 2T, 2H, 2W]."""
        x = nearest(ops, x, (2, 2, 2))
        return x + self.conv3d(ops, x)
