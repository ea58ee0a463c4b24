"""Linear maps, the two-layer perceptron, norms with weights, embeddings of numbers and of ids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..ops import Array, Ops
from .embeddings import scalar_features
from .init import RandomInit


@dataclass(frozen=True)
class Linear:
    """x [..., in] -> [..., out]; weight [out, in], bias [out]."""

    weight: Array
    bias: Array | None = None

    @classmethod
    def create(cls, init: RandomInit, fan_in: int, out: int, *, zero: bool = False) -> Linear:
        """Xavier-uniform weight (or zeros) and zero bias."""
        weight = init.zeros(out, fan_in) if zero else init.xavier_uniform(out, fan_in)
        return cls(weight, init.zeros(out))

    def __call__(self, ops: Ops, x: Array) -> Array:
        """Apply to the last axis."""
        return ops.linear(x, self.weight, self.bias)


@dataclass(frozen=True)
class Mlp:
    """Two linear maps with a tanh-GELU between them."""

    fc1: Linear
    fc2: Linear

    @classmethod
    def create(cls, init: RandomInit, fan_in: int, hidden: int, out: int, *, zero_output: bool = False) -> Mlp:
        """Return a perceptron fan_in -> hidden -> out; `zero_output` starts it as the zero function."""
        return cls(Linear.create(init, fan_in, hidden), Linear.create(init, hidden, out, zero=zero_output))

    def __call__(self, ops: Ops, x: Array) -> Array:
        """Apply to the last axis."""
        return self.fc2(ops, ops.gelu(self.fc1(ops, x)))


@dataclass(frozen=True)
class RmsNorm:
    """RMS normalisation with a weight [D] (LlamaRMSNorm)."""

    weight: Array

    def __call__(self, ops: Ops, x: Array) -> Array:
        """Apply to the last axis."""
        return ops.rms_norm(x, self.weight)


@dataclass(frozen=True)
class LayerNorm:
    """Layer normalisation with weight and bias [D]."""

    weight: Array
    bias: Array

    @classmethod
    def create(cls, init: RandomInit, size: int) -> LayerNorm:
        """Start as the plain normalisation."""
        return cls(init.ones(size), init.zeros(size))

    def __call__(self, ops: Ops, x: Array) -> Array:
        """Apply to the last axis."""
        return ops.layer_norm(x, self.weight, self.bias, eps=1e-5)


@dataclass(frozen=True)
class Embedding:
    """A row of features for every number: weight [rows, D]."""

    weight: Array

    def __call__(self, ops: Ops, ids: Array) -> Array:
        """Integers of any shape -> [..., D]."""
        rows = ops.take(self.weight, ops.reshape(ids, (-1,)), axis=0)
        return ops.reshape(rows, (*ids.shape, self.weight.shape[1]))


@dataclass(frozen=True)
class Silu:
    """SiLU as a step of a sequence; it holds no parameter."""

    def __call__(self, ops: Ops, x: Array) -> Array:
        """Elementwise."""
        return ops.silu(x)


@dataclass(frozen=True)
class ScalarEmbedder:
    """Sinusoidal features of a number (timestep, fps), then Linear - SiLU - Linear: DiT's TimestepEmbedder."""

    mlp: tuple[Linear, Silu, Linear]

    @classmethod
    def create(cls, init: RandomInit, size: int, features: int = 256) -> ScalarEmbedder:
        """Return an embedder of scalars into `size` channels."""
        return cls((Linear.create(init, features, size), Silu(), Linear.create(init, size, size)))

    def __call__(self, ops: Ops, value: Array, dtype: str) -> Array:
        """value [B] -> [B, size]; the features are computed in float32 or better, then cast to dtype."""
        first, silu, second = self.mlp
        features = scalar_features(ops, value, first.weight.shape[1])  # (B, 256)
        return second(ops, silu(ops, first(ops, ops.astype(features, dtype))))


def sequential(ops: Ops, steps: tuple[Any, ...], x: Array) -> Array:
    """Run modules one after another."""
    for step in steps:
        x = step(ops, x)
    return x
