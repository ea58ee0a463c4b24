"""The autoencoder of v1.2: every frame through the 2D autoencoder, then time through the temporal one, in chunks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from ..checks import whole
from ..errors import InvalidInputError
from ..module import static
from ..nn.init import RandomInit
from ..ops import Array, Ops
from .config import from_published
from .image import AutoencoderKLConfig, FrameVAE
from .posterior import Draw
from .sizes import check_held, check_latents
from .temporal import TemporalVAE, TemporalVAEConfig

PUBLISHED_ONLY = {  # fields of the published config.json that change no number here
    "cal_loss", "freeze_vae_2d", "from_pretrained", "model_type", "architectures", "torch_dtype",
    "transformers_version",
}  # fmt: skip


@dataclass(frozen=True)
class TwoStageConfig:
    """Shape of both autoencoders; the defaults are those of v1.2.

    micro_frame_size: frames of a chunk, each of which is encoded for itself; None for one chunk of any length. Unlike
    the 2D autoencoder's micro-batches, chunks are part of what the denoiser was trained on.
    shift, scale: what is subtracted from each latent channel, and what it is then divided by.
    """

    vae_2d: AutoencoderKLConfig = field(default_factory=AutoencoderKLConfig)
    vae_temporal: TemporalVAEConfig = field(default_factory=TemporalVAEConfig)
    micro_frame_size: int | None = 17
    shift: tuple[float, ...] = (-0.10, 0.34, 0.27, 0.98)
    scale: tuple[float, ...] = (3.85, 2.32, 2.33, 3.06)

    def __post_init__(self) -> None:
        for name, part in (("vae_2d", AutoencoderKLConfig), ("vae_temporal", TemporalVAEConfig)):
            if isinstance(getattr(self, name), Mapping):
                object.__setattr__(self, name, part.from_dict(getattr(self, name)))
        if self.micro_frame_size is not None:
            whole("micro_frame_size", self.micro_frame_size, 1)
        for name in ("shift", "scale"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
            if len(getattr(self, name)) != self.vae_temporal.embed_dim:
                channels = self.vae_temporal.embed_dim
                raise InvalidInputError(f"{name}={getattr(self, name)} must have {channels} numbers, one per channel")

    @property
    def latent_channels(self) -> int:
        """Channels of a latent."""
        return self.vae_temporal.embed_dim

    @property
    def micro_latents(self) -> int | None:
        """Latent frames of a chunk: 5 of 17 frames."""
        return None if self.micro_frame_size is None else -(-self.micro_frame_size // self.vae_temporal.compression)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        parts = {"vae_2d": self.vae_2d.to_dict(), "vae_temporal": self.vae_temporal.to_dict()}
        return {**asdict(self), **parts, "shift": list(self.shift), "scale": list(self.scale)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TwoStageConfig:
        """From a published config.json or `to_dict`; a field that is not known is an error, not ignored."""
        return from_published(cls, "v1.2 autoencoder", values, PUBLISHED_ONLY)


@dataclass(frozen=True)
class TwoStageVAE:
    """Video to latents of four frames and 8x8 pixels, and back: the autoencoder of v1.2, under its published names."""

    spatial_vae: FrameVAE
    temporal_vae: TemporalVAE
    shift: Array
    scale: Array
    config: TwoStageConfig = static()

    @classmethod
    def create(cls, config: TwoStageConfig, init: RandomInit) -> TwoStageVAE:
        """Return an untrained autoencoder, or with a ShapeInit one to load weights into."""
        shape = (1, config.latent_channels, 1, 1, 1)
        shift, scale = (np.asarray(x, np.float32).reshape(shape) for x in (config.shift, config.scale))
        spatial = FrameVAE.create(config.vae_2d, init)
        return cls(spatial, TemporalVAE.create(config.vae_temporal, init), shift, scale, config)

    # ------------------------------------------------------------------ sizes

    def latent_frames(self, num_frames: int) -> int:
        """Latent frames of a video: 5 of every 17 frames, and one of every begun 4 of the rest."""
        whole("num_frames", num_frames, 1)
        return sum(-(-n // self.config.vae_temporal.compression) for n in self._chunks(num_frames))

    def frames_of(self, latent_frames: int) -> int:
        """The most frames that so many latent frames hold."""
        whole("latent_frames", latent_frames, 1)
        cell, chunk = self.config.vae_temporal.compression, self.config.micro_latents
        if chunk is None or self.config.micro_frame_size is None:
            return latent_frames * cell
        full, rest = divmod(latent_frames, chunk)
        return full * self.config.micro_frame_size + rest * cell

    def latent_shape(self, num_frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """(C, T', h, w) of a video; as officially, pixels beyond a multiple of 8 are lost."""
        _, _, h, w = self.spatial_vae.latent_shape(num_frames, height, width)
        return self.config.latent_channels, self.latent_frames(num_frames), h, w

    # ------------------------------------------------------------------ video to latents and back

    def encode(self, ops: Ops, video: Array, draw: Draw | None = None) -> Array:
        """Video [B, 3, T, H, W] in [-1, 1] -> normalised latents [B, 4, T', H/8, W/8].

        A sample, for which numbers are drawn once per micro-batch of frames and then once per chunk, as officially;
        or from means only where draw is None. Raises InvalidInputError for frames below 8x8 pixels.
        """
        frames = self.spatial_vae.encode(ops, video, draw)  # (B, 4, T, h, w)
        latents, start = [], 0
        for size in self._chunks(frames.shape[2]):
            posterior = self.temporal_vae.posterior(ops, frames[:, :, start : start + size])
            latents.append(posterior.sample(ops, draw))
            start += size
        z = ops.concat(latents, axis=2)
        return (z - ops.astype(self.shift, z.dtype)) / ops.astype(self.scale, z.dtype)

    def decode(self, ops: Ops, latents: Array, num_frames: int | None = None) -> Array:
        """Normalised latents [B, 4, T', h, w] -> video [B, 3, T, 8h, 8w]; T is num_frames, or all that they hold.

        Raises InvalidInputError when the latents hold another number of frames.
        """
        return self.spatial_vae.decode(ops, self.decode_time(ops, latents, num_frames))

    def decode_time(self, ops: Ops, latents: Array, num_frames: int | None = None) -> Array:
        """The first half of `decode`: to the latents [B, 4, T, h, w] of single frames, scaled for the 2D part."""
        check_latents(latents, self.config.latent_channels)
        num_frames = self.frames_of(latents.shape[2]) if num_frames is None else num_frames
        check_held(num_frames, self.latent_frames(num_frames), latents.shape[2])
        z = latents * ops.astype(self.scale, latents.dtype) + ops.astype(self.shift, latents.dtype)
        frames, step = [], self.config.micro_latents or z.shape[2]
        for start, size in zip(range(0, z.shape[2], step), self._chunks(num_frames), strict=True):
            frames.append(self.temporal_vae.decode(ops, z[:, :, start : start + step], size))
        return ops.concat(frames, axis=2)

    def _chunks(self, num_frames: int) -> list[int]:
        """Lengths of the chunks that so many frames are cut into."""
        size = self.config.micro_frame_size or num_frames
        return [min(size, num_frames - start) for start in range(0, num_frames, size)]
