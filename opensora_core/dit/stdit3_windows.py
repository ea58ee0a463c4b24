"""STDiT3 of Open-Sora v1.3: temporal blocks attend inside windows of space and time, rope in three dimensions, and
frames that are given as clean latents beside the noisy ones.

Parameter names are those of the published checkpoints (hpcai-tech/OpenSora-STDiT-v4).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..derived import pad_to_multiple, rearrange
from ..errors import InvalidInputError
from ..nn.attention import KeysValues, Rope, SelfAttention
from ..nn.embeddings import rope_frequencies
from ..nn.init import RandomInit
from ..ops import Array, Ops
from .blocks import STDiT3Block
from .captions import unpatchify
from .config import STDiT3Config
from .embedders import PatchEmbedder, RopeFrequencies
from .stdit3 import STDiT3, TextContext

Grid = tuple[int, ...]


@dataclass(frozen=True)
class WindowedConfig(STDiT3Config):
    """Fields of STDiT3 and the window (height, width, time) in patches, -1 for a whole axis."""

    in_channels: int = 16
    kernel_size: tuple[int, int, int] = (8, 8, -1)
    use_spatial_rope: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.use_spatial_rope or self.head_dim % 6:
            raise InvalidInputError(
                f"use_spatial_rope={self.use_spatial_rope} and {self.head_dim} channels per head: windows need spatial "
                "rope and channels per head that are a multiple of 6"
            )


class GivenFrames(NamedTuple):
    """Frames of the condition: their indices, their clean latents and a mask like these, and the empty caption."""

    indices: tuple[int, ...]
    latents: Array  # (B, in, T, H, W), zero elsewhere
    mask: Array  # (B, in, T, H, W), 1 where given
    null_text: TextContext


@dataclass(frozen=True, kw_only=True)
class WindowedSTDiT3(STDiT3):
    """The denoiser of v1.3; the parts it shares with v1.2 are inherited."""

    x_embedder_cond: PatchEmbedder
    x_embedder_cond_mask: PatchEmbedder

    @classmethod
    def create(cls, config: STDiT3Config, init: RandomInit) -> WindowedSTDiT3:
        """Random weights of the official shapes; pass a ShapeInit to get a weightless model to load into."""
        base = STDiT3.create(config, init)
        parts = {name: getattr(base, name) for name in STDiT3.__dataclass_fields__}
        parts["rope"] = RopeFrequencies(rope_frequencies(config.head_dim // 3).astype("float32"))
        extra = (PatchEmbedder.create(init, config) for _ in range(2))
        return cls(**parts, x_embedder_cond=next(extra), x_embedder_cond_mask=next(extra))

    def denoise_windows(
        self,
        ops: Ops,
        x: Array,
        timestep: Array,
        text: TextContext,
        fps: Array,
        height: float,
        width: float,
        given: GivenFrames | None = None,
    ) -> Array:
        """Predict from noisy latents x [B, in, T, H, W]; returns [B, out, T, H, W], at least float32.

        timestep [B] in 0 to 1000, fps [1] or [B], height and width of the video in pixels.
        """
        c, dtype = self.config, self._dtype(ops)
        T, H, W = x.shape[2:]
        multiples = (1, 1, *c.patch_size)
        grid = tuple(-(-n // p) for n, p in zip((T, H, W), c.patch_size, strict=True))
        t = self.t_embedder(ops, timestep, dtype) + self.fps_embedder(ops, ops.astype(fps, dtype), dtype)  # (B, C)
        modulation = self._modulation(ops, t, None, None)  # (B, 1, 6, C)
        x = self.x_embedder.proj(ops, pad_to_multiple(ops, ops.astype(x, dtype), multiples))  # (B, T, S, C)
        x = x + self._positions(ops, x, grid, None, height, width)
        if given is not None:
            for embedder, part in ((self.x_embedder_cond, given.latents), (self.x_embedder_cond_mask, given.mask)):
                x = x + embedder.proj(ops, pad_to_multiple(ops, ops.astype(part, dtype), multiples))
        scale = (height * width) ** 0.5 / c.input_sq_size
        space = _rope_3d(ops, self.rope.freqs, (1, *grid[1:]), scale, "thw")
        window = _window(c, grid)
        inside = _rope_3d(ops, self.rope.freqs, (window[2], *window[:2]), scale, "hwt")
        for i, block in enumerate(self.blocks()):
            attend = _in_windows(ops, block.attn, grid, window, inside) if i % 2 else _in_frames(ops, block.attn, space)
            x = block.around(ops, x, modulation, attend, _text(ops, block, i, text, given, grid[0]))
        x = self.final_layer(ops, x, t, None, None)
        return ops.widen(unpatchify(ops, x, grid, c.patch_size)[:, :, :T, :H, :W])


def _text(
    ops: Ops, block: STDiT3Block, index: int, text: TextContext, given: GivenFrames | None, num_frames: int
) -> Callable[[Array], Array]:
    """Cross-attention to the prompt, and to the empty caption in frames that are given."""

    def read(x: Array) -> Array:
        prompted = block.cross_attn(ops, x, text.keys_values[index], text.mask)
        if given is None:
            return prompted
        null: KeysValues = given.null_text.keys_values[index]
        is_given = ops.asarray(np.isin(np.arange(num_frames), given.indices).reshape(1, -1, 1, 1))
        return ops.where(is_given, block.cross_attn(ops, x, null, given.null_text.mask), prompted)

    return read


def _in_frames(ops: Ops, attn: SelfAttention, rope: Rope) -> Callable[[Array], Array]:
    return lambda x: attn(ops, x, "spatial", rope)


def _in_windows(ops: Ops, attn: SelfAttention, grid: Grid, window: Grid, rope: Rope) -> Callable[[Array], Array]:
    """Attention inside windows that do not overlap; the last ones are filled up with tokens nobody sees."""
    T, H, W = grid
    height, width, length = window
    padded = (-(-T // length) * length, -(-H // height) * height, -(-W // width) * width)
    sizes = {"ph": height, "pw": width, "pt": length}
    there = np.zeros(padded, bool)
    there[:T, :H, :W] = True
    counts = (padded[0] // length, length, padded[1] // height, height, padded[2] // width, width)
    keys = there.reshape(counts).transpose(2, 4, 0, 3, 5, 1).reshape(-1, 1, 1, 1, height * width * length)

    def attend(x: Array) -> Array:
        B, _, _, C = x.shape
        x = ops.reshape(x, (B, T, H, W, C))
        x = ops.pad(x, (0,) * 5, (0, *(n - m for n, m in zip(padded, grid, strict=True)), 0), (0,) * 5)
        rows = rearrange(ops, x, "b (t pt) (h ph) (w pw) c -> b (h w t) (ph pw pt) c", **sizes)  # (B, windows, N, C)
        qkv = ops.reshape(attn.qkv(ops, rows), (*rows.shape[:3], 3, attn.num_heads, C // attn.num_heads))
        q, k, v = (ops.permute_dims(qkv[:, :, :, i], (0, 1, 3, 2, 4)) for i in range(3))  # (B, windows, H, N, D)
        q, k = (_normed(ops, norm, y, rope) for norm, y in ((attn.q_norm, q), (attn.k_norm, k)))
        mask = None if keys.all() else ops.asarray(keys[None, :, 0])
        out = ops.permute_dims(ops.attention(q, k, v, mask=mask), (0, 1, 3, 2, 4))
        out = attn.proj(ops, ops.reshape(out, rows.shape))
        steps = {"t": counts[0], "h": counts[2], "w": counts[4]}
        out = rearrange(ops, out, "b (h w t) (ph pw pt) c -> b (t pt) (h ph) (w pw) c", **sizes, **steps)
        return ops.reshape(out[:, :T, :H, :W], (B, T, H * W, C))

    return attend


def _normed(ops: Ops, norm: object, x: Array, rope: Rope) -> Array:
    weight = getattr(norm, "weight", None)
    return ops.rotary(x, *rope) if weight is None else ops.rms_norm_rotary(x, weight, *rope)


def _window(config: STDiT3Config, grid: Grid) -> Grid:
    """The window (height, width, time) in patches, whole axes filled in."""
    kernel: Grid = config.kernel_size if isinstance(config, WindowedConfig) else (-1, -1, -1)
    return tuple(size if size > 0 else whole for size, whole in zip(kernel, (grid[1], grid[2], grid[0]), strict=True))


def _rope_3d(ops: Ops, frequencies: Array, sizes: Grid, scale: float, order: str) -> Rope:
    """Rotary tables [T·H·W, D/2] of a box (T, H, W), a third of the channels for each axis; places divided by `scale`.

    order: in which the tokens lie, outermost axis first.
    """
    places = np.stack(np.meshgrid(*(np.arange(n, dtype=np.float64) for n in sizes), indexing="ij"), axis=-1)
    places[..., 1:] /= scale
    places = places.transpose(*("thw".index(axis) for axis in order), 3).reshape(-1, 3, 1)
    frequencies = ops.widen(frequencies)
    angles = ops.asarray(places, frequencies.dtype) * frequencies  # (N, 3, D/6)
    angles = ops.reshape(angles, (places.shape[0], -1))
    return Rope(ops.cos(angles), ops.sin(angles))
