"""AdamW (Loshchilov & Hutter 2019) and the exponential moving average, over dictionaries of parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from ..ops import Array, Ops

Params = Mapping[str, Array]


class AdamState(NamedTuple):
    """Running first and second moments of every parameter's gradient."""

    mean: dict[str, Array]
    square: dict[str, Array]


@dataclass(frozen=True)
class AdamW:
    """Adam with decoupled weight decay, linear warm-up and clipping of the global gradient norm.

    Weight decay applies to matrices only (two or more axes). warmup_steps: the rate rises linearly over this many
    steps and then stays (Open-Sora), decay_steps: if given, it then falls as half a cosine to `final_rate` of itself.
    """

    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-8
    weight_decay: float = 0.0
    clip_norm: float = 1.0

    def init(self, ops: Ops, params: Params) -> AdamState:
        """Zero moments."""
        zeros = {name: ops.full(p.shape, 0.0, p.dtype) for name, p in params.items()}
        return AdamState(zeros, dict(zeros))

    def update(
        self, ops: Ops, params: Params, grads: Params, state: AdamState, step: int, rate: float = 1.0
    ) -> tuple[dict[str, Array], AdamState]:
        """Return new parameters and state after step number `step` (1-based), at `rate` times the learning rate."""
        beta1, beta2 = self.betas
        clip = clip_factor(ops, grads, self.clip_norm)
        size = rate * self.learning_rate / (1 - beta1**step)
        correction = (1 - beta2**step) ** -0.5
        new: dict[str, Array] = {}
        mean: dict[str, Array] = {}
        square: dict[str, Array] = {}
        for name, p in params.items():
            g = grads[name] * clip
            mean[name] = m = state.mean[name] * beta1 + g * (1 - beta1)
            square[name] = s = state.square[name] * beta2 + g * g * (1 - beta2)
            decay = rate * self.learning_rate * self.weight_decay if p.ndim > 1 else 0.0
            new[name] = p * (1 - decay) - m / (ops.sqrt(s) * correction + self.eps) * size
        return new, AdamState(mean, square)


def clip_factor(ops: Ops, grads: Params, clip_norm: float) -> Array:
    """Factor that brings the global L2 norm of the gradients down to clip_norm if it is above."""
    total = None
    for g in grads.values():
        square = ops.sum(g * g)
        total = square if total is None else total + square
    norm = ops.sqrt(total)
    return clip_norm / ops.maximum(norm, clip_norm)


def ema_update(ema: Params, params: Params, decay: float) -> dict[str, Array]:
    """e <- decay · e + (1 - decay) · p for every parameter."""
    return {name: ema[name] * decay + p * (1 - decay) for name, p in params.items()}
