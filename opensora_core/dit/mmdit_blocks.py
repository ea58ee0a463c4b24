"""The blocks of MMDiT in both layouts: v2.0 as released, with a projection each for queries, keys and values, and Flux.

They differ in how the projections lie in the weights, and in nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..derived import split
from ..nn.init import RandomInit
from ..nn.layers import Linear, sequential
from ..ops import Array, Ops
from .mmdit_config import MMDiTConfig
from .mmdit_layers import Gelu, JointAttention, ModulationLinear, QKNorm

Projections = tuple[Array, Array, Array]
"""Queries, keys and values [B, N, C]."""


# ---------------------------------------------------------------------- projections of one stream


@dataclass(frozen=True)
class StreamAttention:
    """Queries, keys and values of one stream, and the way back, as in v2.0."""

    q_proj: Linear
    k_proj: Linear
    v_proj: Linear
    norm: QKNorm
    proj: Linear

    @classmethod
    def create(cls, init: RandomInit, config: MMDiTConfig) -> StreamAttention:
        """Xavier weights, zero biases where there are any."""
        C = config.hidden_size
        q, k, v = (_linear(init, C, C, bias=config.qkv_bias) for _ in range(3))
        return cls(q, k, v, _norm(init, config), Linear.create(init, C, C))

    def project(self, ops: Ops, x: Array) -> Projections:
        """x [B, N, C]."""
        return self.q_proj(ops, x), self.k_proj(ops, x), self.v_proj(ops, x)


@dataclass(frozen=True)
class FusedStreamAttention:
    """The same as in Flux: one projection."""

    qkv: Linear
    norm: QKNorm
    proj: Linear

    @classmethod
    def create(cls, init: RandomInit, config: MMDiTConfig) -> FusedStreamAttention:
        """Xavier weights, zero biases where there are any."""
        C = config.hidden_size
        return cls(_linear(init, C, 3 * C, bias=config.qkv_bias), _norm(init, config), Linear.create(init, C, C))

    def project(self, ops: Ops, x: Array) -> Projections:
        """x [B, N, C]."""
        q, k, v = split(ops, self.qkv(ops, x), 3, axis=2)
        return q, k, v


# ---------------------------------------------------------------------- two streams


@dataclass(frozen=True)
class DoubleBlock:
    """Text and video keep weights of their own and attend to each other."""

    img_mod: ModulationLinear
    img_attn: StreamAttention | FusedStreamAttention
    img_mlp: tuple[Linear, Gelu, Linear]
    txt_mod: ModulationLinear
    txt_attn: StreamAttention | FusedStreamAttention
    txt_mlp: tuple[Linear, Gelu, Linear]

    @classmethod
    def create(cls, init: RandomInit, config: MMDiTConfig) -> DoubleBlock:
        """Xavier weights in the layout of the configuration."""
        C, hidden = config.hidden_size, int(config.hidden_size * config.mlp_ratio)
        attention = FusedStreamAttention if config.fused_qkv else StreamAttention
        parts: dict[str, Any] = {}
        for stream in ("img", "txt"):
            parts[f"{stream}_mod"] = ModulationLinear(Linear.create(init, C, 6 * C))
            parts[f"{stream}_attn"] = attention.create(init, config)
            parts[f"{stream}_mlp"] = (Linear.create(init, C, hidden), Gelu(), Linear.create(init, hidden, C))
        return cls(**parts)

    def __call__(self, ops: Ops, img: Array, txt: Array, vec: Array, attend: JointAttention) -> tuple[Array, Array]:
        """img [B, N, C] and txt [B, L, C] -> the same."""
        txt_mod, img_mod = self.txt_mod(ops, vec), self.img_mod(ops, vec)
        streams = (txt, self.txt_attn, txt_mod), (img, self.img_attn, img_mod)
        heads = [
            attend.heads(ops, *attn.project(ops, ops.modulate(x, shift, scale)), attn.norm)
            for x, attn, (shift, scale, *_) in streams
        ]
        out, L = attend(ops, heads), txt.shape[1]
        txt = _finish(ops, txt, self.txt_attn.proj(ops, out[:, :L]), self.txt_mlp, txt_mod)
        return _finish(ops, img, self.img_attn.proj(ops, out[:, L:]), self.img_mlp, img_mod), txt


def _finish(ops: Ops, x: Array, attended: Array, mlp: tuple[Linear, Gelu, Linear], mods: list[Array]) -> Array:
    _, _, gate, shift, scale, gate_mlp = mods
    x = ops.gated_residual(x, attended, gate)
    return ops.gated_residual(x, sequential(ops, mlp, ops.modulate(x, shift, scale)), gate_mlp)


# ---------------------------------------------------------------------- one stream


@dataclass(frozen=True)
class SingleBlock:
    """Attention and MLP in parallel on the joined sequence, as in v2.0."""

    q_proj: Linear
    k_proj: Linear
    v_mlp: Linear
    linear2: Linear
    norm: QKNorm
    modulation: ModulationLinear

    @classmethod
    def create(cls, init: RandomInit, config: MMDiTConfig) -> SingleBlock:
        """Xavier weights, zero biases."""
        C, hidden = config.hidden_size, int(config.hidden_size * config.mlp_ratio)
        q, k, v_mlp = (Linear.create(init, C, out) for out in (C, C, C + hidden))
        return cls(q, k, v_mlp, *_single_end(init, config))

    def __call__(self, ops: Ops, x: Array, vec: Array, attend: JointAttention) -> Array:
        """x [B, L + N, C] -> the same."""
        shift, scale, gate = self.modulation(ops, vec)
        h, C = ops.modulate(x, shift, scale), x.shape[2]
        v_mlp = self.v_mlp(ops, h)
        heads = attend.heads(ops, self.q_proj(ops, h), self.k_proj(ops, h), v_mlp[:, :, :C], self.norm)
        return _single_finish(ops, self, x, attend(ops, [heads]), v_mlp[:, :, C:], gate)


@dataclass(frozen=True)
class FusedSingleBlock:
    """The same as in Flux: one projection for attention and MLP."""

    linear1: Linear
    linear2: Linear
    norm: QKNorm
    modulation: ModulationLinear

    @classmethod
    def create(cls, init: RandomInit, config: MMDiTConfig) -> FusedSingleBlock:
        """Xavier weights, zero biases."""
        C, hidden = config.hidden_size, int(config.hidden_size * config.mlp_ratio)
        return cls(Linear.create(init, C, 3 * C + hidden), *_single_end(init, config))

    def __call__(self, ops: Ops, x: Array, vec: Array, attend: JointAttention) -> Array:
        """x [B, L + N, C] -> the same."""
        shift, scale, gate = self.modulation(ops, vec)
        out, C = self.linear1(ops, ops.modulate(x, shift, scale)), x.shape[2]
        q, k, v = split(ops, out[:, :, : 3 * C], 3, axis=2)
        return _single_finish(
            ops, self, x, attend(ops, [attend.heads(ops, q, k, v, self.norm)]), out[:, :, 3 * C :], gate
        )


def _single_end(init: RandomInit, config: MMDiTConfig) -> tuple[Linear, QKNorm, ModulationLinear]:
    C, hidden = config.hidden_size, int(config.hidden_size * config.mlp_ratio)
    modulation = ModulationLinear(Linear.create(init, C, 3 * C))
    return Linear.create(init, C + hidden, C), _norm(init, config), modulation


def _single_finish(
    ops: Ops, block: SingleBlock | FusedSingleBlock, x: Array, attended: Array, hidden: Array, gate: Array
) -> Array:
    out = ops.concat([attended, ops.gelu(hidden)], axis=2)
    return ops.gated_residual(x, block.linear2(ops, out), gate)


def _norm(init: RandomInit, config: MMDiTConfig) -> QKNorm:
    return QKNorm.create(init, config.hidden_size // config.num_heads)


def _linear(init: RandomInit, fan_in: int, out: int, *, bias: bool) -> Linear:
    layer = Linear.create(init, fan_in, out)
    return layer if bias else Linear(layer.weight)
