"""The encoder of T5 v1.1 (Raffel et al. 2020; Shazeer 2020), whose features Open-Sora's denoisers attend to.

Field names are the names of the published weights (`google/t5-v1_1-xxl`, `DeepFloyd/t5-v1_1-xxl`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from ..module import static
from ..nn.init import RandomInit
from ..nn.layers import Embedding, Linear, RmsNorm
from ..ops import NEVER, Array, Ops
from .t5_config import T5Config
from .t5_positions import position_buckets


@dataclass(frozen=True)
class T5Attention:
    """Self-attention whose logits are not scaled but get a bias by relative position, which block 0 holds for all."""

    q: Linear
    k: Linear
    v: Linear
    o: Linear
    relative_attention_bias: Embedding | None
    num_heads: int = static()

    @classmethod
    def create(cls, init: RandomInit, config: T5Config, *, has_bias: bool) -> T5Attention:
        """Random weights."""
        C, inner = config.d_model, config.num_heads * config.d_kv
        q, k, v = (Linear(init.xavier_uniform(inner, C)) for _ in range(3))
        table = init.normal((config.relative_attention_num_buckets, config.num_heads), 1.0) if has_bias else None
        o = Linear(init.xavier_uniform(C, inner))
        return cls(q, k, v, o, None if table is None else Embedding(table), config.num_heads)

    def __call__(self, ops: Ops, x: Array, bias: Array, keep: Array | None) -> Array:
        """x [B, L, C], bias [1, H, L, L], keep [B, 1, 1, L] booleans -> [B, L, C]."""
        B, L, _ = x.shape
        q, k, v = (self._heads(ops, layer(ops, x)) for layer in (self.q, self.k, self.v))  # (B, H, L, D)
        logits = ops.matmul(ops.widen(q), ops.permute_dims(ops.widen(k), (0, 1, 3, 2))) + bias
        logits = logits if keep is None else ops.where(keep, logits, NEVER)
        out = ops.matmul(ops.astype(ops.softmax(logits), v.dtype), v)
        return self.o(ops, ops.reshape(ops.permute_dims(out, (0, 2, 1, 3)), (B, L, -1)))

    def _heads(self, ops: Ops, x: Array) -> Array:
        B, L, inner = x.shape
        return ops.permute_dims(ops.reshape(x, (B, L, self.num_heads, inner // self.num_heads)), (0, 2, 1, 3))


@dataclass(frozen=True)
class T5SelfAttentionLayer:
    """Attention behind an RMS norm."""

    SelfAttention: T5Attention
    layer_norm: RmsNorm


@dataclass(frozen=True)
class T5GatedMlp:
    """wo(gelu(wi_0 x) * wi_1 x), with the tanh form of GELU (`gelu_new`)."""

    wi_0: Linear
    wi_1: Linear
    wo: Linear

    def __call__(self, ops: Ops, x: Array) -> Array:
        """x [B, L, C] -> [B, L, C]."""
        return self.wo(ops, ops.gelu(self.wi_0(ops, x)) * self.wi_1(ops, x))


@dataclass(frozen=True)
class T5FeedForwardLayer:
    """The gated perceptron behind an RMS norm."""

    DenseReluDense: T5GatedMlp
    layer_norm: RmsNorm


@dataclass(frozen=True)
class T5Block:
    """Self-attention, then the gated perceptron, both with a residual."""

    layer: tuple[T5SelfAttentionLayer, T5FeedForwardLayer]

    @classmethod
    def create(cls, init: RandomInit, config: T5Config, *, has_bias: bool) -> T5Block:
        """Random weights; `has_bias` for block 0."""
        C, hidden = config.d_model, config.d_ff
        attention = T5Attention.create(init, config, has_bias=has_bias)
        wi_0, wi_1 = (Linear(init.xavier_uniform(hidden, C)) for _ in range(2))
        mlp = T5GatedMlp(wi_0, wi_1, Linear(init.xavier_uniform(C, hidden)))
        norms = [RmsNorm(init.ones(C)) for _ in range(2)]
        return cls((T5SelfAttentionLayer(attention, norms[0]), T5FeedForwardLayer(mlp, norms[1])))

    def __call__(self, ops: Ops, x: Array, bias: Array, keep: Array | None) -> Array:
        """x [B, L, C], bias [1, H, L, L], keep [B, 1, 1, L] booleans -> [B, L, C]."""
        attention, mlp = self.layer
        x = x + attention.SelfAttention(ops, attention.layer_norm(ops, x), bias, keep)
        return x + mlp.DenseReluDense(ops, mlp.layer_norm(ops, x))


@dataclass(frozen=True)
class T5Stack:
    """The blocks and the last norm."""

    block: tuple[T5Block, ...]
    final_layer_norm: RmsNorm


@dataclass(frozen=True)
class T5Encoder:
    """Token ids to features."""

    shared: Embedding
    encoder: T5Stack
    config: T5Config = static()

    @classmethod
    def create(cls, config: T5Config, init: RandomInit) -> T5Encoder:
        """Random weights, or with a ShapeInit none: then the largest encoder takes no memory."""
        blocks = tuple(T5Block.create(init, config, has_bias=i == 0) for i in range(config.num_layers))
        norm = RmsNorm(init.ones(config.d_model))
        return cls(Embedding(init.normal((config.vocab_size, config.d_model), 1.0)), T5Stack(blocks, norm), config)

    def __call__(self, ops: Ops, ids: NDArray[Any], mask: NDArray[Any] | None = None) -> Array:
        """Host integers ids [B, L], and mask [B, L], true for tokens that may be attended (None: all) -> [B, L, C].

        Open-Sora v1 gives the mask, v2.0 none.
        """
        x = self.shared(ops, ops.asarray(ids))
        table = self.encoder.block[0].layer[0].SelfAttention.relative_attention_bias
        assert table is not None, "block 0 holds the bias of all"
        x = run_blocks(ops, self.config, x, mask, table, lambda number: self.encoder.block[number])
        return self.encoder.final_layer_norm(ops, x)


def run_blocks(
    ops: Ops,
    config: T5Config,
    x: Array,
    mask: NDArray[Any] | None,
    table: Embedding,
    block: Callable[[int], Callable[..., Array]],
) -> Array:
    """Embedded tokens x [B, L, C] through all blocks; block number i is asked for when its turn comes, and let go."""
    B, L, _ = x.shape
    buckets = position_buckets(L, config.relative_attention_num_buckets, config.relative_attention_max_distance)
    bias = ops.permute_dims(ops.widen(table(ops, ops.asarray(buckets))), (2, 0, 1))[None]  # (1, H, L, L)
    keep = None if mask is None else ops.reshape(ops.asarray(mask, "bool"), (B, 1, 1, L))
    for number in range(config.num_layers):
        x = block(number)(ops, x, bias, keep)
    return x
