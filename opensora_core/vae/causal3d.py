"""The autoencoder of v2.0: HunyuanVideo's causal network over time and space (Kong et al. 2024)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..checks import fixed, number, whole
from ..errors import InvalidInputError
from ..module import static
from ..nn.init import RandomInit
from ..ops import Array, Ops
from .config import check_channels, from_published
from .layers import CausalConv, Conv, nearest
from .posterior import Draw, Posterior
from .precision import run
from .sizes import check_held, check_latents, check_video, check_whole_groups
from .stages import Decoder, Downsample, Encoder, Sizes
from .tiling import Tile, tiled_space, tiled_time

TIME, SPACE = 4, 8  # frames and pixels per latent cell
LEVELS = 4

FIXED = {  # fields of the official configuration that have one value in Open-Sora
    "act_fn": "silu", "time_compression_ratio": TIME, "spatial_compression_ratio": SPACE,
    "mid_block_add_attention": True, "channel": False,
}  # fmt: skip
PUBLISHED_ONLY = {"type", "from_pretrained", "dropout", "use_slicing", *FIXED}


@dataclass(frozen=True)
class HunyuanVAEConfig:
    """Shape and tiles of the autoencoder; the defaults are those of v2.0.

    scale_factor, shift_factor: latents are scale · (z - shift). use_spatial_tiling, use_temporal_tiling: whether frames
    above sample_size pixels a side, and videos above sample_tsize frames, are computed in tiles of that size, which
    overlap by tile_overlap_factor. Tiles bound memory and change the numbers.
    """

    in_channels: int = 3
    out_channels: int = 3
    latent_channels: int = 16
    block_out_channels: tuple[int, ...] = (128, 256, 512, 512)
    layers_per_block: int = 2
    norm_num_groups: int = 32
    scale_factor: float = 0.476986
    shift_factor: float = 0.0
    sample_size: int = 256
    sample_tsize: int = 64
    tile_overlap_factor: float = 0.25
    use_spatial_tiling: bool = True
    use_temporal_tiling: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "block_out_channels", check_channels(self.block_out_channels, self.norm_num_groups))
        if len(self.block_out_channels) != LEVELS:
            raise InvalidInputError(f"block_out_channels={self.block_out_channels} must be {LEVELS} widths")
        for name in ("in_channels", "out_channels", "latent_channels", "layers_per_block"):
            whole(name, getattr(self, name), 1)
        number("scale_factor", self.scale_factor, 0, above=True)
        number("tile_overlap_factor", self.tile_overlap_factor, 0, 0.5)
        for name, cell in (("sample_size", SPACE), ("sample_tsize", TIME)):
            if whole(name, getattr(self, name), cell) % cell:
                raise InvalidInputError(f"{name}={getattr(self, name)} must be a multiple of {cell}, a latent cell")

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {**asdict(self), "block_out_channels": list(self.block_out_channels)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> HunyuanVAEConfig:
        """From an official configuration or `to_dict`; a field that is not known is an error, not ignored."""
        fixed("HunyuanVAE", values, FIXED)
        return from_published(cls, "Hunyuan autoencoder", values, PUBLISHED_ONLY)


@dataclass(frozen=True)
class Upsample:
    """Cells repeated twice along both sides, and `frames` times along time but for the first; then a convolution."""

    conv: CausalConv
    frames: int = static()

    def __call__(self, ops: Ops, x: Array) -> Array:
        """x [B, C, T, H, W] -> [B, C, 1 + frames·(T - 1), 2H, 2W]."""
        first, rest = nearest(ops, x[:, :, :1], (1, 2, 2)), nearest(ops, x[:, :, 1:], (self.frames, 2, 2))
        return self.conv(ops, ops.concat([first, rest], axis=2))


class Causal:
    """How the network convolves, shrinks and grows: what is beyond the border is like the border."""

    def conv(self, init: RandomInit, fan_in: int, out: int, kernel: int) -> CausalConv:
        """Keeps the size."""
        return CausalConv.create(init, fan_in, out, kernel, replicate=True)

    def downsample(self, init: RandomInit, channels: int, level: int) -> Downsample:
        """Half as many pixels a side, and half as many frames but at the first level."""
        stride = (self._frames(level), 2, 2)
        return Downsample(CausalConv.create(init, channels, channels, 3, stride=stride, replicate=True))

    def upsample(self, init: RandomInit, channels: int, level: int) -> Upsample:
        """Twice as many pixels a side, and twice as many frames but at the first level."""
        return Upsample(self.conv(init, channels, channels, 3), self._frames(level))

    def _frames(self, level: int) -> int:
        return 1 if level == 0 else 2


@dataclass(frozen=True)
class HunyuanVAE:
    """Video to latents of four frames and 8x8 pixels, the first frame alone, and back: the autoencoder of v2.0."""

    encoder: Encoder
    decoder: Decoder
    quant_conv: Conv
    post_quant_conv: Conv
    config: HunyuanVAEConfig = static()

    @classmethod
    def create(cls, config: HunyuanVAEConfig, init: RandomInit) -> HunyuanVAE:
        """Return an untrained autoencoder, or with a ShapeInit one to load weights into."""
        c, kind = config, Causal()
        inside, moments = (c.block_out_channels, c.layers_per_block, c.norm_num_groups), 2 * c.latent_channels
        return cls(
            Encoder.create(init, Sizes(c.in_channels, moments, *inside), kind),
            Decoder.create(init, Sizes(c.latent_channels, c.out_channels, *inside), kind),
            Conv.create(init, moments, moments, (1, 1, 1)),
            Conv.create(init, c.latent_channels, c.latent_channels, (1, 1, 1)),
            config,
        )

    # ------------------------------------------------------------------ sizes

    def latent_frames(self, num_frames: int) -> int:
        """Latent frames of a video of 1, 5, 9, ... frames: one for the first frame and for every 4 after it."""
        check_whole_groups(num_frames, TIME)
        return 1 + (num_frames - 1) // TIME

    def frames_of(self, latent_frames: int) -> int:
        """Frames that so many latent frames hold."""
        return 1 + (whole("latent_frames", latent_frames, 1) - 1) * TIME

    def latent_shape(self, num_frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """(C, T', h, w) of a video; a cell that is begun is a whole one."""
        h, w = (-(-whole(name, n, 1) // SPACE) for name, n in (("height", height), ("width", width)))
        return self.config.latent_channels, self.latent_frames(num_frames), h, w

    # ------------------------------------------------------------------ video to latents and back

    def posterior(self, ops: Ops, video: Array) -> Posterior:
        """Video [B, 3, T, H, W] in [-1, 1] -> mean and log-variance of unscaled latents, of blended moments if tiled.

        Raises InvalidInputError, with the nearest legal number, unless T is 1, 5, 9, ...
        """
        check_video(video)
        self.latent_frames(video.shape[2])
        c = self.config
        space = Tile(c.sample_size, c.sample_size // SPACE, c.tile_overlap_factor)
        time = Tile(c.sample_tsize, c.sample_tsize // TIME, c.tile_overlap_factor)
        return Posterior.of(ops, self._tiled(ops, (self.encoder, self.quant_conv), video, space, time))

    def encode(self, ops: Ops, video: Array, draw: Draw | None = None) -> Array:
        """Video [B, 3, T, H, W] in [-1, 1] -> scaled latents [B, 16, T', H/8, W/8].

        A sample of the posterior, or its mean where draw is None. Raises InvalidInputError, with the nearest legal
        number, unless T is 1, 5, 9, ...
        """
        return self.scaled(self.posterior(ops, video).sample(ops, draw))

    def scaled(self, z: Array) -> Array:
        """Latents as the encoder gives them -> as the denoiser knows them."""
        return (z - self.config.shift_factor) * self.config.scale_factor

    def decode(self, ops: Ops, latents: Array, num_frames: int | None = None) -> Array:
        """Scaled latents [B, 16, T', h, w] -> video [B, 3, T, 8h, 8w]; T is num_frames, or all that they hold.

        Raises InvalidInputError when the latents hold another number of frames.
        """
        check_latents(latents, self.config.latent_channels)
        if num_frames is not None:
            check_held(num_frames, self.latent_frames(num_frames), latents.shape[2])
        z, c = latents / self.config.scale_factor + self.config.shift_factor, self.config
        space = Tile(c.sample_size // SPACE, c.sample_size, c.tile_overlap_factor)
        time = Tile(c.sample_tsize // TIME, c.sample_tsize, c.tile_overlap_factor)
        video = self._tiled(ops, (self.post_quant_conv, self.decoder), z, space, time)
        return video if num_frames is None else video[:, :, :num_frames]

    def _tiled(self, ops: Ops, steps: tuple[Any, Any], x: Array, space: Tile, time: Tile) -> Array:
        """Half of the autoencoder, in tiles of time and of space where x is larger than one."""

        def frames(part: Array) -> Array:
            if self.config.use_spatial_tiling and max(part.shape[3:]) > space.size:
                return tiled_space(ops, part, lambda tile: run(ops, steps, tile), space)
            return run(ops, steps, part)

        if self.config.use_temporal_tiling and x.shape[2] > time.size:
            return tiled_time(ops, x, frames, time)
        return frames(x)
