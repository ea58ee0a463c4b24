"""STDiT2, the denoiser of Open-Sora v1.1: any size and length, told by embeddings, and frames that are given.

Parameter names are those of the published checkpoints (hpcai-tech/OpenSora-STDiT-v2-stage3).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from ..derived import pad_to_multiple, split
from ..errors import InvalidInputError
from ..module import static
from ..nn.attention import CrossAttention, KeysValues, Rope, SelfAttention
from ..nn.embeddings import rope_frequencies, rope_tables, sincos_2d
from ..nn.init import RandomInit
from ..nn.layers import Linear, Mlp, ScalarEmbedder, Silu, sequential
from ..ops import Array, Ops
from .blocks import FinalLayer, Modulation
from .captions import TextContext, project_captions, unpatchify
from .config import STDiT3Config
from .embedders import CaptionEmbedder, PatchEmbedder, RopeFrequencies


@dataclass(frozen=True)
class STDiT2Config(STDiT3Config):
    """Fields of STDiT3 with the defaults of v1.1; hidden_size is a multiple of 3, for height, width and their ratio."""

    input_sq_size: int = 32
    model_max_length: int = 120
    qk_norm: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hidden_size % 3:
            raise InvalidInputError(f"STDiT2 hidden_size={self.hidden_size!r} must be a multiple of 3")


class VideoSize(NamedTuple):
    """What STDiT2 is told of a video: pixels, frames (not latents) and frames per second; 120 for an image.

    ar: height over width where it is told apart from these, as by data sets that round it; None: computed.
    """

    height: float
    width: float
    num_frames: float
    fps: float
    ar: float | None = None


class Conditions(NamedTuple):
    """Timestep and size of the video as vectors [B, C]."""

    time: Array
    space: Array  # with height, width and aspect ratio
    moment: Array  # with length and frame rate


@dataclass(frozen=True)
class STDiT2Block:
    """Spatial attention, temporal attention with a modulation of its own, text, MLP."""

    scale_shift_table: Array  # (6, C)
    scale_shift_table_temporal: Array  # (3, C)
    attn: SelfAttention
    attn_temp: SelfAttention
    cross_attn: CrossAttention
    mlp: Mlp

    @classmethod
    def create(cls, init: RandomInit, config: STDiT2Config) -> STDiT2Block:
        """Official initialisation: temporal attention and text start as the zero function."""
        C, H = config.hidden_size, config.num_heads
        return cls(
            init.normal((6, C), C**-0.5),
            init.normal((3, C), C**-0.5),
            SelfAttention.create(init, C, H, qk_norm=config.qk_norm),
            SelfAttention.create(init, C, H, qk_norm=config.qk_norm, zero_output=True),
            CrossAttention.create(init, C, H, zero_output=True),
            Mlp.create(init, C, int(C * config.mlp_ratio), C),
        )

    def __call__(
        self, ops: Ops, x: Array, space: Array, moment: Array, text: KeysValues, mask: Array | None, rope: Rope
    ) -> Array:
        """x [B, T, S, C]; modulations space [B, 1 or T, 6, C] and moment [B, 1 or T, 3, C] -> [B, T, S, C]."""
        m = Modulation(*split(ops, space + self.scale_shift_table, 6, axis=2))
        shift, scale, gate = split(ops, moment + self.scale_shift_table_temporal, 3, axis=2)
        h = self.attn(ops, ops.modulate(x, m.shift_attn, m.scale_attn), "spatial")
        x = ops.gated_residual(x, h, m.gate_attn)
        h = temporal_attention(ops, self.attn_temp, ops.modulate(x, shift, scale), rope)
        x = ops.gated_residual(x, h, gate)
        x = x + self.cross_attn(ops, x, text, mask)
        h = self.mlp(ops, ops.modulate(x, m.shift_mlp, m.scale_mlp))
        return ops.gated_residual(x, h, m.gate_mlp)


def temporal_attention(ops: Ops, attn: SelfAttention, x: Array, rope: Rope) -> Array:
    """Attention along time in which queries and keys are rotated first and normed then, unlike in v1.2."""
    if attn.q_norm is None or attn.k_norm is None:
        return attn(ops, x, "temporal", rope)
    B, T, S, C = x.shape
    qkv = ops.reshape(attn.qkv(ops, x), (B, T, S, 3, attn.num_heads, C // attn.num_heads))
    qkv = ops.permute_dims(qkv, (3, 0, 2, 4, 1, 5))  # (3, B, S, H, T, D)
    q = attn.q_norm(ops, ops.rotary(qkv[0], rope.cos, rope.sin))
    k = attn.k_norm(ops, ops.rotary(qkv[1], rope.cos, rope.sin))
    out = ops.permute_dims(ops.attention(q, k, qkv[2]), (0, 3, 1, 2, 4))  # (B, T, S, H, D)
    return attn.proj(ops, ops.reshape(out, (B, T, S, C)))


@dataclass(frozen=True)
class STDiT2:
    """The denoiser: predicts noise and variance from noisy latents, a timestep, text and the video's size."""

    rope: RopeFrequencies
    x_embedder: PatchEmbedder
    t_embedder: ScalarEmbedder
    t_block: tuple[Silu, Linear]
    t_block_temp: tuple[Silu, Linear]
    csize_embedder: ScalarEmbedder
    ar_embedder: ScalarEmbedder
    fl_embedder: ScalarEmbedder
    fps_embedder: ScalarEmbedder
    y_embedder: CaptionEmbedder
    blocks: tuple[STDiT2Block, ...]
    final_layer: FinalLayer
    config: STDiT2Config = static()

    @classmethod
    def create(cls, config: STDiT2Config, init: RandomInit) -> STDiT2:
        """Random weights of the official shapes; pass a ShapeInit to get a weightless model to load into."""
        C = config.hidden_size
        return cls(
            rope=RopeFrequencies(rope_frequencies(config.head_dim).astype("float32")),
            x_embedder=PatchEmbedder.create(init, config),
            t_embedder=ScalarEmbedder.create(init, C),
            t_block=(Silu(), Linear.create(init, C, 6 * C)),
            t_block_temp=(Silu(), Linear.create(init, C, 3 * C)),
            csize_embedder=ScalarEmbedder.create(init, C // 3),
            ar_embedder=ScalarEmbedder.create(init, C // 3),
            fl_embedder=ScalarEmbedder.create(init, C),
            fps_embedder=ScalarEmbedder.create(init, C),
            y_embedder=CaptionEmbedder.create(init, config),
            blocks=tuple(STDiT2Block.create(init, config) for _ in range(config.depth)),
            final_layer=FinalLayer.create(init, config),
            config=config,
        )

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

    def denoise(
        self, ops: Ops, x: Array, timestep: Array, text: TextContext, size: VideoSize, x_mask: Array | None = None
    ) -> Array:
        """x [B, in, T, H, W], timestep [B] in 0 to 999 -> [B, out, T, H, W], at least float32.

        x_mask [B, T in patches] booleans: False for given frames, which are treated as timestep 0.
        """
        c, dtype = self.config, ops.dtype_name(self.final_layer.linear.weight)
        T, H, W = x.shape[2:]
        x = pad_to_multiple(ops, ops.astype(x, dtype), (1, 1, *c.patch_size))
        grid = tuple(n // p for n, p in zip(x.shape[2:], c.patch_size, strict=True))
        x_mask = None if x_mask is None else ops.reshape(ops.astype(x_mask, "bool"), (x.shape[0], grid[0], 1, 1))
        noised = self._conditions(ops, timestep, size, dtype)
        given = (
            None
            if x_mask is None
            else self._conditions(ops, ops.full(timestep.shape, 0.0, timestep.dtype), size, dtype)
        )
        space, moment = self._modulations(ops, noised, given, x_mask)
        scale = (size.height * size.width) ** 0.5 / c.input_sq_size
        places = ops.asarray(sincos_2d(c.hidden_size, grid[1], grid[2], scale), dtype)  # (S, C)
        x = self.x_embedder.proj(ops, x) + places  # (B, T, S, C)
        rope = Rope(*rope_tables(ops, self.rope.freqs, grid[0]))
        for block, keys_values in zip(self.blocks, text.keys_values, strict=True):
            x = block(ops, x, space, moment, keys_values, text.mask, rope)
        # Official asymmetry: the last layer is told the size of the video for given frames only.
        x = self.final_layer(ops, x, noised.time, None if given is None else given.space, x_mask)
        return ops.widen(unpatchify(ops, x, grid, c.patch_size)[:, :, :T, :H, :W])

    def _conditions(self, ops: Ops, timestep: Array, size: VideoSize, dtype: str) -> Conditions:
        def embed(embedder: ScalarEmbedder, value: float) -> Array:
            return embedder(ops, ops.full((1,), value, dtype), dtype)  # (1, C or C/3)

        t = self.t_embedder(ops, ops.astype(timestep, dtype), dtype)  # (B, C)
        sides = [embed(self.csize_embedder, size.height), embed(self.csize_embedder, size.width)]
        ratio = size.height / size.width if size.ar is None else size.ar
        shape = ops.concat([*sides, embed(self.ar_embedder, ratio)], axis=1)  # (1, C)
        pace = embed(self.fl_embedder, size.num_frames) + embed(self.fps_embedder, size.fps)
        return Conditions(t, t + shape, t + pace)

    def _modulations(
        self, ops: Ops, noised: Conditions, given: Conditions | None, x_mask: Array | None
    ) -> tuple[Array, Array]:
        """Modulations of space [B, 1 or T, 6, C] and of time [B, 1 or T, 3, C]; per frame where some are given."""
        rows = (noised.time.shape[0], 1, -1, noised.time.shape[1])
        space = ops.reshape(sequential(ops, self.t_block, noised.space), rows)
        moment = ops.reshape(sequential(ops, self.t_block_temp, noised.moment), rows)
        if given is None or x_mask is None:
            return space, moment
        space = ops.where(x_mask, space, ops.reshape(sequential(ops, self.t_block, given.space), rows))
        return space, ops.where(x_mask, moment, ops.reshape(sequential(ops, self.t_block_temp, given.moment), rows))
