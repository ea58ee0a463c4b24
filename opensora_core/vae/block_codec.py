"""A linear video codec: principal components of space-time blocks, behind Open-Sora's rule for frames.

The first frame fills a latent frame of its own (repeated over the block's frames) and every further latent frame holds
one group of frames: 17 = 1 + 4·4 frames give 5 latent frames, and an image equals the first latent of a video that
starts with it. As encoder and linear decoder are known the moment the components are, a denoiser can train on latents
that never change; a refiner trained later only improves what is decoded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from ..checks import table, whole
from ..derived import mean, rearrange
from ..errors import InvalidInputError
from ..module import static
from ..nn.init import RandomInit
from ..ops import Array, Ops
from .refiner import Refiner
from .sizes import check_held, check_multiples, check_video


@dataclass(frozen=True)
class BlockCodecConfig:
    """Shape of a block codec.

    latent_channels: components kept per block. block: its size (frames, pixel rows, pixel columns).
    refiner_width, refiner_depth: channels and residual blocks of the refiner; a width of 0 means none.
    """

    latent_channels: int = 48
    block: tuple[int, int, int] = (4, 8, 8)
    refiner_width: int = 0
    refiner_depth: int = 2

    def __post_init__(self) -> None:
        if not isinstance(self.block, list | tuple) or len(self.block) != 3:
            raise InvalidInputError(f"block={self.block!r} must be (frames, rows, columns)")
        object.__setattr__(self, "block", tuple(whole("block", n, 1, 1024) for n in self.block))
        if not 1 <= whole("latent_channels", self.latent_channels, 1) <= self.block_size:
            raise InvalidInputError(
                f"latent_channels={self.latent_channels} must be from 1 to {self.block_size}, the numbers in a block"
            )
        whole("refiner_width", self.refiner_width, 0, 65_536)
        whole("refiner_depth", self.refiner_depth, 0, 1000)

    @property
    def block_size(self) -> int:
        """How many numbers one block holds: 3 colours of all its pixels."""
        return 3 * math.prod(self.block)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {**asdict(self), "block": list(self.block)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> BlockCodecConfig:
        """From `to_dict`; a field that is not known is an error, not ignored."""
        return cls(**table("block codec", values, [f.name for f in fields(cls)]))


@dataclass(frozen=True)
class BlockCodec:
    """Blocks of D numbers to C latent channels, and back.

    mean [D]: the average block. basis [C, D]: orthonormal rows, the strongest component first. scale [C]: what the
    components are divided by. refiner: a correction of what the components give, or None.
    """

    mean: Array
    basis: Array
    scale: Array
    config: BlockCodecConfig = static()
    refiner: Refiner | None = None

    @classmethod
    def create(cls, init: RandomInit, config: BlockCodecConfig) -> BlockCodec:
        """Return a codec of the right shapes: all-zero components to load weights into, and a refiner to train."""
        C, D = config.latent_channels, config.block_size
        refiner = (
            Refiner.create(init, C, config.refiner_width, config.refiner_depth, D) if config.refiner_width else None
        )
        return cls(init.zeros(D), init.zeros(C, D), init.ones(C), config, refiner)

    # ------------------------------------------------------------------ sizes

    def latent_frames(self, num_frames: int) -> int:
        """Latent frames of a video of num_frames >= 1 frames: 1 and one more per begun group."""
        if num_frames < 1:
            raise InvalidInputError(f"num_frames={num_frames} must be at least 1")
        return 1 + -(-(num_frames - 1) // self.config.block[0])

    def frames_of(self, latent_frames: int) -> int:
        """The most frames that so many latent frames hold."""
        if latent_frames < 1:
            raise InvalidInputError(f"latent_frames={latent_frames} must be at least 1")
        return 1 + (latent_frames - 1) * self.config.block[0]

    def latent_shape(self, num_frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """(C, T', h, w) of a video; height and width must be multiples of the block's."""
        _, rows, columns = self.config.block
        check_multiples(height, width, rows, columns)
        return self.config.latent_channels, self.latent_frames(num_frames), height // rows, width // columns

    # ------------------------------------------------------------------ video to latents and back

    def encode(self, ops: Ops, video: Array) -> Array:
        """Video [B, 3, T, H, W] in [-1, 1] -> latents [B, C, T', h, w]; the last group is filled by its last frame.

        Raises InvalidInputError unless H and W are multiples of the block's.
        """
        blocks = to_blocks(ops, video, self.config.block)  # (B, T', h, w, D)
        latents = ops.linear(blocks - self.mean, self.basis) / self.scale  # (B, T', h, w, C)
        return ops.permute_dims(latents, (0, 4, 1, 2, 3))

    def decode(self, ops: Ops, latents: Array, num_frames: int | None = None) -> Array:
        """Latents [B, C, T', h, w] -> video [B, 3, T, H, W]; T is num_frames, or all that the latents hold.

        Values are about [-1, 1] and may overshoot. Raises InvalidInputError when the latents hold another number of
        frames.
        """
        num_frames = self.frames_of(latents.shape[2]) if num_frames is None else num_frames
        check_held(num_frames, self.latent_frames(num_frames), latents.shape[2])
        return from_blocks(ops, self.decode_blocks(ops, latents), self.config.block)[:, :, :num_frames]

    def decode_blocks(self, ops: Ops, latents: Array) -> Array:
        """Latents [B, C, T', h, w] -> blocks [B, T', h, w, D]: components, then the refiner's correction."""
        components = ops.permute_dims(latents, (0, 2, 3, 4, 1)) * self.scale  # (B, T', h, w, C)
        blocks = ops.linear(components, ops.permute_dims(self.basis, (1, 0))) + self.mean  # (B, T', h, w, D)
        return blocks if self.refiner is None else blocks + self.refiner(ops, latents)


def to_blocks(ops: Ops, video: Array, block: tuple[int, int, int]) -> Array:
    """Video [B, 3, T, H, W] -> blocks [B, T', H/q, W/r, 3·p·q·r] for a block (p, q, r); the first frame has a group."""
    p, q, r = block
    check_video(video)
    check_multiples(video.shape[3], video.shape[4], q, r)
    T = video.shape[2]
    first, last = video[:, :, :1], video[:, :, -1:]
    video = ops.concat([first] * (p - 1) + [video] + [last] * (-(T - 1) % p), axis=2)
    return rearrange(ops, video, "b c (t p) (h q) (w r) -> b t h w (c p q r)", p=p, q=q, r=r)


def from_blocks(ops: Ops, blocks: Array, block: tuple[int, int, int]) -> Array:
    """Blocks [B, T', h, w, D] -> video [B, 3, 1 + (T' - 1)·p, H, W]; the first frame is the mean of its group."""
    p, q, r = block
    video = rearrange(ops, blocks, "b t h w (c p q r) -> b c (t p) (h q) (w r)", c=3, p=p, q=q, r=r)
    return ops.concat([mean(ops, video[:, :, :p], axis=2, keepdims=True), video[:, :, p:]], axis=2)
