"""The embedded model's text encoder: a small pre-norm transformer over words, written in the language."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from ..checks import table, whole
from ..errors import InvalidInputError
from ..module import static
from ..nn.init import RandomInit
from ..nn.layers import LayerNorm, Linear, Mlp
from ..ops import Array, Ops


@dataclass(frozen=True)
class TextEncoderConfig:
    """Shape of the encoder.

    vocabulary: how many word numbers there are, padding and the unknown word included. max_length: tokens of a prompt.
    hidden_size: width of the features. depth, num_heads: transformer blocks and their attention heads.
    """

    vocabulary: int
    max_length: int = 24
    hidden_size: int = 128
    depth: int = 2
    num_heads: int = 4

    def __post_init__(self) -> None:
        whole("vocabulary", self.vocabulary, 1, 10_000_000)
        whole("max_length", self.max_length, 1, 100_000)
        whole("hidden_size", self.hidden_size, 1, 65_536)
        whole("depth", self.depth, 0, 1000)
        whole("num_heads", self.num_heads, 1)
        if self.hidden_size % self.num_heads:
            raise InvalidInputError(f"hidden_size={self.hidden_size} must be a multiple of num_heads={self.num_heads}")

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TextEncoderConfig:
        """From `to_dict`; a field that is not known is an error, not ignored."""
        known = [f.name for f in fields(cls)]
        if "vocabulary" not in table("text encoder", values, known):
            raise InvalidInputError("the text encoder's config lacks vocabulary, the number of words")
        return cls(**values)


@dataclass(frozen=True)
class TextBlock:
    """Self-attention among the words, then an MLP, both behind a layer norm and with a residual."""

    norm1: LayerNorm
    qkv: Linear
    proj: Linear
    norm2: LayerNorm
    mlp: Mlp
    num_heads: int = static()

    @classmethod
    def create(cls, init: RandomInit, config: TextEncoderConfig) -> TextBlock:
        """Xavier weights."""
        C = config.hidden_size
        norm1, norm2 = LayerNorm.create(init, C), LayerNorm.create(init, C)
        qkv, proj = Linear.create(init, C, 3 * C), Linear.create(init, C, C)
        return cls(norm1, qkv, proj, norm2, Mlp.create(init, C, 4 * C, C), config.num_heads)

    def __call__(self, ops: Ops, x: Array, mask: Array) -> Array:
        """x [B, L, C], mask [B, 1, 1, L] -> [B, L, C]."""
        B, L, C = x.shape
        qkv = ops.reshape(self.qkv(ops, self.norm1(ops, x)), (B, L, 3, self.num_heads, C // self.num_heads))
        qkv = ops.permute_dims(qkv, (2, 0, 3, 1, 4))  # (3, B, H, L, D)
        out = ops.attention(qkv[0], qkv[1], qkv[2], mask=mask)
        x = x + self.proj(ops, ops.reshape(ops.permute_dims(out, (0, 2, 1, 3)), (B, L, C)))
        return x + self.mlp(ops, self.norm2(ops, x))


@dataclass(frozen=True)
class TextEncoder:
    """Word ids to features that the denoiser attends to."""

    embedding: Array  # (vocabulary, C)
    positions: Array  # (L, C)
    blocks: tuple[TextBlock, ...]
    norm: LayerNorm
    config: TextEncoderConfig = static()

    @classmethod
    def create(cls, config: TextEncoderConfig, init: RandomInit) -> TextEncoder:
        """Random weights."""
        C = config.hidden_size
        embedding, positions = init.normal((config.vocabulary, C), 1.0), init.normal((config.max_length, C), 0.1)
        blocks = tuple(TextBlock.create(init, config) for _ in range(config.depth))
        return cls(embedding, positions, blocks, LayerNorm.create(init, C), config)

    def __call__(self, ops: Ops, ids: Array, mask: Array) -> Array:
        """ids [B, L] integers, mask [B, L] booleans (True for words) -> features [B, L, C]."""
        B, L = ids.shape
        x = ops.take(self.embedding, ops.reshape(ids, (-1,)), axis=0)
        x = ops.reshape(x, (B, L, -1)) + self.positions[:L]  # (B, L, C)
        mask = ops.reshape(mask, (B, 1, 1, L))
        for block in self.blocks:
            x = block(ops, x, mask)
        return self.norm(ops, x)
