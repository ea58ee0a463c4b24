"""The autoencoder of v1.3: one network over time and space; videos go through it in overlapping windows of frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..checks import whole
from ..errors import InvalidInputError
from ..module import static
from ..nn.init import RandomInit
from ..ops import Array, Ops
from .config import check_channels, from_published
from .posterior import Draw, Posterior
from .precision import run
from .sizes import check_held, check_latents, check_least, check_video, check_whole_groups, micro_batches
from .windowed_network import Decoder, Encoder, Sizes

TIME, SPACE = 4, 8  # frames and pixels per latent cell
LEVELS = 4

# Mean and spread of each latent channel over videos, as published with the release.
MEAN = (
    -0.19016949832439423, -0.04480062797665596, 0.020789705216884613, 0.01865335740149021, -0.011585569009184837,
    0.0010865575168281794, 0.08378933370113373, 0.08902134001255035, 0.00940945465117693, 0.08086848258972168,
    -0.07251627743244171, 0.05052144080400467, -0.0209724809974432, -0.1223079189658165, -0.003862356534227729,
    -0.023072388023138046,
)  # fmt: skip
STD = (
    0.9490776062011719, 0.9594117999076843, 0.9444302916526794, 0.9103284478187561, 0.959351658821106,
    0.8430351614952087, 0.8888124823570251, 0.9291136860847473, 0.972594141960144, 0.8917953968048096,
    0.8630853891372681, 0.8279891610145569, 0.9114300012588501, 0.7922844886779785, 0.8991407155990601,
    0.9473513960838318,
)  # fmt: skip


@dataclass(frozen=True)
class WindowedVAEConfig:
    """Shape and windows of the autoencoder; the defaults are those of v1.3.

    ch, ch_mult: width of the levels in units of ch. micro_frame_size: frames of a window, 1 + 4n, or None for one
    window of any length; temporal_overlap: each begins with the last frame of the one before. micro_batch_size: videos
    at a time, or None for all. normalization: "video" subtracts the published mean of each latent channel and divides
    by its spread; None leaves latents as they are.
    """

    in_channels: int = 3
    out_ch: int = 3
    z_channels: int = 16
    ch: int = 128
    ch_mult: tuple[int, ...] = (1, 2, 4, 4)
    num_res_blocks: int = 2
    num_groups: int = 32
    micro_frame_size: int | None = 17
    micro_batch_size: int | None = 1
    temporal_overlap: bool = True
    normalization: str | None = "video"

    def __post_init__(self) -> None:
        object.__setattr__(self, "ch_mult", tuple(self.ch_mult))
        check_channels(self.widths, self.num_groups)
        if len(self.ch_mult) != LEVELS:
            raise InvalidInputError(f"ch_mult={self.ch_mult} must be {LEVELS} multiples of ch")
        for name in ("in_channels", "out_ch", "z_channels", "num_res_blocks"):
            whole(name, getattr(self, name), 1)
        if self.micro_batch_size is not None:
            whole("micro_batch_size", self.micro_batch_size, 1)
        if self.micro_frame_size is not None and whole("micro_frame_size", self.micro_frame_size, 5) % TIME != 1:
            raise InvalidInputError(f"micro_frame_size={self.micro_frame_size} must be 1 + {TIME}n, such as 17")
        if self.normalization not in (None, "video"):
            raise InvalidInputError(f'normalization={self.normalization!r} must be "video" or None')
        if self.normalization and self.z_channels != len(MEAN):
            raise InvalidInputError(f"z_channels={self.z_channels} must be {len(MEAN)} to be normalised as published")

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level."""
        return tuple(self.ch * m for m in self.ch_mult)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {**asdict(self), "ch_mult": list(self.ch_mult)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> WindowedVAEConfig:
        """From `to_dict`; a field that is not known is an error, not ignored."""
        return from_published(cls, "v1.3 autoencoder", values, ("type", "from_pretrained"))


@dataclass(frozen=True)
class WindowedVAE:
    """Video to latents of four frames and 8x8 pixels, and back: the autoencoder of v1.3."""

    encoder: Encoder
    decoder: Decoder
    config: WindowedVAEConfig = static()

    @classmethod
    def create(cls, config: WindowedVAEConfig, init: RandomInit) -> WindowedVAE:
        """Return an untrained autoencoder, or with a ShapeInit one to load weights into."""
        c = config
        inside = c.widths, c.num_res_blocks, c.num_groups
        encoder = Encoder.create(init, Sizes(c.in_channels, 2 * c.z_channels, *inside))
        return cls(encoder, Decoder.create(init, Sizes(c.z_channels, c.out_ch, *inside)), config)

    # ------------------------------------------------------------------ sizes

    def latent_frames(self, num_frames: int) -> int:
        """Latent frames of a video: of each window one for its first frame and one for every 4 after it.

        Raises InvalidInputError for a number of which frames would be lost.
        """
        windows = self._windows(whole("num_frames", num_frames, 1))
        rest = len(range(num_frames)[windows[-1]])
        if (rest - 1) % TIME:
            check_whole_groups(num_frames, TIME)
        return sum(1 + (len(range(num_frames)[window]) - 1) // TIME for window in windows)

    def frames_of(self, latent_frames: int) -> int:
        """Frames that so many latent frames hold."""
        chunks = self._chunks(whole("latent_frames", latent_frames, 1))
        frames = sum(1 + (len(range(latent_frames)[chunk]) - 1) * TIME for chunk in chunks)
        return frames - (len(chunks) - 1 if self.config.temporal_overlap else 0)

    def latent_shape(self, num_frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """(C, T', h, w) of a video."""
        check_least(height, width, 2)
        h, w = (-(-(n // 2) // 4) for n in (height, width))
        return self.config.z_channels, self.latent_frames(num_frames), h, w

    # ------------------------------------------------------------------ video to latents and back

    def encode(self, ops: Ops, video: Array, draw: Draw | None = None) -> Array:
        """Video [B, 3, T, H, W] in [-1, 1] -> normalised latents [B, 16, T', H/8, W/8].

        A sample, for which numbers are drawn once per window of each micro-batch, or the mean where draw is None.
        Raises InvalidInputError, with the nearest legal number, where frames would be lost.
        """
        check_video(video)
        check_least(video.shape[3], video.shape[4], 2)
        self.latent_frames(video.shape[2])
        rows = []
        for batch in micro_batches(video, self.config.micro_batch_size):
            parts = (run(ops, (self.encoder,), batch[:, :, w]) for w in self._windows(video.shape[2]))
            rows.append(ops.concat([Posterior.of(ops, part).sample(ops, draw) for part in parts], axis=2))
        z = ops.concat(rows)
        return z if self.config.normalization is None else (z - _channels(ops, MEAN, z)) / _channels(ops, STD, z)

    def decode(self, ops: Ops, latents: Array, num_frames: int | None = None) -> Array:
        """Normalised latents [B, 16, T', h, w] -> video [B, 3, T, 8h, 8w]; T can only be what they hold.

        Where windows overlap, the frame they share is the mean of both. Raises InvalidInputError when the latents hold
        another number of frames.
        """
        check_latents(latents, self.config.z_channels)
        if num_frames is not None:
            check_held(num_frames, self.latent_frames(num_frames), latents.shape[2])
        z = latents
        if self.config.normalization is not None:
            z = z * _channels(ops, STD, z) + _channels(ops, MEAN, z)
        return ops.concat([self._decode_rows(ops, part) for part in micro_batches(z, self.config.micro_batch_size)])

    def _decode_rows(self, ops: Ops, z: Array) -> Array:
        parts: list[Array] = []
        for chunk in self._chunks(z.shape[2]):
            part = run(ops, (self.decoder,), z[:, :, chunk])
            if parts and self.config.temporal_overlap:
                shared = (parts[-1][:, :, -1:] + part[:, :, :1]) * 0.5
                parts[-1] = parts[-1][:, :, :-1]
                part = ops.concat([shared, part[:, :, 1:]], axis=2)
            parts.append(part)
        return ops.concat(parts, axis=2)

    def _windows(self, num_frames: int) -> list[slice]:
        """Frames of each window; an image is one, whatever the windows are."""
        size = self.config.micro_frame_size
        if size is None or num_frames == 1:
            return [slice(0, num_frames)]
        shared = 1 if self.config.temporal_overlap else 0
        return [slice(i, min(i + size, num_frames)) for i in range(0, num_frames - shared, size - shared)]

    def _chunks(self, latent_frames: int) -> list[slice]:
        """Latent frames of each window."""
        size = self.config.micro_frame_size
        step = latent_frames if size is None else 1 + (size - 1) // TIME
        return [slice(i, min(i + step, latent_frames)) for i in range(0, latent_frames, step)]


def _channels(ops: Ops, values: tuple[float, ...], like: Array) -> Array:
    """One number per channel, to meet latents [B, C, T, h, w]."""
    return ops.asarray(np.reshape(np.asarray(values, np.float64), (1, len(values), 1, 1, 1)), like.dtype)
