"""Encoder and decoder of v1.3 under their published names: causal over time and space, by cells in the middle."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..nn.init import RandomInit
from ..nn.layers import sequential
from ..ops import Array, Ops
from .attention import causal_attention, to_tokens
from .layers import CausalConv, Conv, GroupNorm, ResidualBlock, nearest, per_frame
from .stages import Shrink

UPSAMPLED_EPS = 1e-5
LOST = 3  # frames that the decoder makes of the first latent frame beyond the first


class Sizes(NamedTuple):
    """in_channels, out_channels: of what goes in and comes out. widths: of the levels, the finest first."""

    in_channels: int
    out_channels: int
    widths: tuple[int, ...]
    blocks: int
    groups: int


@dataclass(frozen=True)
class Block(ResidualBlock):
    """A residual block under the names of v1.3."""

    nin_shortcut: CausalConv | None = None
    SHORTCUT = "nin_shortcut"


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
class Middle:
    """Residual block, attention, residual block."""

    block_1: Block
    attn_1: CellAttention
    block_2: Block

    @classmethod
    def create(cls, init: RandomInit, channels: int, groups: int) -> Middle:
        """All of one width."""
        first, second = _blocks(init, channels, channels, 2, groups)
        return cls(first, CellAttention.create(init, channels, groups), second)

    def __call__(self, ops: Ops, x: Array) -> Array:
        """x [B, C, T, H, W] of the same shape back."""
        return sequential(ops, (self.block_1, self.attn_1, self.block_2), x)


@dataclass(frozen=True)
class ShrinkFrames:
    """Half as many pixels a side, frame by frame; one row and column of zeros at the bottom and on the right."""

    conv: Conv

    @classmethod
    def create(cls, init: RandomInit, channels: int) -> ShrinkFrames:
        """Keeps the channels."""
        return cls(Conv.create(init, channels, channels, (3, 3), stride=(2, 2), low=(0, 0), high=(1, 1)))

    def __call__(self, ops: Ops, x: Array) -> Array:
        """x [B, C, T, H, W] -> [B, C, T, H/2, W/2]."""
        return per_frame(ops, x, self.conv)


@dataclass(frozen=True)
class GrowFrames:
    """Twice as many pixels a side, frame by frame."""

    conv: Conv

    @classmethod
    def create(cls, init: RandomInit, channels: int) -> GrowFrames:
        """Keeps the channels."""
        return cls(Conv.create(init, channels, channels, (3, 3)))

    def __call__(self, ops: Ops, x: Array) -> Array:
        """x [B, C, T, H, W] -> [B, C, T, 2H, 2W]."""
        return per_frame(ops, nearest(ops, x, (1, 2, 2)), self.conv)


@dataclass(frozen=True)
class Smooth:
    """silu(norm2(conv2(silu(norm1(conv1(x))))) + x)."""

    conv1: CausalConv
    norm1: GroupNorm
    conv2: CausalConv
    norm2: GroupNorm

    @classmethod
    def create(cls, init: RandomInit, channels: int, groups: int) -> Smooth:
        """Keeps the channels."""
        conv1, conv2 = (CausalConv.create(init, channels, channels, 3) for _ in range(2))
        norm1, norm2 = (GroupNorm.create(init, channels, groups, UPSAMPLED_EPS) for _ in range(2))
        return cls(conv1, norm1, conv2, norm2)

    def __call__(self, ops: Ops, x: Array) -> Array:
        """x [B, C, T, H, W] of the same shape back."""
        y = self.norm1.silu(ops, self.conv1(ops, x))
        return ops.silu(self.norm2(ops, self.conv2(ops, y)) + x)


@dataclass(frozen=True)
class GrowAll:
    """Twice as many frames and pixels a side, and what `Smooth` makes of them added."""

    conv3d: Smooth

    def __call__(self, ops: Ops, x: Array) -> Array:
        """x [B, C, T, H, W] -> [B, C, 2T, 2H, 2W]."""
        x = nearest(ops, x, (2, 2, 2))
        return x + self.conv3d(ops, x)


@dataclass(frozen=True)
class DownLevel:
    """Residual blocks, then (but for the coarsest level) what shrinks."""

    block: tuple[Block, ...]
    downsample: Any = None

    def __call__(self, ops: Ops, x: Array) -> Array:
        """x [B, in, T, H, W] -> [B, out, ...], smaller."""
        return sequential(ops, self.block if self.downsample is None else (*self.block, self.downsample), x)


@dataclass(frozen=True)
class UpLevel:
    """Residual blocks, then (but for the finest level) what grows."""

    block: tuple[Block, ...]
    upsample: Any = None

    def __call__(self, ops: Ops, x: Array) -> Array:
        """x [B, in, T, H, W] -> [B, out, ...], larger."""
        return sequential(ops, self.block if self.upsample is None else (*self.block, self.upsample), x)


@dataclass(frozen=True)
class Encoder:
    """Pixels to the moments of the latents; levels from the finest to the coarsest."""

    conv_in: CausalConv
    down: tuple[DownLevel, ...]
    mid: Middle
    norm_out: GroupNorm
    conv_out: CausalConv

    @classmethod
    def create(cls, init: RandomInit, sizes: Sizes) -> Encoder:
        """Pixels shrink after all levels but the last, frames after those between."""
        widths, levels = sizes.widths, []
        for level, (fan_in, out) in enumerate(zip((widths[0], *widths), widths, strict=False)):
            blocks = _blocks(init, fan_in, out, sizes.blocks, sizes.groups)
            both = CausalConv.create(init, out, out, 3, stride=(2, 2, 2)) if 0 < level < len(widths) - 1 else None
            levels.append(DownLevel(blocks, Shrink(both) if both else None))
        levels[0] = DownLevel(levels[0].block, ShrinkFrames.create(init, widths[0]))
        return cls(
            CausalConv.create(init, sizes.in_channels, widths[0], 3),
            tuple(levels),
            Middle.create(init, widths[-1], sizes.groups),
            GroupNorm.create(init, widths[-1], sizes.groups),
            CausalConv.create(init, widths[-1], sizes.out_channels, 3),
        )

    def __call__(self, ops: Ops, x: Array) -> Array:
        """x [B, 3, T, H, W] -> [B, 2C, T', H/8, W/8]."""
        x = sequential(ops, (self.conv_in, *self.down, self.mid), x)
        return self.conv_out(ops, self.norm_out.silu(ops, x))


@dataclass(frozen=True)
class Decoder:
    """Latents to pixels; levels are numbered as in the encoder and run from the coarsest to the finest."""

    conv_in: CausalConv
    mid: Middle
    up: tuple[UpLevel, ...]
    norm_out: GroupNorm
    conv_out: Conv

    @classmethod
    def create(cls, init: RandomInit, sizes: Sizes) -> Decoder:
        """Frames and pixels grow after the two coarsest levels, pixels alone after the next one."""
        widths, levels = sizes.widths, []
        for level, (fan_in, out) in enumerate(zip((*widths[1:], widths[-1]), widths, strict=True)):
            blocks = _blocks(init, fan_in, out, sizes.blocks + 1, sizes.groups)
            smooth = Smooth.create(init, out, sizes.groups) if level > 1 else None
            levels.append(UpLevel(blocks, GrowAll(smooth) if smooth else None))
        levels[1] = UpLevel(levels[1].block, GrowFrames.create(init, widths[1]))
        return cls(
            CausalConv.create(init, sizes.in_channels, widths[-1], 3),
            Middle.create(init, widths[-1], sizes.groups),
            tuple(levels),
            GroupNorm.create(init, widths[0], sizes.groups),
            Conv.create(init, widths[0], sizes.out_channels, (3, 3, 3), low=(2, 1, 1), high=(0, 1, 1)),
        )

    def __call__(self, ops: Ops, z: Array) -> Array:
        """z [B, C, T', h, w] -> [B, 3, 4T' - 3, 8h, 8w]."""
        x = sequential(ops, (self.conv_in, self.mid, *reversed(self.up)), z)
        return self.conv_out(ops, self.norm_out.silu(ops, x))[:, :, LOST:]


def _blocks(init: RandomInit, fan_in: int, out: int, count: int, groups: int) -> tuple[Any, ...]:
    widths = (fan_in, *(out,) * (count - 1))
    return tuple(Block.create(init, width, out, groups, CausalConv.create) for width in widths)
