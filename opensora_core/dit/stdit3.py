"""STDiT3, the denoiser of Open-Sora v1.2: alternating spatial and temporal transformer blocks on video latents.

Parameter names are those of the published checkpoints (hpcai-tech/OpenSora-STDiT-v3).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from ..derived import mean, pad_to_multiple, rearrange, split
from ..errors import InvalidInputError
from ..module import static
from ..nn.attention import CrossAttention, KeysValues, Rope, SelfAttention
from ..nn.embeddings import as_host_float, rope_frequencies, rope_tables, sincos_2d, time_features
from ..nn.init import RandomInit
from ..nn.layers import Linear, Mlp, ScalarEmbedder, Silu, sequential
from ..ops import Array, Ops
from .config import STDiT3Config


class TextContext(NamedTuple):
    """What the blocks need of the text: computed once per generation, as none of it depends on the timestep."""

    keys_values: tuple[KeysValues, ...]  # one per block, spatial and temporal alternating
    mask: Array | None  # (B, 1, 1, L) booleans
    pooled: Array | None  # (B, C)


class Modulation(NamedTuple):
    """Shift, scale and gate of attention and MLP, each (B, 1 or T, 1, C)."""

    shift_attn: Array
    scale_attn: Array
    gate_attn: Array
    shift_mlp: Array
    scale_mlp: Array
    gate_mlp: Array


@dataclass(frozen=True)
class STDiT3Block:
    """Modulated self-attention along one pattern, cross-attention to the text, modulated MLP."""

    scale_shift_table: Array  # (6, C)
    attn: SelfAttention
    cross_attn: CrossAttention
    mlp: Mlp
    temporal: bool = static()

    @classmethod
    def create(cls, init: RandomInit, config: STDiT3Config, *, temporal: bool) -> STDiT3Block:
        """Official initialisation: the residual branches of temporal blocks start at zero."""
        C, H = config.hidden_size, config.num_heads
        return cls(
            init.normal((6, C), C**-0.5),
            SelfAttention.create(init, C, H, qk_norm=config.qk_norm, zero_output=temporal),
            CrossAttention.create(init, C, H, zero_output=temporal),
            Mlp.create(init, C, int(C * config.mlp_ratio), C, zero_output=temporal),
            temporal,
        )

    def __call__(
        self, ops: Ops, x: Array, modulation: Array, text: KeysValues, mask: Array | None, rope: Rope
    ) -> Array:
        """x [B, T, S, C], modulation [B, 1 or T, 6, C] -> [B, T, S, C]."""
        m = Modulation(*split(ops, modulation + self.scale_shift_table, 6, axis=2))
        h = ops.modulate(x, m.shift_attn, m.scale_attn)
        h = self.attn(ops, h, "temporal", rope) if self.temporal else self.attn(ops, h, "spatial")
        x = x + m.gate_attn * h
        x = x + self.cross_attn(ops, x, text, mask)
        h = self.mlp(ops, ops.modulate(x, m.shift_mlp, m.scale_mlp))
        return x + m.gate_mlp * h


@dataclass(frozen=True)
class FinalLayer:
    """Modulated projection of tokens to patches."""

    scale_shift_table: Array  # (2, C)
    linear: Linear

    def __call__(self, ops: Ops, x: Array, t: Array, t0: Array | None, x_mask: Array | None) -> Array:
        """x [B, T, S, C], t and t0 [B, C], x_mask [B, T, 1, 1] -> [B, T, S, patch·out]."""
        out = self._modulate(ops, x, t)
        if x_mask is not None:
            # Official quirk: frames of the condition are modulated a second time, by the vector of timestep 0.
            out = ops.where(x_mask, out, self._modulate(ops, out, t0))
        return self.linear(ops, out)

    def _modulate(self, ops: Ops, x: Array, t: Array) -> Array:
        B, C = t.shape
        shift, scale = split(
            ops, ops.reshape(t, (B, 1, 1, C)) + ops.reshape(self.scale_shift_table, (1, 2, 1, C)), 2, 1
        )
        return ops.modulate(x, shift, scale)


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
class _Embedder:
    """Holds the patch embedding under its published name `x_embedder.proj`."""

    proj: PatchEmbed


@dataclass(frozen=True)
class _Rope:
    """Holds the rotary frequencies, which checkpoints store, under `rope.freqs`."""

    freqs: Array


@dataclass(frozen=True)
class CaptionEmbedder:
    """Projects text features to the model's width; holds the features of the empty caption."""

    y_embedding: Array  # (L, caption_channels): the text of classifier-free guidance
    y_proj: Mlp


