"""Encoder and decoder under the names of diffusers' AutoencoderKL: that of images, and Hunyuan's of video.

Both are one network; what differs, how it convolves, shrinks and grows, is handed in as a `Kind`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from ..nn.init import RandomInit
from ..nn.layers import sequential
from ..ops import Array, Ops
from .attention import MidAttention
from .layers import GroupNorm, Layer, ResidualBlock


@dataclass(frozen=True)
class Block(ResidualBlock):
    """A residual block under diffusers' names."""

    conv_shortcut: Layer | None = None
    SHORTCUT = "conv_shortcut"


class Sizes(NamedTuple):
    """in_channels, out_channels: of what goes in and comes out. channels: of each level. blocks: per level."""

    in_channels: int
    out_channels: int
    channels: Sequence[int]
    blocks: int
    groups: int


class Kind(Protocol):
    """What differs between images and video; levels count from 0, the first of encoder or decoder."""

    def conv(self, init: RandomInit, fan_in: int, out: int, kernel: int) -> Any:
        """Return a convolution that keeps the size."""

    def downsample(self, init: RandomInit, channels: int, level: int) -> Any:
        """Return the layer after an encoder's level."""

    def upsample(self, init: RandomInit, channels: int, level: int) -> Any:
        """Return the layer after a decoder's level."""


@dataclass(frozen=True)
class Downsample:
    """A strided convolution under the name `conv`."""

    conv: Layer

    def __call__(self, ops: Ops, x: Array) -> Array:
        """x [B, C, ...] -> [B, C, ...], smaller."""
        return self.conv(ops, x)


@dataclass(frozen=True)
class DownBlock:
    """A level of the encoder: residual blocks, then (but for the last level) a strided convolution."""

    resnets: tuple[Block, ...]
    downsamplers: tuple[Any, ...]

    def __call__(self, ops: Ops, x: Array) -> Array:
        """x [B, in, ...] -> [B, out, ...], smaller."""
        return sequential(ops, (*self.resnets, *self.downsamplers), x)


@dataclass(frozen=True)
class UpBlock:
    """A level of the decoder: residual blocks, then (but for the last level) repeated cells and a convolution."""

    resnets: tuple[Block, ...]
    upsamplers: tuple[Any, ...]

    def __call__(self, ops: Ops, x: Array) -> Array:
        """x [B, in, ...] -> [B, out, ...], larger."""
        return sequential(ops, (*self.resnets, *self.upsamplers), x)


@dataclass(frozen=True)
class MidBlock:
    """Residual block, attention, residual block."""

    attentions: tuple[MidAttention]
    resnets: tuple[Block, Block]

    @classmethod
    def create(cls, init: RandomInit, channels: int, groups: int, kind: Kind) -> MidBlock:
        """All of one width."""
        first, second = Block.chain(init, channels, channels, 2, groups, kind.conv)
        return cls((MidAttention.create(init, channels, groups),), (first, second))

    def __call__(self, ops: Ops, x: Array) -> Array:
        """x [B, C, ...] of the same shape back."""
        return sequential(ops, (self.resnets[0], *self.attentions, self.resnets[1]), x)


@dataclass(frozen=True)
class Encoder:
    """Pixels to the moments of the latents."""

    conv_in: Layer
    down_blocks: tuple[DownBlock, ...]
    mid_block: MidBlock
    conv_norm_out: GroupNorm
    conv_out: Layer

    @classmethod
    def create(cls, init: RandomInit, sizes: Sizes, kind: Kind) -> Encoder:
        """One level per entry of sizes.channels."""
        widths, last = sizes.channels, len(sizes.channels) - 1
        levels = []
        for level, (fan_in, out) in enumerate(zip((widths[0], *widths), widths, strict=False)):
            blocks = Block.chain(init, fan_in, out, sizes.blocks, sizes.groups, kind.conv)
            levels.append(DownBlock(blocks, () if level == last else (kind.downsample(init, out, level),)))
        return cls(
            kind.conv(init, sizes.in_channels, widths[0], 3),
            tuple(levels),
            MidBlock.create(init, widths[-1], sizes.groups, kind),
            GroupNorm.create(init, widths[-1], sizes.groups),
            kind.conv(init, widths[-1], sizes.out_channels, 3),
        )

    def __call__(self, ops: Ops, x: Array) -> Array:
        """x [B, in_channels, ...] -> [B, out_channels, ...]."""
        x = sequential(ops, (self.conv_in, *self.down_blocks, self.mid_block), x)
        return self.conv_out(ops, self.conv_norm_out.silu(ops, x))


@dataclass(frozen=True)
class Decoder:
    """Latents to pixels; one residual block more per level than the encoder."""

    conv_in: Layer
    up_blocks: tuple[UpBlock, ...]
    mid_block: MidBlock
    conv_norm_out: GroupNorm
    conv_out: Layer

    @classmethod
    def create(cls, init: RandomInit, sizes: Sizes, kind: Kind) -> Decoder:
        """One level per entry of sizes.channels, which are those of the encoder: the last one comes first."""
        widths, last = tuple(reversed(sizes.channels)), len(sizes.channels) - 1
        levels = []
        for level, (fan_in, out) in enumerate(zip((widths[0], *widths), widths, strict=False)):
            blocks = Block.chain(init, fan_in, out, sizes.blocks + 1, sizes.groups, kind.conv)
            levels.append(UpBlock(blocks, () if level == last else (kind.upsample(init, out, level),)))
        return cls(
            kind.conv(init, sizes.in_channels, widths[0], 3),
            tuple(levels),
            MidBlock.create(init, widths[0], sizes.groups, kind),
            GroupNorm.create(init, widths[-1], sizes.groups),
            kind.conv(init, widths[-1], sizes.out_channels, 3),
        )

    def __call__(self, ops: Ops, z: Array) -> Array:
        """z [B, in_channels, ...] -> [B, out_channels, ...]."""
        x = sequential(ops, (self.conv_in, self.mid_block, *self.up_blocks), z)
        return self.conv_out(ops, self.conv_norm_out.silu(ops, x))
