"""AdamW (Loshchilov & Hutter 2019) and the exponential moving average, on one flat vector of all parameters.

A model has hundreds of small arrays; on one vector the update is a dozen passes over memory instead of thousands of
calls, on every backend.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from ..checks import number
from ..derived import stack
from ..errors import InvalidInputError
from ..ops import Array, Ops

CHUNK = 1 << 18  # numbers squared at a time, whose squares stay in the cache
Params = Mapping[str, Array]


class AdamState(NamedTuple):
    """Running first and second moments of the gradient, each one vector over all parameters."""

    mean: Array
    square: Array


@dataclass(frozen=True)
class AdamW:
    """Adam with decoupled weight decay and clipping of the global gradient norm.

    Defaults follow the embedded model; Open-Sora v1.2 trains with betas (0.9, 0.999), eps 1e-15 and no weight decay.
    """

    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-8
    weight_decay: float = 0.0
    clip_norm: float = 1.0

    def __post_init__(self) -> None:
        number("learning_rate", self.learning_rate, 0)
        if not isinstance(self.betas, tuple) or len(self.betas) != 2:
            raise InvalidInputError(f"betas={self.betas!r} must be a list of two numbers, such as [0.9, 0.999]")
        for beta in self.betas:
            if number("betas", beta, 0, 1) == 1:
                raise InvalidInputError(f"betas={self.betas!r}: a moment at 1 would never move; choose below 1")
        number("eps", self.eps, 0, above=True)
        number("weight_decay", self.weight_decay, 0)
        number("clip_norm", self.clip_norm, 0, above=True)

    def init(self, ops: Ops, params: Params) -> AdamState:
        """Zero moments, in float32 (float64 for parameters in it)."""
        dtype = ops.widen(next(iter(params.values()))).dtype
        zeros = ops.full((sum(math.prod(p.shape) for p in params.values()),), 0.0, dtype)
        return AdamState(zeros, zeros)

    def update(
        self, ops: Ops, params: Params, grads: Params, state: AdamState, step: int, rate: float | None = None
    ) -> tuple[dict[str, Array], AdamState]:
        """Return new parameters and state after step number `step` (1-based), at learning rate `rate` if given."""
        rate = self.learning_rate if rate is None else rate
        p, g = flatten(ops, params), flatten(ops, {name: grads[name] for name in params})
        clip = clip_factor(ops, g, self.clip_norm)
        p, *moments = ops.adamw_step(
            p, g, state.mean, state.square, step, rate, self.betas, self.eps, self.weight_decay, clip
        )
        return unflatten(ops, p, params), AdamState(*moments)


def clip_factor(ops: Ops, gradient: Array, clip_norm: float) -> Array:
    """Factor that brings the L2 norm of the gradient down to clip_norm if it is above."""
    parts = [gradient[start : start + CHUNK] for start in range(0, gradient.shape[0], CHUNK)]
    norm = ops.sqrt(ops.sum(stack(ops, [ops.sum(part * part) for part in parts])))
    return clip_norm / ops.maximum(norm, clip_norm)


def is_finite(ops: Ops, state: AdamState) -> bool:
    """Whether every gradient so far was finite: NaN and Inf never leave the moments again."""
    return math.isfinite(float(ops.to_numpy(ops.sum(state.mean) + ops.sum(state.square))))


def ema_update(ops: Ops, ema: Params, params: Params, decay: float) -> dict[str, Array]:
    """e <- decay · e + (1 - decay) · p for every parameter."""
    mixed = flatten(ops, {name: ema[name] for name in params}) * decay + flatten(ops, params) * (1 - decay)
    return unflatten(ops, mixed, params)


def flatten(ops: Ops, params: Params) -> Array:
    """All parameters in order as one float32 vector (float64 stays)."""
    return ops.concat([ops.reshape(ops.widen(p), (-1,)) for p in params.values()])


def unflatten(ops: Ops, vector: Array, like: Params) -> dict[str, Array]:
    """Cut a vector into arrays named, shaped and typed as `like`."""
    arrays, start = {}, 0
    for name, p in like.items():
        stop = start + math.prod(p.shape)
        arrays[name] = ops.astype(ops.reshape(vector[start:stop], p.shape), p.dtype)
        start = stop
    return arrays
