"""STDiT3, the denoiser of Open-Sora v1.2: alternating spatial and temporal transformer blocks on video latents.

Parameter names are those of the published checkpoints (hpcai-tech/OpenSora-STDiT-v3).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ..derived import pad_to_multiple
from ..errors import InvalidInputError
from ..module import static
from ..nn.attention import Rope
from ..nn.embeddings import rope_frequencies, rope_tables, sincos_2d, time_features
from ..nn.init import RandomInit
from ..nn.layers import Linear, ScalarEmbedder, Silu, sequential
from ..ops import Array, Ops
from .blocks import FinalLayer, STDiT3Block
from .captions import TextContext, caption_rows, project_captions, unpatchify
from .config import STDiT3Config
from .embedders import (
    CaptionEmbedder,
    PatchEmbedder,
    RopeFrequencies,
    fps_embedder,
    masked_mean,
    pool_embedder,
)
from .step_cache import StepCache


@dataclass(frozen=True)
class STDiT3:
    """The denoiser: predicts the velocity of every latent frame from noisy latents, a timestep and text."""

    rope: RopeFrequencies
    x_embedder: PatchEmbedder
    t_embedder: ScalarEmbedder
    fps_embedder: ScalarEmbedder
    t_block: tuple[Silu, Linear]
    y_embedder: CaptionEmbedder
    pool_embedder: tuple[Linear, Silu, Linear] | None
    spatial_blocks: tuple[STDiT3Block, ...]
    temporal_blocks: tuple[STDiT3Block, ...]
    final_layer: FinalLayer
    config: STDiT3Config = static()
    step_cache: StepCache | None = static(default=None)  # of one generation; None computes every step

    @classmethod
    def create(cls, config: STDiT3Config, init: RandomInit) -> STDiT3:
        """Official initialisation; pass a ShapeInit to get a weightless model to load a checkpoint into."""
        C = config.hidden_size
        return cls(
            rope=RopeFrequencies(rope_frequencies(config.head_dim).astype("float32")),
            x_embedder=PatchEmbedder.create(init, config),
            t_embedder=ScalarEmbedder.create(init, C),
            fps_embedder=fps_embedder(init, C),
            t_block=(Silu(), Linear.create(init, C, 6 * C)),
            y_embedder=CaptionEmbedder.create(init, config),
            pool_embedder=pool_embedder(init, config) if config.pooled_caption else None,
            spatial_blocks=tuple(STDiT3Block.create(init, config, temporal=False) for _ in range(config.depth)),
            temporal_blocks=tuple(STDiT3Block.create(init, config, temporal=True) for _ in range(config.depth)),
            final_layer=FinalLayer.create(init, config),
            config=config,
        )

    def __call__(
        self,
        ops: Ops,
        x: Array,
        timestep: Array,
        y: Array,
        mask: Array | None = None,
        x_mask: Array | None = None,
        fps: Array | None = None,
        height: float = 0,
        width: float = 0,
    ) -> Array:
        """One prediction: `encode_text` and `denoise` in one call; see there for the arguments."""
        text = self.encode_text(ops, y, mask)
        return self.denoise(ops, x, timestep, text, x_mask, fps, height, width)

    def blocks(self) -> list[STDiT3Block]:
        """All blocks in the order they run: spatial and temporal alternating."""
        return [block for pair in zip(self.spatial_blocks, self.temporal_blocks, strict=True) for block in pair]

    # ------------------------------------------------------------------ text: once per generation

    def encode_text(self, ops: Ops, y: Array, mask: Array | None = None) -> TextContext:
        """Text features y [B, 1, L, caption] and mask [Bm, L] for every block, see `project_captions`."""
        layers = [block.cross_attn for block in self.blocks()]
        text = project_captions(ops, self.y_embedder, layers, y, mask, embedded=self.config.skip_y_embedder)
        if self.pool_embedder is None:
            return text
        rows = caption_rows(ops, self.y_embedder, y)
        keep = None if text.mask is None else ops.reshape(text.mask, rows.shape[:2])
        return text._replace(pooled=sequential(ops, self.pool_embedder, masked_mean(ops, rows, keep)))

    # ------------------------------------------------------------------ video: once per step

    def denoise(
        self,
        ops: Ops,
        x: Array,
        timestep: Array,
        text: TextContext,
        x_mask: Array | None = None,
        fps: Array | None = None,
        height: float = 0,
        width: float = 0,
    ) -> Array:
        """Predict from noisy latents x [B, in, T, H, W]; returns [B, out, T, H, W] in float32 or better.

        timestep [B] in 0 (data) to 1000 (noise); x_mask [B, T in patches] booleans, False for given frames, which are
        treated as timestep 0; fps [B] or [1] frames per second; height, width: the video's size in pixels; without
        it InvalidInputError is raised.
        """
        dtype = self._dtype(ops)
        tokens = self._embed(ops, self.x_embedder, x)
        return self._predict(ops, tokens, x.shape[2:], ops.astype(timestep, dtype), text, x_mask, fps, height, width)

    def _embed(self, ops: Ops, embedder: PatchEmbedder, x: Array) -> Array:
        """Latents [B, in, T, H, W], filled up to whole patches -> tokens [B, T, S, C]."""
        x = pad_to_multiple(ops, ops.astype(x, self._dtype(ops)), (1, 1, *self.config.patch_size))
        return embedder.proj(ops, x)

    def _predict(
        self,
        ops: Ops,
        x: Array,
        size: tuple[int, ...],
        timestep: Array,
        text: TextContext,
        x_mask: Array | None,
        fps: Array | None,
        height: float,
        width: float,
    ) -> Array:
        """Tokens x [B, T, S, C] of latents of the given size (T, H, W) -> [B, out, T, H, W]."""
        patch = self.config.patch_size
        grid = tuple(-(-n // p) for n, p in zip(size, patch, strict=True))
        t = self._condition(ops, timestep, fps, text.pooled)  # (B, C)
        t0 = (
            None
            if x_mask is None
            else self._condition(ops, ops.full(timestep.shape, 0.0, timestep.dtype), fps, text.pooled)
        )
        x_mask = None if x_mask is None else ops.reshape(ops.astype(x_mask, "bool"), (x.shape[0], grid[0], 1, 1))
        modulation = self._modulation(ops, t, t0, x_mask)  # (B, 1 or T, 6, C)
        scale = self._scale(height, width)
        x = x + self._positions(ops, x, grid, fps, scale)
        places = self._places(ops, grid, scale)

        def through_blocks(x: Array) -> Array:
            for block, keys_values in zip(self.blocks(), text.keys_values, strict=True):
                x = block(ops, x, modulation, keys_values, text.mask, places)  # (B, T, S, C)
            return x

        x = through_blocks(x) if self.step_cache is None else self.step_cache.run(ops, x, x_mask, through_blocks)
        x = self.final_layer(ops, x, t, t0, x_mask)  # (B, T, S, patch·out)
        T, H, W = size
        return ops.widen(unpatchify(ops, x, grid, patch)[:, :, :T, :H, :W])

    def _places(self, ops: Ops, grid: tuple[int, ...], scale: float) -> Any:
        """What the attention of the blocks needs to know of a grid (T, H, W) of tokens."""
        return Rope(*rope_tables(ops, self.rope.freqs, grid[0]))

    def _dtype(self, ops: Ops) -> str:
        return ops.dtype_name(self.final_layer.linear.weight)

    def _condition(self, ops: Ops, timestep: Array, fps: Array | None, pooled: Array | None) -> Array:
        dtype = self._dtype(ops)
        t = self.t_embedder(ops, timestep, dtype)  # (B, C)
        if fps is not None:
            t = t + self.fps_embedder(ops, ops.astype(fps, dtype), dtype)
        return t if pooled is None else t + pooled

    def _modulation(self, ops: Ops, t: Array, t0: Array | None, x_mask: Array | None) -> Array:
        rows = (t.shape[0], 1, 6, t.shape[1])
        noised = ops.reshape(sequential(ops, self.t_block, t), rows)  # (B, 1, 6, C)
        if x_mask is None:
            return noised
        return ops.where(x_mask, noised, ops.reshape(sequential(ops, self.t_block, t0), rows))  # (B, T, 6, C)

    def _scale(self, height: float, width: float) -> float:
        """By how much positions in space are divided."""
        if not (height > 0 and width > 0):
            raise InvalidInputError(f"height={height} and width={width} must be the video's size in pixels, above 0")
        return math.sqrt(height * width) / self.config.input_sq_size

    def _positions(self, ops: Ops, x: Array, grid: tuple[int, ...], fps: Array | None, scale: float) -> Array:
        c = self.config
        place = ops.asarray(sincos_2d(c.hidden_size, grid[1], grid[2], scale), x.dtype)  # (S, C)
        if c.frame_time_fps is None or fps is None or grid[0] == 1:
            return place
        dtype = ops.widen(x).dtype
        index = ops.reshape(ops.arange(grid[0], dtype), (1, -1))
        times = index * (c.frame_time_fps / ops.reshape(ops.astype(fps, dtype), (-1, 1)))  # (B, T)
        moment = ops.astype(time_features(ops, times, c.hidden_size), x.dtype)  # (B, T, C)
        return place + ops.reshape(moment, (*moment.shape[:2], 1, c.hidden_size))  # (B, T, S, C)
