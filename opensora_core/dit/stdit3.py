"""STDiT3, the denoiser of Open-Sora v1.2: alternating spatial and temporal transformer blocks on video latents.

Parameter names are those of the published checkpoints (hpcai-tech/OpenSora-STDiT-v3).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from ..derived import pad_to_multiple, rearrange
from ..errors import InvalidInputError
from ..module import static
from ..nn.attention import KeysValues, Rope
from ..nn.embeddings import rope_frequencies, rope_tables, sincos_2d, time_features
from ..nn.init import RandomInit
from ..nn.layers import Linear, ScalarEmbedder, Silu, sequential
from ..ops import Array, Ops
from .blocks import FinalLayer, STDiT3Block
from .config import STDiT3Config
from .embedders import (
    CaptionEmbedder,
    PatchEmbedder,
    RopeFrequencies,
    fps_embedder,
    masked_mean,
    pool_embedder,
    tile_rows,
)


class TextContext(NamedTuple):
    """What the blocks need of the text: computed once per generation, as none of it depends on the timestep."""

    keys_values: tuple[KeysValues, ...]  # one per block, spatial and temporal alternating
    mask: Array | None  # (B, 1, 1, L) booleans
    pooled: Array | None  # (B, C)

    def conditional(self) -> TextContext:
        """The first half of the rows: of a guided batch, those with the prompt."""
        rows = self.keys_values[0].keys.shape[0] // 2
        return TextContext(
            tuple(KeysValues(keys[:rows], values[:rows]) for keys, values in self.keys_values),
            None if self.mask is None else self.mask[:rows],
            None if self.pooled is None else self.pooled[:rows],
        )


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
        """Project text features y [B, 1, L, caption] (or [B, L, caption]) to every block's keys and values.

        mask [Bm, L]: nonzero for tokens of the prompt; fewer rows than y are tiled whole, so that the unconditional
        half of a guided batch sees as many tokens as the prompt has (as the official code does). None: all tokens.
        """
        y = ops.astype(ops.reshape(y, (y.shape[0], y.shape[-2], y.shape[-1])), self._dtype(ops))  # (B, L, caption)
        keep = None if mask is None else tile_rows(ops, ops.astype(mask, "bool"), y.shape[0])  # (B, L)
        text = y if self.config.skip_y_embedder else self.y_embedder.y_proj(ops, y)  # (B, L, C)
        return TextContext(
            tuple(block.cross_attn.project_text(ops, text) for block in self.blocks()),
            None if keep is None else ops.reshape(keep, (y.shape[0], 1, 1, -1)),
            sequential(ops, self.pool_embedder, masked_mean(ops, y, keep)) if self.pool_embedder else None,
        )

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
        c, dtype = self.config, self._dtype(ops)
        T, H, W = x.shape[2:]
        x = pad_to_multiple(ops, ops.astype(x, dtype), (1, 1, *c.patch_size))
        grid = tuple(n // p for n, p in zip(x.shape[2:], c.patch_size, strict=True))
        t = self._condition(ops, timestep, fps, text.pooled)  # (B, C)
        t0 = None if x_mask is None else self._condition(ops, timestep * 0, fps, text.pooled)
        x_mask = None if x_mask is None else ops.reshape(ops.astype(x_mask, "bool"), (x.shape[0], grid[0], 1, 1))
        modulation = self._modulation(ops, t, t0, x_mask)  # (B, 1 or T, 6, C)
        x = self.x_embedder.proj(ops, x)  # (B, T, S, C)
        x = x + self._positions(ops, x, grid, fps, height, width)
        rope = Rope(*rope_tables(ops, self.rope.freqs, grid[0]))
        for block, keys_values in zip(self.blocks(), text.keys_values, strict=True):
            x = block(ops, x, modulation, keys_values, text.mask, rope)  # (B, T, S, C)
        x = self.final_layer(ops, x, t, t0, x_mask)  # (B, T, S, patch·out)
        pt, ph, pw = c.patch_size
        x = rearrange(
            ops, x, "b t (h w) (pt ph pw c) -> b c (t pt) (h ph) (w pw)", h=grid[1], pt=pt, ph=ph, pw=pw
        )  # (B, out, T, H, W), still padded
        return ops.widen(x[:, :, :T, :H, :W])

    def _dtype(self, ops: Ops) -> str:
        return ops.dtype_name(self.final_layer.linear.weight)

    def _condition(self, ops: Ops, timestep: Array, fps: Array | None, pooled: Array | None) -> Array:
        dtype = self._dtype(ops)
        t = self.t_embedder(ops, ops.astype(timestep, dtype), dtype)  # (B, C)
        if fps is not None:
            t = t + self.fps_embedder(ops, ops.astype(fps, dtype), dtype)
        return t if pooled is None else t + pooled

    def _modulation(self, ops: Ops, t: Array, t0: Array | None, x_mask: Array | None) -> Array:
        rows = (t.shape[0], 1, 6, t.shape[1])
        noised = ops.reshape(sequential(ops, self.t_block, t), rows)  # (B, 1, 6, C)
        if x_mask is None:
            return noised
        return ops.where(x_mask, noised, ops.reshape(sequential(ops, self.t_block, t0), rows))  # (B, T, 6, C)

    def _positions(
        self, ops: Ops, x: Array, grid: tuple[int, ...], fps: Array | None, height: float, width: float
    ) -> Array:
        c = self.config
        if not (height > 0 and width > 0):
            raise InvalidInputError(f"height={height} and width={width} must be the video's size in pixels, above 0")
        scale = (height * width) ** 0.5 / c.input_sq_size
        place = ops.asarray(sincos_2d(c.hidden_size, grid[1], grid[2], scale), x.dtype)  # (S, C)
        if c.frame_time_fps is None or fps is None or grid[0] == 1:
            return place
        dtype = ops.widen(x).dtype
        index = ops.reshape(ops.arange(grid[0], dtype), (1, -1))
        times = index * (c.frame_time_fps / ops.reshape(ops.astype(fps, dtype), (-1, 1)))  # (B, T)
        moment = ops.astype(time_features(ops, times, c.hidden_size), x.dtype)  # (B, T, C)
        return place + ops.reshape(moment, (*moment.shape[:2], 1, c.hidden_size))  # (B, T, S, C)
