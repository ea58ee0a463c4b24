"""What enters the blocks of STDiT3: patches of the video, its frame rate, and the text."""

from __future__ import annotations

from dataclasses import dataclass

from ..derived import mean, rearrange
from ..errors import InvalidInputError
from ..nn.init import RandomInit
from ..nn.layers import Linear, Mlp, ScalarEmbedder, Silu
from ..ops import Array, Ops
from .config import STDiT3Config

IMAGE_FPS = 120.0  # the frame rate that stands for a single image in Open-Sora v1.2


def conditioning_fps(num_frames: int, fps: float) -> float:
    """The frame rate that a denoiser is conditioned on: a single image has `IMAGE_FPS`."""
    return IMAGE_FPS if num_frames == 1 else fps


@dataclass(frozen=True)
class PatchEmbed:
    """Convolution whose kernel is its stride: one token per patch. weight [C, in, pt, ph, pw]."""

    weight: Array
    bias: Array

    def __call__(self, ops: Ops, x: Array) -> Array:
        """x [B, in, T, H, W] of whole patches -> [B, T', H'·W', C]."""
        pt, ph, pw = self.weight.shape[2:]
        patches = rearrange(ops, x, "b c (t pt) (h ph) (w pw) -> b t (h w) (c pt ph pw)", pt=pt, ph=ph, pw=pw)
        return ops.linear(patches, ops.reshape(self.weight, (self.weight.shape[0], -1)), self.bias)


@dataclass(frozen=True)
class PatchEmbedder:
    """Holds the patch embedding under its published name `x_embedder.proj`."""

    proj: PatchEmbed

    @classmethod
    def create(cls, init: RandomInit, config: STDiT3Config, *, zero: bool = False) -> PatchEmbedder:
        """Xavier weights, or zeros, and zero bias."""
        shape = (config.hidden_size, config.in_channels, *config.patch_size)
        weight = init.zeros(*shape) if zero else init.xavier_uniform(*shape)
        return cls(PatchEmbed(weight, init.zeros(config.hidden_size)))


@dataclass(frozen=True)
class RopeFrequencies:
    """Holds the rotary frequencies [D/2], which checkpoints store, under `rope.freqs`."""

    freqs: Array


@dataclass(frozen=True)
class CaptionEmbedder:
    """Projects text features to the model's width; holds the features of the empty caption."""

    y_embedding: Array  # (L, caption_channels): the text of classifier-free guidance
    y_proj: Mlp

    @classmethod
    def create(cls, init: RandomInit, config: STDiT3Config) -> CaptionEmbedder:
        """Random features of the empty caption, Xavier weights."""
        caption, C = config.caption_channels, config.hidden_size
        null = init.normal((config.model_max_length, caption), caption**-0.5)
        return cls(null, Mlp.create(init, caption, C, C))


def unpack_text(ops: Ops, packed: Array, lengths: list[int]) -> tuple[Array, Array]:
    """Packed text [1, ΣL, C] of samples of the given lengths -> (y [B, L, C], mask [B, L]): `skip_y_embedder` input."""
    longest = max(lengths)
    starts = [sum(lengths[:i]) for i in range(len(lengths))]
    rows = [min(s + j, s + max(n - 1, 0)) for s, n in zip(starts, lengths, strict=True) for j in range(longest)]
    tokens = ops.reshape(packed, (-1, packed.shape[-1]))
    y = ops.reshape(ops.take(tokens, ops.asarray(rows, "int64")), (len(lengths), longest, -1))
    return y, ops.asarray([[j < n for j in range(longest)] for n in lengths], "bool")


def tile_rows(ops: Ops, mask: Array, rows: int) -> Array:
    """Repeat a text mask [Bm, L] whole until it has `rows` rows; raises InvalidInputError if that cannot be."""
    if rows % mask.shape[0]:
        raise InvalidInputError(f"a text mask of {mask.shape[0]} rows cannot be tiled to the {rows} rows of the text")
    return mask if mask.shape[0] == rows else ops.concat([mask] * (rows // mask.shape[0]), axis=0)


def masked_mean(ops: Ops, y: Array, keep: Array | None) -> Array:
    """Mean [B, C] of the tokens y [B, L, C] where keep [B, L] holds (None: of all); zero where it never does."""
    if keep is None:
        return mean(ops, y, axis=1)
    wide = ops.widen(y)
    weights = ops.astype(keep, wide.dtype)
    total = ops.maximum(ops.sum(weights, axis=1, keepdims=True), 1.0)
    weights = ops.reshape(weights / total, (*keep.shape, 1))
    return ops.astype(ops.sum(wide * weights, axis=1), y.dtype)


def fps_embedder(init: RandomInit, size: int) -> ScalarEmbedder:
    """Return the embedder of the frame rate as published: a small first layer and a zero second one."""
    first, silu, second = ScalarEmbedder.create(init, size).mlp
    small = Linear(init.normal(first.weight.shape, 0.02), first.bias)
    return ScalarEmbedder((small, silu, Linear(init.zeros(*second.weight.shape), second.bias)))


def pool_embedder(init: RandomInit, config: STDiT3Config) -> tuple[Linear, Silu, Linear]:
    """Return the layers through which the mean text token reaches the timestep vector (`pooled_caption`)."""
    C = config.hidden_size
    return Linear.create(init, config.caption_channels, C), Silu(), Linear.create(init, C, C)
