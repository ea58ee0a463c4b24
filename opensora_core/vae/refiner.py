"""A small convolutional decoder on top of a block codec: it sees neighbouring blocks and corrects the decoding."""

from __future__ import annotations

from dataclasses import dataclass

from ..derived import rearrange
from ..nn.init import RandomInit
from ..ops import Array, Ops


@dataclass(frozen=True)
class Conv:
    """Convolution [B, in, h, w] -> [B, out, h, w], zero padding; weight [out, in, k, k] with k odd, bias [out]."""

    weight: Array
    bias: Array

    @classmethod
    def create(cls, init: RandomInit, fan_in: int, out: int, kernel: int, *, zero: bool = False) -> Conv:
        """Gaussian weight (or zeros) that shrinks what it is given to a third of its variance, and zero bias.

        Latents are mostly near zero and sometimes large; with twice this spread the features die in a few steps.
        """
        shape = (out, fan_in, kernel, kernel)
        weight = init.zeros(*shape) if zero else init.normal(shape, (3 * fan_in * kernel * kernel) ** -0.5)
        return cls(weight, init.zeros(out))

    def __call__(self, ops: Ops, x: Array) -> Array:
        """Keep the size of the frame."""
        border = self.weight.shape[-1] // 2
        return ops.conv(x, self.weight, self.bias, padding=(border, border))


@dataclass(frozen=True)
class ResidualBlock:
    """x + conv2(silu(conv1(silu(x)))), both 3x3 (He et al. 2016, pre-activation)."""

    conv1: Conv
    conv2: Conv

    @classmethod
    def create(cls, init: RandomInit, width: int) -> ResidualBlock:
        """Two random convolutions."""
        return cls(Conv.create(init, width, width, 3), Conv.create(init, width, width, 3))

    def __call__(self, ops: Ops, x: Array) -> Array:
        """x [B, width, h, w] of the same shape back."""
        return x + self.conv2(ops, ops.silu(self.conv1(ops, ops.silu(x))))


@dataclass(frozen=True)
class Refiner:
    """Latents to a correction of each block; starts as zero, so that an untrained refiner changes nothing.

    A latent frame is refined from itself and the one before it (the first from itself twice), never from later ones:
    an image decodes as the first frame of a video does.
    """

    conv_in: Conv
    blocks: tuple[ResidualBlock, ...]
    conv_out: Conv

    @classmethod
    def create(cls, init: RandomInit, channels: int, width: int, depth: int, block_size: int) -> Refiner:
        """Return a refiner of `depth` residual blocks, `width` channels wide."""
        conv_in = Conv.create(init, 2 * channels, width, 3)
        blocks = tuple(ResidualBlock.create(init, width) for _ in range(depth))
        return cls(conv_in, blocks, Conv.create(init, width, block_size, 1, zero=True))

    def __call__(self, ops: Ops, latents: Array) -> Array:
        """Latents [B, C, T', h, w] -> correction [B, T', h, w, D]."""
        before = ops.concat([latents[:, :, :1], latents[:, :, :-1]], axis=2)
        pairs = ops.concat([latents, before], axis=1)  # (B, 2C, T', h, w)
        x = self.conv_in(ops, rearrange(ops, pairs, "b c t h w -> (b t) c h w"))
        for block in self.blocks:
            x = block(ops, x)  # (B·T', width, h, w)
        y = self.conv_out(ops, x)  # (B·T', D, h, w)
        return rearrange(ops, y, "(b t) d h w -> b t h w d", t=latents.shape[2])
