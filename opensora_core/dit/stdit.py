"""STDiT, the denoiser of Open-Sora v1.0: spatial attention, temporal attention, text and MLP in one block.

Parameter names are those of the published checkpoints, whose position buffers (`pos_embed`, `pos_embed_temporal`) are
computed here instead.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..derived import split
from ..errors import InvalidInputError
from ..module import static
from ..nn.attention import CrossAttention, KeysValues, SelfAttention
from ..nn.embeddings import Table
from ..nn.init import RandomInit
from ..nn.layers import Linear, Mlp, ScalarEmbedder, Silu, sequential
from ..ops import Array, Ops
from .blocks import FinalLayer, Modulation
from .captions import TextContext, project_captions, unpatchify
from .config import STDiT3Config
from .embedders import CaptionEmbedder, PatchEmbedder

BUFFERS = ("pos_embed", "pos_embed_temporal")  # in published checkpoints, and ignored


@dataclass(frozen=True)
class STDiTConfig(STDiT3Config):
    """Fields of STDiT3 and the fixed size of the latents (T, H, W), with the scales of the positions in it."""

    input_size: tuple[int, int, int] = (16, 32, 32)
    space_scale: float = 1.0
    time_scale: float = 1.0
    model_max_length: int = 120
    qk_norm: bool = False


@dataclass(frozen=True)
class STDiTBlock:
    """Both attentions share one gate; the temporal one sees the residual stream as it is, without a norm."""

    scale_shift_table: Array  # (6, C)
    attn: SelfAttention
    attn_temp: SelfAttention
    cross_attn: CrossAttention
    mlp: Mlp

    @classmethod
    def create(cls, init: RandomInit, config: STDiTConfig) -> STDiTBlock:
        """Official initialisation: temporal attention and text start as the zero function."""
        C, H = config.hidden_size, config.num_heads
        return cls(
            init.normal((6, C), C**-0.5),
            SelfAttention.create(init, C, H, qk_norm=False),
            SelfAttention.create(init, C, H, qk_norm=False, zero_output=True),
            CrossAttention.create(init, C, H, zero_output=True),
            Mlp.create(init, C, int(C * config.mlp_ratio), C),
        )

    def __call__(
        self, ops: Ops, x: Array, modulation: Array, text: KeysValues, mask: Array | None, moments: Array | None
    ) -> Array:
        """x [B, T, S, C], modulation [B, 1, 6, C], moments [T, 1, C] in the first block only -> [B, T, S, C]."""
        m = Modulation(*split(ops, modulation + self.scale_shift_table, 6, axis=2))
        h = self.attn(ops, ops.modulate(x, m.shift_attn, m.scale_attn), "spatial")
        x = ops.gated_residual(x, h, m.gate_attn)
        h = self.attn_temp(ops, x if moments is None else x + moments, "temporal")
        x = ops.gated_residual(x, h, m.gate_attn)
        x = x + self.cross_attn(ops, x, text, mask)
        h = self.mlp(ops, ops.modulate(x, m.shift_mlp, m.scale_mlp))
        return ops.gated_residual(x, h, m.gate_mlp)


@dataclass(frozen=True)
class STDiT:
    """The denoiser: predicts noise and variance from noisy latents, a timestep and text."""

    x_embedder: PatchEmbedder
    t_embedder: ScalarEmbedder
    t_block: tuple[Silu, Linear]
    y_embedder: CaptionEmbedder
    blocks: tuple[STDiTBlock, ...]
    final_layer: FinalLayer
    config: STDiTConfig = static()

    @classmethod
    def create(cls, config: STDiTConfig, init: RandomInit) -> STDiT:
        """Random weights of the official shapes; pass a ShapeInit to get a weightless model to load into."""
        C = config.hidden_size
        return cls(
            x_embedder=PatchEmbedder.create(init, config),
            t_embedder=ScalarEmbedder.create(init, C),
            t_block=(Silu(), Linear.create(init, C, 6 * C)),
            y_embedder=CaptionEmbedder.create(init, config),
            blocks=tuple(STDiTBlock.create(init, config) for _ in range(config.depth)),
            final_layer=FinalLayer.create(init, config),
            config=config,
        )

    def at_size(self, size: tuple[int, int, int]) -> STDiT:
        """The same weights for latents of another size (T, H, W): only positions depend on it."""
        return replace(self, config=replace(self.config, input_size=size))

    def encode_text(self, ops: Ops, y: Array, mask: Array | None = None) -> TextContext:
        """Text features y [B, 1, L, caption] and mask [Bm, L] for every block; once per generation."""
        return project_captions(
            ops,
            self.y_embedder,
            (block.cross_attn for block in self.blocks),
            y,
            mask,
            embedded=self.config.skip_y_embedder,
        )

    def denoise(self, ops: Ops, x: Array, timestep: Array, text: TextContext) -> Array:
        """x [B, in, T, H, W] of the configured size, timestep [B] in 0 to 999 -> [B, out, T, H, W], at least float32.

        Raises InvalidInputError for latents of another size.
        """
        c, dtype = self.config, ops.dtype_name(self.final_layer.linear.weight)
        if tuple(x.shape[2:]) != tuple(c.input_size):
            raise InvalidInputError(f"latents of size {tuple(x.shape[2:])}; this STDiT was built for {c.input_size}")
        grid = tuple(n // p for n, p in zip(c.input_size, c.patch_size, strict=True))
        t = self.t_embedder(ops, ops.astype(timestep, dtype), dtype)  # (B, C)
        modulation = ops.reshape(sequential(ops, self.t_block, t), (-1, 1, 6, c.hidden_size))
        places = space_positions(c.hidden_size, grid[1], grid[2], c.space_scale)
        x = self.x_embedder.proj(ops, ops.astype(x, dtype)) + ops.asarray(places, dtype)  # (B, T, S, C)
        moments = ops.asarray(line(c.hidden_size, np.arange(grid[0]) / c.time_scale)[:, None], dtype)  # (T, 1, C)
        for i, (block, keys_values) in enumerate(zip(self.blocks, text.keys_values, strict=True)):
            x = block(ops, x, modulation, keys_values, text.mask, moments if i == 0 else None)
        x = self.final_layer(ops, x, t, None, None)  # (B, T, S, patch·out)
        return ops.widen(unpatchify(ops, x, grid, c.patch_size))


def line(channels: int, positions: Table) -> Table:
    """[sin(p f), cos(p f)] of positions [N] with f_k = 10000^(-2k/channels): [N, channels], in float64."""
    angles = positions[:, None] * 10000.0 ** (-2.0 * np.arange(channels // 2) / channels)
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)


def space_positions(channels: int, height: int, width: int, scale: float) -> Table:
    """Position embedding of a patch grid [H·W, C]: column first, coordinates divided by `scale`."""
    columns = np.tile(line(channels // 2, np.arange(width) / scale), (height, 1))
    rows = np.repeat(line(channels // 2, np.arange(height) / scale), width, axis=0)
    return np.concatenate([columns, rows], axis=1)
