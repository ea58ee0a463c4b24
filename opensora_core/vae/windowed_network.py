"""Encoder and decoder of v1.3 under their published names: causal over time and space, by cells in the middle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from ..nn.init import RandomInit
from ..nn.layers import sequential
from ..ops import Array, Ops
from .layers import CausalConv, Conv, GroupNorm, ResidualBlock
from .stages import Downsample
from .windowed_layers import CellAttention, SpatialDownsample, SpatialUpsample, Upsample3D, UpsampleSmoothing

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
class MidBlock:
    """Residual block, attention, residual block."""

    block_1: Block
    attn_1: CellAttention
    block_2: Block

    @classmethod
    def create(cls, init: RandomInit, channels: int, groups: int) -> MidBlock:
        """All of one width."""
        first, second = Block.chain(init, channels, channels, 2, groups, CausalConv.create)
        return cls(first, CellAttention.create(init, channels, groups), second)

    def __call__(self, ops: Ops, x: Array) -> Array:
        """x [B, C, T, H, W] of the same shape back."""
        return sequential(ops, (self.block_1, self.attn_1, self.block_2), x)


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
    mid: MidBlock
    norm_out: GroupNorm
    conv_out: CausalConv

    @classmethod
    def create(cls, init: RandomInit, sizes: Sizes) -> Encoder:
        """Pixels shrink after all levels but the last, frames after those between."""
        widths, levels = sizes.widths, []
        for level, (fan_in, out) in enumerate(zip((widths[0], *widths), widths, strict=False)):
            blocks = Block.chain(init, fan_in, out, sizes.blocks, sizes.groups, CausalConv.create)
            both = CausalConv.create(init, out, out, 3, stride=(2, 2, 2)) if 0 < level < len(widths) - 1 else None
            levels.append(DownLevel(blocks, Downsample(both) if both else None))
        levels[0] = DownLevel(levels[0].block, SpatialDownsample.create(init, widths[0]))
        return cls(
            CausalConv.create(init, sizes.in_channels, widths[0], 3),
            tuple(levels),
            MidBlock.create(init, widths[-1], sizes.groups),
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
    mid: MidBlock
    up: tuple[UpLevel, ...]
    norm_out: GroupNorm
    conv_out: Conv

    @classmethod
    def create(cls, init: RandomInit, sizes: Sizes) -> Decoder:
        """Frames and pixels grow after the two coarsest levels, pixels alone after the next one."""
        widths, levels = sizes.widths, []
        for level, (fan_in, out) in enumerate(zip((*widths[1:], widths[-1]), widths, strict=True)):
            blocks = Block.chain(init, fan_in, out, sizes.blocks + 1, sizes.groups, CausalConv.create)
            smooth = UpsampleSmoothing.create(init, out, sizes.groups) if level > 1 else None
            levels.append(UpLevel(blocks, Upsample3D(smooth) if smooth else None))
        levels[1] = UpLevel(levels[1].block, SpatialUpsample.create(init, widths[1]))
        return cls(
            CausalConv.create(init, sizes.in_channels, widths[-1], 3),
            MidBlock.create(init, widths[-1], sizes.groups),
            tuple(levels),
            GroupNorm.create(init, widths[0], sizes.groups),
            Conv.create(init, widths[0], sizes.out_channels, (3, 3, 3), low=(2, 1, 1), high=(0, 1, 1)),
        )

    def __call__(self, ops: Ops, z: Array) -> Array:
        """z [B, C, T', h, w] -> [B, 3, 4T' - 3, 8h, 8w]."""
        x = sequential(ops, (self.conv_in, self.mid, *reversed(self.up)), z)
        return self.conv_out(ops, self.norm_out.silu(ops, x))[:, :, LOST:]
