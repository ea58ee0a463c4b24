"""Self-attention of video tokens and cross-attention to text, as in STDiT."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from ..module import static
from ..ops import Array, Ops, Pattern
from .init import RandomInit
from .layers import Linear, RmsNorm


class Rope(NamedTuple):
    """Rotary tables [L, D/2]."""

    cos: Array
    sin: Array


class KeysValues(NamedTuple):
    """Projected text of one cross-attention: keys and values [B, H, L, D]. They do not depend on the timestep."""

    keys: Array
    values: Array


@dataclass(frozen=True)
class SelfAttention:
    """Attention among the tokens of a video along one pattern, with optional QK-norm and rope."""

    qkv: Linear
    q_norm: RmsNorm | None
    k_norm: RmsNorm | None
    proj: Linear
    num_heads: int = static()

    @classmethod
    def create(
        cls, init: RandomInit, size: int, num_heads: int, *, qk_norm: bool, zero_output: bool = False
    ) -> SelfAttention:
        """Return an attention layer of `size` channels; `zero_output` starts it as the zero function."""
        qkv = Linear.create(init, size, 3 * size)
        q_norm, k_norm = (RmsNorm(init.ones(size // num_heads)) if qk_norm else None for _ in range(2))
        return cls(qkv, q_norm, k_norm, Linear.create(init, size, size, zero=zero_output), num_heads)

    def __call__(self, ops: Ops, x: Array, pattern: Pattern, rope: Rope | None = None) -> Array:
        """x [B, T, S, C] -> [B, T, S, C]."""
        B, T, S, C = x.shape
        qkv = ops.reshape(self.qkv(ops, x), (B, T, S, 3, self.num_heads, C // self.num_heads))
        out = ops.attention_3d(
            qkv,
            pattern,
            q_norm=self.q_norm.weight if self.q_norm else None,
            k_norm=self.k_norm.weight if self.k_norm else None,
            cos=rope.cos if rope else None,
            sin=rope.sin if rope else None,
        )  # (B, T, S, H, D)
        return self.proj(ops, ops.reshape(out, (B, T, S, C)))


@dataclass(frozen=True)
class CrossAttention:
    """Video tokens attend to the text of their sample."""

    q_linear: Linear
    kv_linear: Linear
    proj: Linear
    num_heads: int = static()

    @classmethod
    def create(cls, init: RandomInit, size: int, num_heads: int, *, zero_output: bool = False) -> CrossAttention:
        """Return a cross-attention layer of `size` channels; `zero_output` starts it as the zero function."""
        q, kv = Linear.create(init, size, size), Linear.create(init, size, 2 * size)
        return cls(q, kv, Linear.create(init, size, size, zero=zero_output), num_heads)

    def project_text(self, ops: Ops, text: Array) -> KeysValues:
        """Text tokens [B, L, C] -> keys and values [B, H, L, D]."""
        B, L, C = text.shape
        kv = ops.reshape(self.kv_linear(ops, text), (B, L, 2, self.num_heads, C // self.num_heads))
        kv = ops.permute_dims(kv, (2, 0, 3, 1, 4))  # (2, B, H, L, D)
        return KeysValues(kv[0], kv[1])

    def __call__(self, ops: Ops, x: Array, text: KeysValues, mask: Array | None) -> Array:
        """x [B, T, S, C]; mask [B, 1, 1 or T·S, L] of booleans, True for the text that is read -> [B, T, S, C]."""
        B, T, S, C = x.shape
        q = ops.reshape(self.q_linear(ops, x), (B, T * S, self.num_heads, C // self.num_heads))
        out = ops.attention(ops.permute_dims(q, (0, 2, 1, 3)), text.keys, text.values, mask=mask)  # (B, H, N, D)
        return self.proj(ops, ops.reshape(ops.permute_dims(out, (0, 2, 1, 3)), (B, T, S, C)))
