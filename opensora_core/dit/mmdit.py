"""MMDiT, the denoiser of Open-Sora v2.0: streams of text and video side by side, then joined, all attending to all.

Parameter names and layout are those of the published checkpoint (hpcai-tech/Open-Sora-v2).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..derived import rearrange, split
from ..errors import InvalidInputError
from ..module import static
from ..nn.attention import Rope
from ..nn.embeddings import scalar_features
from ..nn.init import RandomInit
from ..nn.layers import Linear, Silu, sequential
from ..ops import Array, Ops

TIME_FEATURES, TIME_FACTOR = 256, 1000.0
RELEASED = {"guidance_embed": False, "cond_embed": True, "fused_qkv": False, "use_liger_rope": True, "qkv_bias": True}


@dataclass(frozen=True)
class MMDiTConfig:
    """Shape of an MMDiT; the defaults are those of v2.0. axes_dim: channels per head turned by time, row and column."""

    in_channels: int = 64
    vec_in_dim: int = 768
    context_in_dim: int = 4096
    hidden_size: int = 3072
    mlp_ratio: float = 4.0
    num_heads: int = 24
    depth: int = 19
    depth_single_blocks: int = 38
    axes_dim: tuple[int, int, int] = (16, 56, 56)
    theta: int = 10000
    patch_size: int = 2

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> MMDiTConfig:
        """From an official configuration; InvalidInputError for a layout other than the released one."""
        rest = {name: value for name, value in values.items() if name not in cls.__dataclass_fields__}
        if other := {name: value for name, value in rest.items() if RELEASED.get(name) != value}:
            raise InvalidInputError(f"MMDiT fields {other} are not those of the released v2.0, {RELEASED}")
        return cls(**{name: value for name, value in values.items() if name not in rest})


@dataclass(frozen=True)
class Gelu:
    """Tanh-GELU as a step of a sequence; it holds no parameter."""

    def __call__(self, ops: Ops, x: Array) -> Array:
        """Elementwise."""
        return ops.gelu(x)


@dataclass(frozen=True)
class Embedder:
    """Linear - SiLU - Linear."""

    in_layer: Linear
    out_layer: Linear

    def __call__(self, ops: Ops, x: Array) -> Array:
        """Apply to the last axis."""
        return self.out_layer(ops, ops.silu(self.in_layer(ops, x)))


@dataclass(frozen=True)
class Scale:
    """Weight [D] of an RMS norm under its published name."""

    scale: Array


@dataclass(frozen=True)
class QKNorm:
    """Norms of queries and keys over the channels of a head."""

    query_norm: Scale
    key_norm: Scale


@dataclass(frozen=True)
class ModulationLinear:
    """Shifts, scales and gates [B, 1, C] from the condition vector [B, C]."""

    lin: Linear

    def __call__(self, ops: Ops, vec: Array) -> list[Array]:
        """As many as the layer gives, in the order shift, scale, gate."""
        out = self.lin(ops, ops.silu(vec))
        return split(ops, ops.reshape(out, (out.shape[0], 1, -1)), out.shape[1] // vec.shape[1], axis=2)


@dataclass(frozen=True)
class StreamAttention:
    """Queries, keys and values of one stream, and the way back."""

    q_proj: Linear
    k_proj: Linear
    v_proj: Linear
    norm: QKNorm
    proj: Linear


@dataclass(frozen=True)
class DoubleBlock:
    """Text and video keep weights of their own and attend to each other."""

    img_mod: ModulationLinear
    img_attn: StreamAttention
    img_mlp: tuple[Linear, Gelu, Linear]
    txt_mod: ModulationLinear
    txt_attn: StreamAttention
    txt_mlp: tuple[Linear, Gelu, Linear]

    def __call__(self, ops: Ops, img: Array, txt: Array, vec: Array, rope: Rope, heads: int) -> tuple[Array, Array]:
        """img [B, N, C] and txt [B, L, C] -> the same."""
        mods = {"txt": self.txt_mod(ops, vec), "img": self.img_mod(ops, vec)}
        ready = []
        for x, attn, (shift, scale, *_) in ((txt, self.txt_attn, mods["txt"]), (img, self.img_attn, mods["img"])):
            h = ops.modulate(x, shift, scale)
            ready.append(_heads(ops, attn.q_proj(ops, h), attn.k_proj(ops, h), attn.v_proj(ops, h), attn.norm, heads))
        q, k, v = (ops.concat([text, video], axis=2) for text, video in zip(*ready, strict=True))
        out = _attend(ops, q, k, v, rope)
        L = txt.shape[1]
        txt = _finish(ops, txt, self.txt_attn.proj(ops, out[:, :L]), self.txt_mlp, mods["txt"])
        return _finish(ops, img, self.img_attn.proj(ops, out[:, L:]), self.img_mlp, mods["img"]), txt


@dataclass(frozen=True)
class SingleBlock:
    """Attention and MLP in parallel on the joined sequence."""

    q_proj: Linear
    k_proj: Linear
    v_mlp: Linear
    linear2: Linear
    norm: QKNorm
    modulation: ModulationLinear

    def __call__(self, ops: Ops, x: Array, vec: Array, rope: Rope, heads: int) -> Array:
        """x [B, L + N, C] -> the same."""
        shift, scale, gate = self.modulation(ops, vec)
        h = ops.modulate(x, shift, scale)
        v_mlp, C = self.v_mlp(ops, h), x.shape[2]
        q, k, v = _heads(ops, self.q_proj(ops, h), self.k_proj(ops, h), v_mlp[:, :, :C], self.norm, heads)
        out = ops.concat([_attend(ops, q, k, v, rope), ops.gelu(v_mlp[:, :, C:])], axis=2)
        return ops.gated_residual(x, self.linear2(ops, out), gate)


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
    cond_in: Linear
    txt_in: Linear
    double_blocks: tuple[DoubleBlock, ...]
    single_blocks: tuple[SingleBlock, ...]
    final_layer: LastLayer
    config: MMDiTConfig = static()

    @classmethod
    def create(cls, config: MMDiTConfig, init: RandomInit) -> MMDiT:
        """Random weights of the official shapes; pass a ShapeInit to get a weightless model to load into."""
        C, c = config.hidden_size, config
        hidden = int(C * c.mlp_ratio)

        def linear(fan_in: int, out: int) -> Linear:
            return Linear.create(init, fan_in, out)

        def norm() -> QKNorm:
            return QKNorm(Scale(init.ones(C // c.num_heads)), Scale(init.ones(C // c.num_heads)))

        def stream() -> tuple[ModulationLinear, StreamAttention, tuple[Linear, Gelu, Linear]]:
            attn = StreamAttention(linear(C, C), linear(C, C), linear(C, C), norm(), linear(C, C))
            return ModulationLinear(linear(C, 6 * C)), attn, (linear(C, hidden), Gelu(), linear(hidden, C))

        def single() -> SingleBlock:
            modulation = ModulationLinear(linear(C, 3 * C))
            return SingleBlock(
                linear(C, C), linear(C, C), linear(C, C + hidden), linear(C + hidden, C), norm(), modulation
            )

        return cls(
            img_in=linear(c.in_channels, C),
            time_in=Embedder(linear(TIME_FEATURES, C), linear(C, C)),
            vector_in=Embedder(linear(c.vec_in_dim, C), linear(C, C)),
            cond_in=Linear.create(init, c.in_channels + c.patch_size**2, C, zero=True),
            txt_in=linear(c.context_in_dim, C),
            double_blocks=tuple(DoubleBlock(*stream(), *stream()) for _ in range(c.depth)),
            single_blocks=tuple(single() for _ in range(c.depth_single_blocks)),
            final_layer=LastLayer(linear(C, c.in_channels), (Silu(), linear(C, 2 * C))),
            config=config,
        )

    def __call__(
        self, ops: Ops, x: Array, timestep: Array, txt: Array, y_vec: Array, cond: Array, grid: tuple[int, int, int]
    ) -> Array:
        """x [B, T·H·W, in], timestep [B] in 0 to 1, txt [B, L, context], y_vec [B, vec], cond [B, T·H·W, in + patch²].

        grid: (T, H, W) in patches. Returns [B, T·H·W, in], at least float32.
        """
        dtype, heads = ops.dtype_name(self.final_layer.linear.weight), self.config.num_heads
        x, txt, y_vec, cond = (ops.astype(a, dtype) for a in (x, txt, y_vec, cond))
        img = self.img_in(ops, x) + self.cond_in(ops, cond)  # (B, N, C)
        time = ops.astype(ops.astype(timestep, dtype) * TIME_FACTOR, dtype)  # rounded twice, as officially
        features = scalar_features(ops, time, TIME_FEATURES)
        vec = self.time_in(ops, ops.astype(features, dtype)) + self.vector_in(ops, y_vec)  # (B, C)
        txt = self.txt_in(ops, txt)  # (B, L, C)
        rope = self._rope(ops, txt.shape[1], grid)
        for double in self.double_blocks:
            img, txt = double(ops, img, txt, vec, rope, heads)
        joined = ops.concat([txt, img], axis=1)
        for single in self.single_blocks:
            joined = single(ops, joined, vec, rope, heads)
        return ops.widen(self.final_layer(ops, joined[:, txt.shape[1] :], vec))

    def _rope(self, ops: Ops, text_length: int, grid: tuple[int, int, int]) -> Rope:
        """Rotary tables [L + N, D/2] in time, row and column; text is not turned."""
        places = np.concatenate([np.zeros((text_length, 3)), places_of(grid)])
        turns = [float(self.config.theta) ** (-np.arange(0, d, 2) / d) for d in self.config.axes_dim]
        angles = ops.asarray(np.concatenate([places[:, [i]] * f for i, f in enumerate(turns)], axis=1), ops.wide_dtype)
        return Rope(ops.cos(angles), ops.sin(angles))


def places_of(grid: tuple[int, int, int]) -> NDArray[np.int64]:
    """(time, row, column) of every token of a grid, in their order: [T·H·W, 3]."""
    return np.stack(np.meshgrid(*(np.arange(n) for n in grid), indexing="ij"), axis=-1).reshape(-1, 3)


def pack(ops: Ops, x: Array, patch: int = 2) -> Array:
    """Latents [B, c, T, H, W] -> tokens [B, T·H·W / patch², c · patch²]."""
    return rearrange(ops, x, "b c t (h ph) (w pw) -> b (t h w) (c ph pw)", ph=patch, pw=patch)


def _heads(ops: Ops, q: Array, k: Array, v: Array, norm: QKNorm, heads: int) -> tuple[Array, Array, Array]:
    """Projections [B, N, C] -> [B, H, N, D]; queries and keys normed, with channels m and m + D/2 side by side.

    These are the pairs that v2.0 turns together; `rotary` turns neighbours, and attention does not see an order that
    queries and keys share.
    """

    def paired(x: Array, weight: Array) -> Array:
        x = ops.rms_norm(rearrange(ops, x, "b n (h d) -> b h n d", h=heads), weight)
        return rearrange(ops, x, "b h n (two m) -> b h n (m two)", two=2)

    values = rearrange(ops, v, "b n (h d) -> b h n d", h=heads)
    return paired(q, norm.query_norm.scale), paired(k, norm.key_norm.scale), values


def _attend(ops: Ops, q: Array, k: Array, v: Array, rope: Rope) -> Array:
    """[B, H, N, D] -> [B, N, C]."""
    out = ops.attention(ops.rotary(q, *rope), ops.rotary(k, *rope), v)
    return rearrange(ops, out, "b h n d -> b n (h d)")


def _finish(ops: Ops, x: Array, attended: Array, mlp: tuple[Linear, Gelu, Linear], mods: list[Array]) -> Array:
    _, _, gate, shift, scale, gate_mlp = mods
    x = ops.gated_residual(x, attended, gate)
    return ops.gated_residual(x, sequential(ops, mlp, ops.modulate(x, shift, scale)), gate_mlp)
