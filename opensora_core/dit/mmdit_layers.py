"""What the blocks of MMDiT share, whichever layout their weights have: modulation, norms, joint attention, packing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..derived import rearrange, split
from ..nn.attention import Rope
from ..nn.embeddings import scalar_features
from ..nn.init import RandomInit
from ..nn.layers import Linear
from ..ops import Array, Ops

TIME_FEATURES, TIME_FACTOR = 256, 1000.0
Grid = tuple[int, int, int]


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

    @classmethod
    def create(cls, init: RandomInit, fan_in: int, size: int) -> Embedder:
        """Xavier weights, zero biases."""
        return cls(Linear.create(init, fan_in, size), Linear.create(init, size, size))

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

    @classmethod
    def create(cls, init: RandomInit, head_dim: int) -> QKNorm:
        """Start as the plain norms."""
        return cls(Scale(init.ones(head_dim)), Scale(init.ones(head_dim)))


@dataclass(frozen=True)
class ModulationLinear:
    """Shifts, scales and gates [B, 1, C] from the condition vector [B, C]."""

    lin: Linear

    def __call__(self, ops: Ops, vec: Array) -> list[Array]:
        """As many as the layer gives, in the order shift, scale, gate."""
        out = self.lin(ops, ops.silu(vec))
        return split(ops, ops.reshape(out, (out.shape[0], 1, -1)), out.shape[1] // vec.shape[1], axis=2)


class Heads(NamedTuple):
    """Queries, keys and values [B, H, N, D], normed but not yet turned."""

    queries: Array
    keys: Array
    values: Array


class JointAttention(NamedTuple):
    """How text and video attend to each other: the positions of all tokens, and which channels turn together."""

    rope: Rope  # (L + N, D/2)
    num_heads: int
    halves: bool  # channels m and m + D/2 turn together, as in v2.0; otherwise neighbours, as in Flux

    def heads(self, ops: Ops, q: Array, k: Array, v: Array, norm: QKNorm) -> Heads:
        """Projections [B, N, C] of some of the tokens -> their heads."""
        values = rearrange(ops, v, "b n (h d) -> b h n d", h=self.num_heads)
        return Heads(self._normed(ops, q, norm.query_norm.scale), self._normed(ops, k, norm.key_norm.scale), values)

    def _normed(self, ops: Ops, x: Array, weight: Array) -> Array:
        x = ops.rms_norm(rearrange(ops, x, "b n (h d) -> b h n d", h=self.num_heads), weight)
        # `rotary` turns neighbours; attention does not see an order of channels that queries and keys share.
        return rearrange(ops, x, "b h n (two m) -> b h n (m two)", two=2) if self.halves else x

    def __call__(self, ops: Ops, parts: Sequence[Heads]) -> Array:
        """Attention among the tokens of all parts, which lie one after the other: [B, L + N, C]."""
        q, k, v = (ops.concat(list(same), axis=2) if len(same) > 1 else same[0] for same in zip(*parts, strict=True))
        out = ops.attention(ops.rotary(q, *self.rope), ops.rotary(k, *self.rope), v)
        return rearrange(ops, out, "b h n d -> b n (h d)")


def scaled_features(ops: Ops, value: Array, dtype: str) -> Array:
    """Sinusoidal features [B, 256] of a thousand times a number [B], a product rounded to dtype as officially."""
    thousands = ops.astype(ops.astype(value, dtype) * TIME_FACTOR, dtype)
    return ops.astype(scalar_features(ops, thousands, TIME_FEATURES), dtype)


def joint_rope(ops: Ops, text_length: int, grid: Grid, axes_dim: Grid, theta: float) -> Rope:
    """Rotary tables [L + N, D/2] in time, row and column of text, which is not turned, and video."""
    positions = np.concatenate([np.zeros((text_length, 3)), grid_positions(grid)])
    turns = [float(theta) ** (-np.arange(0, d, 2) / d) for d in axes_dim]
    angles = ops.asarray(np.concatenate([positions[:, [i]] * f for i, f in enumerate(turns)], axis=1), ops.wide_dtype)
    return Rope(ops.cos(angles), ops.sin(angles))


def grid_positions(grid: Grid) -> NDArray[np.int64]:
    """(time, row, column) of every token of a grid, in their order: [T·H·W, 3]."""
    return np.stack(np.meshgrid(*(np.arange(n) for n in grid), indexing="ij"), axis=-1).reshape(-1, 3)


def pack(ops: Ops, x: Array, patch: int = 2) -> Array:
    """Latents [B, c, T, H, W] -> tokens [B, T·H·W / patch², c · patch²]."""
    return rearrange(ops, x, "b c t (h ph) (w pw) -> b (t h w) (c ph pw)", ph=patch, pw=patch)


def unpack(ops: Ops, x: Array, grid: Grid, patch: int = 2) -> Array:
    """Tokens [B, T·H·W, c · patch²] of a grid (T, H, W) in patches -> latents [B, c, T, H · patch, W · patch]."""
    sizes = {"t": grid[0], "h": grid[1], "ph": patch, "pw": patch}
    return rearrange(ops, x, "b (t h w) (c ph pw) -> b c t (h ph) (w pw)", **sizes)
