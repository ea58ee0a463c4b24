"""MMDiT, the denoiser of Open-Sora v2.0: streams of text and video side by side, then joined, all attending to all.

Parameter names and layouts are those of the published checkpoints (hpcai-tech/Open-Sora-v2) and of FLUX.1-dev, from
which its images come.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..derived import split
from ..errors import InvalidInputError
from ..module import static
from ..nn.init import RandomInit
from ..nn.layers import Linear, Silu, sequential
from ..ops import Array, Ops
from .mmdit_blocks import DoubleBlock, FusedSingleBlock, SingleBlock
from .mmdit_config import MMDiTConfig
from .mmdit_layers import TIME_FEATURES, Embedder, Grid, JointAttention, joint_rope, scaled_features


@dataclass(frozen=True)
class LastLayer:
    """Modulated projection of tokens to patches."""

    linear: Linear
    adaLN_modulation: tuple[Silu, Linear]  # noqa: N815 - the published name

    def __call__(self, ops: Ops, x: Array, vec: Array) -> Array:
        """x [B, N, C] -> [B, N, in_channels]."""
        shift, scale = split(ops, ops.reshape(sequential(ops, self.adaLN_modulation, vec), (vec.shape[0], 1, -1)), 2, 2)
        return self.linear(ops, ops.modulate(x, shift, scale))


@dataclass(frozen=True)
class MMDiT:
    """The denoiser: predicts the velocity of packed latents from text, a pooled text vector and given frames."""

    img_in: Linear
    time_in: Embedder
    vector_in: Embedder
    guidance_in: Embedder | None
    cond_in: Linear | None
    txt_in: Linear
    double_blocks: tuple[DoubleBlock, ...]
    single_blocks: tuple[SingleBlock, ...] | tuple[FusedSingleBlock, ...]
    final_layer: LastLayer
    config: MMDiTConfig = static()

    @classmethod
    def create(cls, config: MMDiTConfig, init: RandomInit) -> MMDiT:
        """Random weights of the official shapes; pass a ShapeInit to get a weightless model to load into."""
        C, c = config.hidden_size, config
        single: Any = FusedSingleBlock if c.fused_qkv else SingleBlock
        return cls(
            img_in=Linear.create(init, c.in_channels, C),
            time_in=Embedder.create(init, TIME_FEATURES, C),
            vector_in=Embedder.create(init, c.vec_in_dim, C),
            guidance_in=Embedder.create(init, TIME_FEATURES, C) if c.guidance_embed else None,
            cond_in=Linear.create(init, c.cond_channels, C, zero=True) if c.cond_embed else None,
            txt_in=Linear.create(init, c.context_in_dim, C),
            double_blocks=tuple(DoubleBlock.create(init, c) for _ in range(c.depth)),
            single_blocks=tuple(single.create(init, c) for _ in range(c.depth_single_blocks)),
            final_layer=LastLayer(Linear.create(init, C, c.in_channels), (Silu(), Linear.create(init, C, 2 * C))),
            config=config,
        )

    def __call__(
        self,
        ops: Ops,
        x: Array,
        timestep: Array,
        txt: Array,
        y_vec: Array,
        cond: Array | None,
        grid: Grid,
        guidance: Array | None = None,
    ) -> Array:
        """Predict from packed noisy latents x [B, N, in], N = T·H·W; returns [B, N, in], at least float32.

        timestep [B] in 0 (data) to 1 (noise); txt [B, L, context] and y_vec [B, vec] of the prompt; grid: (T, H, W) in
        patches; cond [B, N, in + patch²], mask and latents of given frames, where the configuration has cond_embed;
        guidance [B], the scale, where it has guidance_embed and not otherwise. Raises InvalidInputError where one of
        the last two is missing.
        """
        dtype = ops.dtype_name(self.final_layer.linear.weight)
        img = self.img_in(ops, ops.astype(x, dtype))  # (B, N, C)
        if self.cond_in is not None:
            img = img + self.cond_in(ops, ops.astype(_required(cond, "cond", "cond_embed"), dtype))
        vec = self._condition(ops, timestep, y_vec, guidance)  # (B, C)
        txt = self.txt_in(ops, ops.astype(txt, dtype))  # (B, L, C)
        attend = self._attention(ops, txt.shape[1], grid)
        for double in self.double_blocks:
            img, txt = double(ops, img, txt, vec, attend)
        joined = ops.concat([txt, img], axis=1)
        for single in self.single_blocks:
            joined = single(ops, joined, vec, attend)
        return ops.widen(self.final_layer(ops, joined[:, txt.shape[1] :], vec))

    def _condition(self, ops: Ops, timestep: Array, y_vec: Array, guidance: Array | None) -> Array:
        dtype = ops.dtype_name(self.final_layer.linear.weight)
        vec = self.time_in(ops, scaled_features(ops, timestep, dtype))
        if self.guidance_in is not None:
            scale = _required(guidance, "guidance", "guidance_embed")
            vec = vec + self.guidance_in(ops, scaled_features(ops, scale, dtype))
        return vec + self.vector_in(ops, ops.astype(y_vec, dtype))

    def _attention(self, ops: Ops, text_length: int, grid: Grid) -> JointAttention:
        c = self.config
        rope = joint_rope(ops, text_length, grid, c.axes_dim, c.theta)
        return JointAttention(rope, c.num_heads, c.use_liger_rope)


def _required(value: Array | None, name: str, field: str) -> Array:
    if value is None:
        raise InvalidInputError(f"{name} is None; an MMDiT with {field} needs it")
    return value
