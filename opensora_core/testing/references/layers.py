"""Linear maps, activations, norms and convolution as formulas of their papers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .elementwise import erf_wide
from .extended import Numbers, extended


@extended
def linear(x: Numbers, weight: Numbers, bias: Numbers | None = None) -> Any:
    """Σᵢ x[..., i] weight[o, i] + bias[o]."""
    y = np.einsum("...i,oi->...o", x, weight)
    return y if bias is None else y + bias


@extended
def gelu(x: Numbers, approximate: str = "tanh") -> Any:
    """Return x times the chance that a standard normal number is smaller; tanh form by way of ½(1 + tanh u) = σ(2u)."""
    if approximate == "tanh":
        u = np.sqrt(2 / np.longdouble(math.pi)) * x * (1 + np.longdouble("0.044715") * x**2)
        return x / (1 + np.exp(-2 * u))
    return x * (1 + erf_wide(x / np.sqrt(np.longdouble(2)))) / 2


@extended
def silu(x: Numbers) -> Any:
    """Return x / (1 + e^-x)."""
    return x / (1 + np.exp(-x))


@extended
def softmax(x: Numbers, axis: int = -1) -> Any:
    """1 / Σⱼ e^(xⱼ - xᵢ), which needs no maximum; 0 where xᵢ is -∞."""
    x = np.moveaxis(x, axis, -1)
    out = np.isneginf(x.real)
    at = np.where(out, 0, x)
    y = 1 / np.sum(np.exp(x[..., None, :] - at[..., :, None]), axis=-1)
    return np.moveaxis(np.where(out, 0, y), -1, axis)


@extended
def layer_norm(x: Numbers, weight: Numbers | None = None, bias: Numbers | None = None, eps: float = 1e-6) -> Any:
    """(x - mean) / √(variance + eps), then weight and bias."""
    y = _standardise(x, (-1,), eps)
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


@extended
def rms_norm(x: Numbers, weight: Numbers, eps: float = 1e-6) -> Any:
    """Return x / √(mean square + eps), then weight."""
    return x * weight / np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + eps)


@extended
def group_norm(
    x: Numbers, groups: int, weight: Numbers | None = None, bias: Numbers | None = None, eps: float = 1e-6
) -> Any:
    """One run of channels after another, over channels and places at once."""
    run = x.shape[1] // groups
    y = np.empty(x.shape, x.dtype)
    for first in range(0, x.shape[1], run):
        y[:, first : first + run] = _standardise(x[:, first : first + run], tuple(range(1, x.ndim)), eps)
    for channel in range(x.shape[1]):
        y[:, channel] *= 1 if weight is None else weight[channel]
        y[:, channel] += 0 if bias is None else bias[channel]
    return y


@extended
def group_norm_silu(
    x: Numbers, groups: int, weight: Numbers | None = None, bias: Numbers | None = None, eps: float = 1e-6
) -> Any:
    """A group norm y over 1 + e^-y."""
    y = group_norm(x, groups, weight, bias, eps)
    return y / (1 + np.exp(-y))


@extended
def modulate(x: Numbers, shift: Numbers, scale: Numbers, eps: float = 1e-6) -> Any:
    """Standardised rows, times 1 + scale, plus shift."""
    y = _standardise(x, (-1,), eps)
    return y + y * scale + shift


@extended
def gated_residual(x: Numbers, branch: Numbers, gate: Numbers) -> Any:
    """The branch times its gate beside x."""
    return x + branch * gate


@extended
def conv(
    x: Numbers,
    weight: Numbers,
    bias: Numbers | None = None,
    stride: Sequence[int] | None = None,
    padding: Sequence[int] | None = None,
) -> Any:
    """One place of the result after another: the window under the kernel times the kernel, summed."""
    n, kernel = x.ndim - 2, weight.shape[2:]
    stride, padding = stride or (1,) * n, padding or (0,) * n
    x = np.pad(x, ((0, 0), (0, 0), *((p, p) for p in padding)))
    size = [(length - k) // s + 1 for length, k, s in zip(x.shape[2:], kernel, stride, strict=True)]
    y = np.empty((x.shape[0], weight.shape[0], *size), x.dtype)
    for place in np.ndindex(*size):
        window = tuple(np.s_[i * s : i * s + k] for i, s, k in zip(place, stride, kernel, strict=True))
        under = x[(slice(None), None, slice(None), *window)]  # (B, 1, in, *kernel)
        y[(slice(None), slice(None), *place)] = np.sum(under * weight, axis=tuple(range(2, n + 3)))
    return y if bias is None else y + bias.reshape(-1, *(1 for _ in range(n)))


def _standardise(x: Numbers, axes: tuple[int, ...], eps: float) -> Numbers:
    """Zero mean and unit variance over the axes; squares, not absolute values, so that complex steps pass."""
    x = x - np.mean(x, axis=axes, keepdims=True)
    return np.asarray(x / np.sqrt(np.mean(x**2, axis=axes, keepdims=True) + eps))
