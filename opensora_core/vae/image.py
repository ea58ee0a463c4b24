"""The 2D autoencoder of Stable Diffusion (Rombach et al. 2022), frame by frame: all of v1.0 and v1.1, half of v1.2.

Weights are those of diffusers' AutoencoderKL (`stabilityai/sd-vae-ft-ema` for v1.0 and v1.1).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..checks import fixed, number, switch, whole
from ..derived import rearrange
from ..module import static
from ..nn.init import RandomInit
from ..ops import Array, Ops
from .config import check_channels, from_published
from .layers import Conv, nearest
from .posterior import Draw, Posterior
from .precision import run
from .sizes import check_held, check_latents, check_least, check_video, micro_batches
from .stages import Decoder, Downsample, Encoder, Sizes

SCALE = 0.18215
"""What Open-Sora v1 multiplies latents of its 2D autoencoders by, also those of SDXL's, whose own number is 0.13025."""

FIXED = {  # fields of published config.json files that have one value in Open-Sora
    "act_fn": "silu", "mid_block_add_attention": True, "down_block_types": "DownEncoderBlock2D",
    "up_block_types": "UpDecoderBlock2D",
}  # fmt: skip
PUBLISHED_ONLY = {  # and those that change no number here
    "scaling_factor", "sample_size", "force_upcast", "_class_name", "_diffusers_version", "_name_or_path", "type",
    "from_pretrained", "subfolder", "local_files_only", *FIXED,
}  # fmt: skip


