"""Training losses of a Gaussian diffusion with learned variance (Nichol & Dhariwal 2021, section 3.1)."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ..ops import Array, Ops
from .diffusion import DiffusionTables, Steps, at, diffuse, posterior_mean, way_back
from .frame_mean import frame_mean

BIN = 1.0 / 255.0  # half the width of one of 256 grey levels in -1 to 1
EDGE = 0.999  # beyond it the outermost bins reach to infinity
LEAST = 1e-12  # of a probability


class Losses(NamedTuple):
    """Losses per sample [B]."""

    loss: Array  # mse + vb
    mse: Array  # of the noise
    vb: Array  # variational bound of this step, in bits per number


def diffusion_input(
    ops: Ops, tables: DiffusionTables, x0: Array, noise: Array, steps: Steps, mask: Array | None = None
) -> Array:
    """What the network is given in training: x0 [B, C, T, H, W] diffused to steps [B].

    mask [B, T]: frames with False are diffused to step 0 only, not left clean (Open-Sora v1.1).
    """
    noised = diffuse(ops, tables, x0, noise, steps)
    if mask is None:
        return noised
    given = diffuse(ops, tables, x0, noise, np.zeros_like(steps))
    return ops.where(ops.reshape(mask, (mask.shape[0], 1, -1, 1, 1)), noised, given)


def diffusion_loss(
    ops: Ops,
    tables: DiffusionTables,
    output: Array,
    x_t: Array,
    x0: Array,
    noise: Array,
    steps: Steps,
    mask: Array | None = None,
) -> Losses:
    """Mean squared error of the noise plus the variational bound, which teaches only the variance.

    output [B, 2C, T, H, W] of the network at x_t = `diffusion_input(...)`; steps [B] whole numbers on the host.
    mask [B, T]: only frames with True count. Official loss type MSE: the bound is not rescaled by the number of steps.
    """
    C = x0.shape[1]
    error = output[:, :C] - noise
    mse = frame_mean(ops, error * error, mask)
    fixed = ops.concat([ops.stop_gradient(output[:, :C]), output[:, C:]], axis=1)
    back = way_back(ops, tables, fixed, x_t, steps)
    mean = posterior_mean(ops, tables, x0, x_t, steps)
    log_variance = at(ops, tables.posterior_log_variance_clipped, steps, x_t)
    kl = frame_mean(ops, normal_kl(ops, mean, log_variance, back.mean, back.log_variance), mask)
    nll = frame_mean(ops, -1.0 * grey_log_likelihood(ops, x0, back.mean, 0.5 * back.log_variance), mask)
    vb = ops.where(ops.asarray(steps == 0), nll, kl) * (1.0 / math.log(2.0))
    return Losses(mse + vb, mse, vb)


def normal_kl(ops: Ops, mean: Array, log_variance: Array, mean2: Array, log_variance2: Array) -> Array:
    """KL(N(mean, ·) ‖ N(mean2, ·)) elementwise, in nats."""
    distance = (mean - mean2) * (mean - mean2) * ops.exp(-1.0 * log_variance2)
    return 0.5 * (log_variance2 - log_variance - 1.0 + ops.exp(log_variance - log_variance2) + distance)


def grey_log_likelihood(ops: Ops, x: Array, mean: Array, log_scale: Array) -> Array:
    """Log-probability, elementwise in nats, that a Gaussian falls into the bin of x among 256 in -1 to 1.

    The cumulative distribution is approximated by tanh, as officially.
    """
    narrow = ops.exp(-1.0 * log_scale)
    above = _normal_cdf(ops, (x - mean + BIN) * narrow)
    below = _normal_cdf(ops, (x - mean - BIN) * narrow)
    inside = _safe_log(ops, above - below)
    inside = ops.where(ops.less(EDGE, x), _safe_log(ops, 1.0 - below), inside)
    return ops.where(ops.less(x, -EDGE), _safe_log(ops, above), inside)


def _normal_cdf(ops: Ops, x: Array) -> Array:
    return 0.5 * (1.0 + ops.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * (x * x * x))))


def _safe_log(ops: Ops, p: Array) -> Array:
    return ops.log(ops.maximum(p, LEAST))
