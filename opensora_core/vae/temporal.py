"""The temporal autoencoder of v1.2: latents of single frames to latents of four frames each, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..checks import whole
from ..derived import rearrange
from ..errors import InvalidInputError
from ..module import static
from ..nn.init import RandomInit
from ..nn.layers import sequential
from ..ops import Array, Ops
from .config import from_published
from .layers import CausalConv, GroupNorm, Layer, ResidualBlock
from .posterior import Posterior
from .precision import run

EPS = 1e-5


@dataclass(frozen=True)
class TemporalVAEConfig:
    """Shape of the temporal autoencoder; the defaults are those of v1.2.

    channel_multipliers: width of each level in units of `filters`. temporal_downsample: between which of them the
    frames become half as many.
    """

    in_out_channels: int = 4
    latent_embed_dim: int = 4
    embed_dim: int = 4
    filters: int = 128
    num_res_blocks: int = 4
    channel_multipliers: tuple[int, ...] = (1, 2, 2, 4)
    temporal_downsample: tuple[bool, ...] = (False, True, True)
    num_groups: int = 32

    def __post_init__(self) -> None:
        for name in ("channel_multipliers", "temporal_downsample"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name in ("in_out_channels", "latent_embed_dim", "embed_dim", "filters", "num_res_blocks", "num_groups"):
            whole(name, getattr(self, name), 1)
        if self.filters % self.num_groups:
            raise InvalidInputError(f"filters={self.filters} must be a multiple of num_groups={self.num_groups}")
        if len(self.temporal_downsample) != len(self.channel_multipliers) - 1:
            raise InvalidInputError(
                f"temporal_downsample={self.temporal_downsample} must have one entry less than "
                f"channel_multipliers={self.channel_multipliers}: it says what is between levels"
            )

    @property
    def widths(self) -> list[int]:
        """Channels of each level."""
        return [self.filters * m for m in self.channel_multipliers]

    @property
    def compression(self) -> int:
        """Frames per latent frame."""
        return int(2 ** sum(self.temporal_downsample))

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        lists = {name: list(getattr(self, name)) for name in ("channel_multipliers", "temporal_downsample")}
        return {**asdict(self), **lists}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TemporalVAEConfig:
        """From a published configuration or `to_dict`; an unknown field is an error, not ignored."""
        return from_published(cls, "temporal autoencoder", values, ("type", "from_pretrained"))


@dataclass(frozen=True)
class Block(ResidualBlock):
    """A residual block without biases under the names of v1.2."""

    conv3: Layer | None = None
    SHORTCUT = "conv3"


@dataclass(frozen=True)
class Identity:
    """No change between two levels; it holds no parameter."""

    def __call__(self, ops: Ops, x: Array) -> Array:
        """Return x."""
        return x


@dataclass(frozen=True)
class TemporalUpsample:
    """A convolution to twice the channels, which then become frames: channel 2c + s of frame t is frame 2t + s."""

    conv: Any

    @classmethod
    def create(cls, init: RandomInit, channels: int) -> TemporalUpsample:
        """Keeps the channels."""
        return cls(CausalConv.create(init, channels, 2 * channels, 3).conv)

    def __call__(self, ops: Ops, x: Array) -> Array:
        """x [B, C, T, H, W] -> [B, C, 2T, H, W]."""
        return rearrange(ops, self.conv(ops, x), "b (c s) t h w -> b c (t s) h w", s=2)


@dataclass(frozen=True)
class TemporalEncoder:
    """Latents of frames to the moments of latents of four frames."""

    conv_in: CausalConv
    block_res_blocks: tuple[tuple[Block, ...], ...]
    conv_blocks: tuple[Any, ...]
    res_blocks: tuple[Block, ...]
    norm1: GroupNorm
    conv2: CausalConv

    @classmethod
    def create(cls, init: RandomInit, config: TemporalVAEConfig) -> TemporalEncoder:
        """Levels from the finest to the coarsest."""
        widths = config.widths
        levels = [_blocks(init, config, *pair) for pair in zip((widths[0], *widths), widths, strict=False)]
        between = [
            CausalConv.create(init, width, width, 3, stride=(2, 1, 1), front=1) if halved else Identity()
            for width, halved in zip(widths, config.temporal_downsample, strict=False)
        ]
        return cls(
            CausalConv.create(init, config.in_out_channels, widths[0], 3, bias=False),
            tuple(levels),
            tuple(between),
            _blocks(init, config, widths[-1], widths[-1]),
            GroupNorm.create(init, widths[-1], config.num_groups, EPS),
            CausalConv.create(init, widths[-1], 2 * config.latent_embed_dim, 1),
        )

    def __call__(self, ops: Ops, x: Array) -> Array:
        """x [B, C, T, h, w] -> [B, 2C', T/4, h, w]."""
        x = self.conv_in(ops, x)
        for blocks, shrink in zip(self.block_res_blocks, (*self.conv_blocks, Identity()), strict=True):
            x = shrink(ops, sequential(ops, blocks, x))
        x = sequential(ops, self.res_blocks, x)
        return self.conv2(ops, self.norm1.silu(ops, x))


@dataclass(frozen=True)
class TemporalDecoder:
    """Latents of four frames to latents of single frames; levels are numbered as in the encoder, 0 is the finest."""

    conv1: CausalConv
    res_blocks: tuple[Block, ...]
    block_res_blocks: tuple[tuple[Block, ...], ...]
    conv_blocks: tuple[Any, ...]
    norm1: GroupNorm
    conv_out: CausalConv

    @classmethod
    def create(cls, init: RandomInit, config: TemporalVAEConfig) -> TemporalDecoder:
        """Levels from the finest to the coarsest, which is the first to be run."""
        widths = config.widths
        levels = [_blocks(init, config, *pair) for pair in zip((*widths[1:], widths[-1]), widths, strict=True)]
        between = [
            TemporalUpsample.create(init, width) if doubled else Identity()
            for width, doubled in zip(widths[1:], config.temporal_downsample, strict=True)
        ]
        return cls(
            CausalConv.create(init, config.embed_dim, widths[-1], 3),
            _blocks(init, config, widths[-1], widths[-1]),
            tuple(levels),
            tuple(between),
            GroupNorm.create(init, widths[0], config.num_groups, EPS),
            CausalConv.create(init, widths[0], config.in_out_channels, 3),
        )

    def __call__(self, ops: Ops, z: Array) -> Array:
        """z [B, C', T', h, w] -> [B, C, 4T', h, w]."""
        x = sequential(ops, self.res_blocks, self.conv1(ops, z))
        for blocks, grow in zip(
            reversed(self.block_res_blocks), (*reversed(self.conv_blocks), Identity()), strict=True
        ):
            x = grow(ops, sequential(ops, blocks, x))
        return self.conv_out(ops, self.norm1.silu(ops, x))


@dataclass(frozen=True)
class TemporalVAE:
    """Latents [B, 4, T, h, w] of frames to a posterior of [B, 4, ceil(T/4), h, w], and back."""

    encoder: TemporalEncoder
    quant_conv: CausalConv
    post_quant_conv: CausalConv
    decoder: TemporalDecoder
    config: TemporalVAEConfig = static()

    @classmethod
    def create(cls, config: TemporalVAEConfig, init: RandomInit) -> TemporalVAE:
        """Return an untrained autoencoder, or with a ShapeInit one to load weights into."""
        return cls(
            TemporalEncoder.create(init, config),
            CausalConv.create(init, 2 * config.latent_embed_dim, 2 * config.embed_dim, 1),
            CausalConv.create(init, config.embed_dim, config.latent_embed_dim, 1),
            TemporalDecoder.create(init, config),
            config,
        )

    def posterior(self, ops: Ops, x: Array) -> Posterior:
        """x [B, C, T, h, w] -> mean and log-variance; zeros in front make T a multiple of 4."""
        front = (0, 0, -x.shape[2] % self.config.compression, 0, 0)
        padded = ops.pad(x, front, (0,) * 5, (0,) * 5)
        return Posterior.of(ops, run(ops, (self.encoder, self.quant_conv), padded))

    def decode(self, ops: Ops, z: Array, num_frames: int) -> Array:
        """z [B, C', T', h, w] -> [B, C, num_frames, h, w]: what the encoder put in front is dropped."""
        x = run(ops, (self.post_quant_conv, self.decoder), z)
        return x[:, :, -num_frames % self.config.compression :]


def _blocks(init: RandomInit, config: TemporalVAEConfig, fan_in: int, out: int) -> tuple[Block, ...]:
    return Block.chain(init, fan_in, out, config.num_res_blocks, config.num_groups, _conv_without_bias, EPS)


def _conv_without_bias(init: RandomInit, fan_in: int, out: int, kernel: int) -> CausalConv:
    return CausalConv.create(init, fan_in, out, kernel, bias=False)