@dataclass(frozen=True)
class AutoencoderKLConfig:
    """Shape of the 2D autoencoder; the defaults are those of SD and SDXL.

    micro_batch_size: frames encoded or decoded at a time; None for all. It bounds memory and changes no number.
    use_quant_conv: whether 1x1 convolutions stand between latents and networks; not in Flux's. shift, scale: what is
    subtracted from latents, and what they are then multiplied by.
    """

    in_channels: int = 3
    out_channels: int = 3
    latent_channels: int = 4
    block_out_channels: tuple[int, ...] = (128, 256, 512, 512)
    layers_per_block: int = 2
    norm_num_groups: int = 32
    micro_batch_size: int | None = 4
    use_quant_conv: bool = True
    shift: float = 0.0
    scale: float = SCALE

    def __post_init__(self) -> None:
        object.__setattr__(self, "block_out_channels", check_channels(self.block_out_channels, self.norm_num_groups))
        for name in ("in_channels", "out_channels", "latent_channels", "layers_per_block"):
            whole(name, getattr(self, name), 1)
        if self.micro_batch_size is not None:
            whole("micro_batch_size", self.micro_batch_size, 1)
        switch("use_quant_conv", self.use_quant_conv)
        number("shift", self.shift, -math.inf)
        number("scale", self.scale, 0, above=True)

    @property
    def compression(self) -> int:
        """Pixels per latent cell along each side."""
        return int(2 ** (len(self.block_out_channels) - 1))

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {**asdict(self), "block_out_channels": list(self.block_out_channels)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> AutoencoderKLConfig:
        """From a published config.json or `to_dict`; a field that is not known is an error, not ignored."""
        fixed("AutoencoderKL", values, FIXED)
        return from_published(cls, "AutoencoderKL", values, PUBLISHED_ONLY)


@dataclass(frozen=True)
class Upsample:
    """Cells repeated twice along both sides, then a convolution."""

    conv: Conv

    def __call__(self, ops: Ops, x: Array) -> Array:
        """x [N, C, H, W] -> [N, C, 2H, 2W]."""
        return self.conv(ops, nearest(ops, x, (2, 2)))


class Images:
    """How the 2D autoencoder convolves, shrinks and grows."""

    def conv(self, init: RandomInit, fan_in: int, out: int, kernel: int) -> Conv:
        """Zero padding at both ends."""
        return Conv.create(init, fan_in, out, (kernel, kernel))

    def downsample(self, init: RandomInit, channels: int, level: int) -> Downsample:
        """Stride 2, one row and column of zeros only at the bottom and on the right."""
        conv = Conv.create(init, channels, channels, (3, 3), stride=(2, 2), low=(0, 0), high=(1, 1))
        return Downsample(conv)

    def upsample(self, init: RandomInit, channels: int, level: int) -> Upsample:
        """Twice the size, then a convolution."""
        return Upsample(self.conv(init, channels, channels, 3))


@dataclass(frozen=True)
class AutoencoderKL:
    """Images [N, 3, H, W] in [-1, 1] to a posterior of [N, 4, H/8, W/8], and back; nothing is scaled here."""

    encoder: Encoder
    decoder: Decoder
    quant_conv: Conv | None
    post_quant_conv: Conv | None

    @classmethod
    def create(cls, config: AutoencoderKLConfig, init: RandomInit) -> AutoencoderKL:
        """Return an untrained autoencoder, or with a ShapeInit one to load weights into."""
        c, kind = config, Images()
        inside = c.block_out_channels, c.layers_per_block, c.norm_num_groups
        return cls(
            Encoder.create(init, Sizes(c.in_channels, 2 * c.latent_channels, *inside), kind),
            Decoder.create(init, Sizes(c.latent_channels, c.out_channels, *inside), kind),
            kind.conv(init, 2 * c.latent_channels, 2 * c.latent_channels, 1) if c.use_quant_conv else None,
            kind.conv(init, c.latent_channels, c.latent_channels, 1) if c.use_quant_conv else None,
        )

    def posterior(self, ops: Ops, images: Array) -> Posterior:
        """Images [N, 3, H, W] -> mean and log-variance of the latents."""
        steps = (self.encoder,) if self.quant_conv is None else (self.encoder, self.quant_conv)
        return Posterior.of(ops, run(ops, steps, images))

    def decode(self, ops: Ops, latents: Array) -> Array:
        """Latents [N, 4, h, w] -> images [N, 3, 8h, 8w]."""
        steps = (self.decoder,) if self.post_quant_conv is None else (self.post_quant_conv, self.decoder)
        return run(ops, steps, latents)


@dataclass(frozen=True)
class FrameVAE:
    """A video through an image autoencoder, a few frames at a time: the autoencoder of v1.0 and v1.1."""

    module: AutoencoderKL
    config: AutoencoderKLConfig = static()

    @classmethod
    def create(cls, config: AutoencoderKLConfig, init: RandomInit) -> FrameVAE:
        """Return an untrained autoencoder, or with a ShapeInit one to load weights into."""
        return cls(AutoencoderKL.create(config, init), config)

    def latent_frames(self, num_frames: int) -> int:
        """As many as frames."""
        return whole("num_frames", num_frames, 1)

    def frames_of(self, latent_frames: int) -> int:
        """As many as latent frames."""
        return whole("latent_frames", latent_frames, 1)

    def latent_shape(self, num_frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """(C, T', h, w) of a video; as officially, pixels beyond a multiple of 8 are lost.

        Raises InvalidInputError, with the nearest legal size, for frames below 8x8 pixels.
        """
        cell = self.config.compression
        check_least(height, width, cell)
        return self.config.latent_channels, self.latent_frames(num_frames), height // cell, width // cell

    def posteriors(self, ops: Ops, video: Array) -> Iterator[Posterior]:
        """Of the frames of [B, 3, T, H, W] in order, batch by batch [at most micro_batch_size, 4, h, w], unscaled."""
        check_video(video)
        check_least(video.shape[3], video.shape[4], self.config.compression)
        frames = rearrange(ops, video, "b c t h w -> (b t) c h w")
        return (self.module.posterior(ops, part) for part in micro_batches(frames, self.config.micro_batch_size))

    def encode(self, ops: Ops, video: Array, draw: Draw | None = None) -> Array:
        """Video [B, 3, T, H, W] in [-1, 1] -> scaled latents [B, 4, T, H/8, W/8].

        A sample of the posterior, with one `draw` per micro-batch of frames, or its mean where draw is None.
        Raises InvalidInputError for frames below 8x8 pixels.
        """
        samples = [posterior.sample(ops, draw) for posterior in self.posteriors(ops, video)]
        latents = (ops.concat(samples) - self.config.shift) * self.config.scale
        return rearrange(ops, latents, "(b t) c h w -> b c t h w", t=video.shape[2])

    def decode(self, ops: Ops, latents: Array, num_frames: int | None = None) -> Array:
        """Scaled latents [B, 4, T, h, w] -> video [B, 3, T, 8h, 8w]; num_frames can only be T."""
        check_latents(latents, self.config.latent_channels)
        if num_frames is not None:
            check_held(num_frames, num_frames, latents.shape[2])
        frames = rearrange(ops, latents, "b c t h w -> (b t) c h w") * (1.0 / self.config.scale) + self.config.shift
        images = [self.module.decode(ops, part) for part in micro_batches(frames, self.config.micro_batch_size)]
        return rearrange(ops, ops.concat(images), "(b t) c h w -> b c t h w", t=latents.shape[2])
