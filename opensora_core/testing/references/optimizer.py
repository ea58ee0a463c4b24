"""The step of an optimizer as the formulas of its paper."""

from __future__ import annotations

from typing import Any

import numpy as np

from .extended import Numbers, extended


def adamw_step(
    param: Numbers,
    grad: Numbers,
    mean: Numbers,
    square: Numbers,
    step: int,
    rate: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    factor: Numbers | None = None,
) -> tuple[Numbers, ...]:
    """Algorithm 2 of Loshchilov & Hutter 2019, the schedule's multiplier being part of the rate."""
    return tuple(
        _adamw(param, grad, mean, square, step, rate, *betas, eps, weight_decay, 1.0 if factor is None else factor)
    )


@extended
def _adamw(
    param: Numbers,
    grad: Numbers,
    mean: Numbers,
    square: Numbers,
    step: int,
    rate: float,
    beta1: float,
    beta2: float,
    eps: float,
    decay: float,
    factor: Any,
) -> Any:
    g = grad * factor
    m, v = beta1 * mean + (1 - beta1) * g, beta2 * square + (1 - beta2) * g**2
    unbiased_m, unbiased_v = m / (1 - beta1**step), v / (1 - beta2**step)
    return np.stack([param - rate * (unbiased_m / (np.sqrt(unbiased_v) + eps) + decay * param), m, v])
