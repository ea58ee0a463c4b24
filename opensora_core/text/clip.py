"""CLIP's text model (Radford et al. 2021), whose pooled token tells Open-Sora v2.0's denoiser what the video is about.

Field names are the names of the published weights (`openai/clip-vit-large-patch14`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInputError
from ..module import static
from ..nn.init import RandomInit
from ..nn.layers import Embedding, LayerNorm, Linear
from ..ops import Array, Ops
from .clip_config import CLIPTextConfig

SHARPNESS = 1.702  # of the sigmoid in quick_gelu


class CLIPFeatures(NamedTuple):
    """What the model says of a prompt: a vector for every token, and the one of its end."""

    tokens: Array  # (B, L, C)
    pooled: Array  # (B, C)


@dataclass(frozen=True)
class CLIPAttention:
    """Self-attention in which a token sees those before it."""

    k_proj: Linear
    v_proj: Linear
    q_proj: Linear
    out_proj: Linear
    num_heads: int = static()

    def __call__(self, ops: Ops, x: Array, causal: Array) -> Array:
        """x [B, L, C], causal [1, 1, L, L] booleans -> [B, L, C]."""
        B, L, C = x.shape
        heads = (B, L, self.num_heads, C // self.num_heads)
        q, k, v = (
            ops.permute_dims(ops.reshape(layer(ops, x), heads), (0, 2, 1, 3))
            for layer in (self.q_proj, self.k_proj, self.v_proj)
        )  # (B, H, L, D)
        out = ops.attention(q, k, v, mask=causal)
        return self.out_proj(ops, ops.reshape(ops.permute_dims(out, (0, 2, 1, 3)), (B, L, C)))


@dataclass(frozen=True)
class CLIPMlp:
    """Two linear maps with a quick_gelu between them."""

    fc1: Linear
    fc2: Linear

    def __call__(self, ops: Ops, x: Array) -> Array:
        """x [B, L, C] -> [B, L, C]."""
        return self.fc2(ops, quick_gelu(ops, self.fc1(ops, x)))


@dataclass(frozen=True)
class CLIPLayer:
    """Attention and perceptron, both behind a layer norm and with a residual."""

    self_attn: CLIPAttention
    layer_norm1: LayerNorm
    mlp: CLIPMlp
    layer_norm2: LayerNorm

    @classmethod
    def create(cls, init: RandomInit, config: CLIPTextConfig) -> CLIPLayer:
        """Random weights."""
        C, hidden = config.hidden_size, config.intermediate_size
        k, v, q, out = (Linear.create(init, C, C) for _ in range(4))
        norm1, norm2 = (LayerNorm.create(init, C) for _ in range(2))
        mlp = CLIPMlp(Linear.create(init, C, hidden), Linear.create(init, hidden, C))
        return cls(CLIPAttention(k, v, q, out, config.num_attention_heads), norm1, mlp, norm2)

    def __call__(self, ops: Ops, x: Array, causal: Array) -> Array:
        """x [B, L, C], causal [1, 1, L, L] booleans -> [B, L, C]."""
        x = x + self.self_attn(ops, self.layer_norm1(ops, x), causal)
        return x + self.mlp(ops, self.layer_norm2(ops, x))


@dataclass(frozen=True)
class CLIPEmbeddings:
    """What a token is, and where it stands."""

    token_embedding: Embedding
    position_embedding: Embedding


@dataclass(frozen=True)
class CLIPEncoder:
    """The layers."""

    layers: tuple[CLIPLayer, ...]


@dataclass(frozen=True)
class CLIPTransformer:
    """Embeddings, layers and the last norm."""

    embeddings: CLIPEmbeddings
    encoder: CLIPEncoder
    final_layer_norm: LayerNorm


@dataclass(frozen=True)
class CLIPText:
    """Token ids to features of the tokens and of the whole prompt."""

    text_model: CLIPTransformer
    config: CLIPTextConfig = static()

    @classmethod
    def create(cls, config: CLIPTextConfig, init: RandomInit) -> CLIPText:
        """Random weights, or with a ShapeInit none."""
        C = config.hidden_size
        tokens = Embedding(init.normal((config.vocab_size, C), 0.02))
        positions = Embedding(init.normal((config.max_position_embeddings, C), 0.01))
        layers = tuple(CLIPLayer.create(init, config) for _ in range(config.num_hidden_layers))
        embeddings, norm = CLIPEmbeddings(tokens, positions), LayerNorm.create(init, C)
        return cls(CLIPTransformer(embeddings, CLIPEncoder(layers), norm), config)

    def __call__(self, ops: Ops, ids: NDArray[Any]) -> CLIPFeatures:
        """Host integers ids [B, L], each row with an end -> CLIPFeatures.

        Raises InvalidInputError for more tokens than the model has positions.
        """
        B, L = ids.shape
        if (longest := self.config.max_position_embeddings) < L:
            raise InvalidInputError(f"{L} tokens; this CLIP has {longest} positions")
        model = self.text_model
        x = model.embeddings.token_embedding(ops, ops.asarray(ids)) + model.embeddings.position_embedding.weight[:L]
        causal = ops.asarray(np.tri(L, dtype=bool)[None, None])
        for layer in model.encoder.layers:
            x = layer(ops, x, causal)
        x = model.final_layer_norm(ops, x)  # (B, L, C)
        ends = np.arange(B) * L + end_positions(ids, self.config.eos_token_id)
        return CLIPFeatures(x, ops.take(ops.reshape(x, (B * L, -1)), ops.asarray(ends), axis=0))


def end_positions(ids: NDArray[Any], eos_token_id: int) -> NDArray[np.int64]:
    """Where each row of ids [B, L] has its end: the first one, since what pads may be the same token.

    OpenAI's configurations call token 2 the end, which it is not; there the end is the largest id.
    """
    ends = ids if eos_token_id == 2 else ids == eos_token_id
    return np.asarray(np.argmax(ends, axis=1), np.int64)


def quick_gelu(ops: Ops, x: Array) -> Array:
    """x * sigmoid(1.702 x), the approximation of GELU that CLIP was trained with (Hendrycks & Gimpel 2016)."""
    return ops.astype(ops.silu(ops.widen(x) * SHARPNESS) * (1 / SHARPNESS), x.dtype)