@dataclass(frozen=True)
class STDiT3:
    """The denoiser: predicts the velocity of every latent frame from noisy latents, a timestep and text."""

    rope: _Rope
    x_embedder: _Embedder
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
        C, patch = config.hidden_size, config.patch_size
        patch_size = patch[0] * patch[1] * patch[2]
        return cls(
            rope=_Rope(rope_frequencies(config.head_dim).astype("float32")),
            x_embedder=_Embedder(PatchEmbed(init.xavier_uniform(C, config.in_channels, *patch), init.zeros(C))),
            t_embedder=ScalarEmbedder.create(init, C),
            fps_embedder=_zero_start(init, ScalarEmbedder.create(init, C)),
            t_block=(Silu(), Linear.create(init, C, 6 * C)),
            y_embedder=_caption_embedder(init, config),
            pool_embedder=_pool_embedder(init, config) if config.pooled_caption else None,
            spatial_blocks=tuple(STDiT3Block.create(init, config, temporal=False) for _ in range(config.depth)),
            temporal_blocks=tuple(STDiT3Block.create(init, config, temporal=True) for _ in range(config.depth)),
            final_layer=FinalLayer(
                init.normal((2, C), C**-0.5), Linear.create(init, C, patch_size * config.out_channels)
            ),
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

    # ------------------------------------------------------------------ text: once per generation

    def encode_text(self, ops: Ops, y: Array, mask: Array | None = None) -> TextContext:
        """Project text features y [B, 1, L, caption] (or [B, L, caption]) to every block's keys and values.

        mask [Bm, L]: nonzero for tokens of the prompt; fewer rows than y are tiled whole, so that the unconditional
        half of a guided batch sees as many tokens as the prompt has (as the official code does). None: all tokens.
        """
        y = ops.astype(ops.reshape(y, (y.shape[0], y.shape[-2], y.shape[-1])), self._dtype(ops))  # (B, L, caption)
        keep = None if mask is None else _tile_rows(ops, ops.astype(mask, "bool"), y.shape[0])  # (B, L)
        text = y if self.config.skip_y_embedder else self.y_embedder.y_proj(ops, y)  # (B, L, C)
        blocks = [b for pair in zip(self.spatial_blocks, self.temporal_blocks, strict=True) for b in pair]
        return TextContext(
            tuple(block.cross_attn.project_text(ops, text) for block in blocks),
            None if keep is None else ops.reshape(keep, (y.shape[0], 1, 1, -1)),
            sequential(ops, self.pool_embedder, _masked_mean(ops, y, keep)) if self.pool_embedder else None,
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
        treated as timestep 0; fps [B] or [1] frames per second; height, width: size of the video in pixels.
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
        blocks = [b for pair in zip(self.spatial_blocks, self.temporal_blocks, strict=True) for b in pair]
        for block, keys_values in zip(blocks, text.keys_values, strict=True):
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
        scale = (as_host_float(height) * as_host_float(width)) ** 0.5 / c.input_sq_size
        place = ops.asarray(sincos_2d(c.hidden_size, grid[1], grid[2], scale), x.dtype)  # (S, C)
        if c.frame_time_fps is None or fps is None or grid[0] == 1:
            return place
        index = ops.reshape(ops.arange(grid[0], "float32"), (1, -1))
        times = index * (c.frame_time_fps / ops.reshape(ops.astype(fps, "float32"), (-1, 1)))  # (B, T)
        moment = ops.astype(time_features(ops, times, c.hidden_size), x.dtype)  # (B, T, C)
        return place + ops.reshape(moment, (*moment.shape[:2], 1, c.hidden_size))  # (B, T, S, C)


def unpack_text(ops: Ops, packed: Array, lengths: list[int]) -> tuple[Array, Array]:
    """Packed text [1, ΣL, C] of samples of the given lengths -> (y [B, L, C], mask [B, L]): `skip_y_embedder` input."""
    longest = max(lengths)
    starts = [sum(lengths[:i]) for i in range(len(lengths))]
    rows = [min(s + j, s + max(n - 1, 0)) for s, n in zip(starts, lengths, strict=True) for j in range(longest)]
    tokens = ops.reshape(packed, (-1, packed.shape[-1]))
    y = ops.reshape(ops.take(tokens, ops.asarray(rows, "int64")), (len(lengths), longest, -1))
    return y, ops.asarray([[j < n for j in range(longest)] for n in lengths], "bool")


def _tile_rows(ops: Ops, mask: Array, rows: int) -> Array:
    if rows % mask.shape[0]:
        raise InvalidInputError(f"a text mask of {mask.shape[0]} rows cannot be tiled to the {rows} rows of the text")
    return mask if mask.shape[0] == rows else ops.concat([mask] * (rows // mask.shape[0]), axis=0)


def _masked_mean(ops: Ops, y: Array, keep: Array | None) -> Array:
    if keep is None:
        return mean(ops, y, axis=1)
    weights = ops.astype(keep, "float32")
    total = ops.maximum(ops.sum(weights, axis=1, keepdims=True), 1.0)
    weights = ops.reshape(weights / total, (*keep.shape, 1))
    return ops.astype(ops.sum(ops.widen(y) * weights, axis=1), y.dtype)


def _caption_embedder(init: RandomInit, c: STDiT3Config) -> CaptionEmbedder:
    null = init.normal((c.model_max_length, c.caption_channels), c.caption_channels**-0.5)
    return CaptionEmbedder(null, Mlp.create(init, c.caption_channels, c.hidden_size, c.hidden_size))


def _pool_embedder(init: RandomInit, c: STDiT3Config) -> tuple[Linear, Silu, Linear]:
    C = c.hidden_size
    return (Linear.create(init, c.caption_channels, C), Silu(), Linear.create(init, C, C))


def _zero_start(init: RandomInit, embedder: ScalarEmbedder) -> ScalarEmbedder:
    """Return the fps embedder as published: a small first layer and a zero second one."""
    first, silu, second = embedder.mlp
    small = Linear(init.normal(first.weight.shape, 0.02), first.bias)
    return ScalarEmbedder((small, silu, Linear(init.zeros(*second.weight.shape), second.bias)))
