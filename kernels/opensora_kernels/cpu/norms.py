"""Layer, RMS and group norm: a row is read while it is still in the cache, and written once."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .compiled import STRICT, SUMS, Array, compiled, frozen, row_numbers
from .exponential import exp_negative
from .threads import share_rows

BLOCK = 1024  # elements summed in x's own dtype; the sums of blocks are added in float64, so that long rows stay exact


def layer_norm(x: Any, weight: Any, bias: Any, eps: float, threads: int = 1) -> Array:
    """Zero mean and unit variance over the last axis of x [..., D], then weight and bias, each [D] or None."""
    D = x.shape[-1]
    weight = np.ones(D, x.dtype) if weight is None else weight
    bias = np.zeros(D, x.dtype) if bias is None else bias
    return _standardise(x, weight, bias, eps, threads)


def modulate(x: Any, shift: Any, scale: Any, eps: float, threads: int = 1) -> Array:
    """layer_norm(x) (1 + scale) + shift; shift and scale have x's last axis and broadcast along all others."""
    return _standardise(x, scale + x.dtype.type(1), shift, eps, threads)


def rms_norm(x: Any, weight: Any, eps: float, threads: int = 1) -> Array:
    """x [..., D] over its root mean square along the last axis, times weight [D]."""
    out = np.empty(x.shape, x.dtype)
    D = x.shape[-1]
    rows = out.reshape(-1, D)
    inputs = frozen(x, rows.shape, x.dtype), frozen(weight, (D,), x.dtype)
    share_rows(threads, _rms_norm, len(rows), out.size, *inputs, eps, rows)
    return out


def group_norm(
    x: Any, groups: int, weight: Any, bias: Any, eps: float, threads: int = 1, *, silu: bool = False
) -> Array:
    """Normalise x [B, C, ...] over each of `groups` equal runs of channels, then weight and bias, each [C] or None.

    silu: whether SiLU follows, of each channel while it is in the cache.
    """
    B, C = x.shape[:2]
    out = np.empty(x.shape, x.dtype)
    rows = out.reshape(B * groups, C // groups, -1)
    scale = np.ones(C, x.dtype) if weight is None else weight
    shift = np.zeros(C, x.dtype) if bias is None else bias
    affine = (frozen(a, (groups, C // groups), x.dtype) for a in (scale, shift))
    share_rows(threads, _group_norm, len(rows), out.size, frozen(x, rows.shape, x.dtype), *affine, eps, silu, rows)
    return out


def _standardise(x: Any, scale: Any, shift: Any, eps: float, threads: int) -> Array:
    out = np.empty(x.shape, x.dtype)
    D = x.shape[-1]
    rows = out.reshape(-1, D)
    affine = (frozen(a, (a.size // D, D), x.dtype) for a in (scale, shift))
    which = (row_numbers(a, x) for a in (scale, shift))
    share_rows(threads, _layer_norm, len(rows), out.size, frozen(x, rows.shape, x.dtype), *affine, *which, eps, rows)
    return out


@compiled(SUMS)
def _mean(row: Array) -> float:
    total = 0.0
    for start in range(0, row.size, BLOCK):
        block, part = row[start : start + BLOCK], row.dtype.type(0.0)
        for i in range(block.size):
            part += block[i]
        total += part
    return total / row.size


@compiled(SUMS)
def _mean_square(row: Array, centre: Any) -> float:
    total = 0.0
    for start in range(0, row.size, BLOCK):
        block, part = row[start : start + BLOCK], row.dtype.type(0.0)
        for i in range(block.size):
            part += (block[i] - centre) * (block[i] - centre)
        total += part
    return total / row.size


@compiled(STRICT)
def _layer_norm(
    first: int, last: int, x: Array, scale: Array, shift: Array, which: Array, where: Array, eps: float, out: Array
) -> None:
    number = out.dtype.type
    for r in range(first, last):
        row, a, b, y = x[r], scale[which[r]], shift[where[r]], out[r]
        mean = number(_mean(row))
        inverse = number(1.0 / math.sqrt(_mean_square(row, mean) + eps))
        for d in range(row.size):
            y[d] = (row[d] - mean) * inverse * a[d] + b[d]


@compiled(STRICT)
def _rms_norm(first: int, last: int, x: Array, weight: Array, eps: float, out: Array) -> None:
    number = out.dtype.type
    for r in range(first, last):
        row, y = x[r], out[r]
        inverse = number(1.0 / math.sqrt(_mean_square(row, number(0.0)) + eps))
        for d in range(row.size):
            y[d] = row[d] * inverse * weight[d]


@compiled(STRICT)
def _group_norm(
    first: int, last: int, x: Array, scale: Array, shift: Array, eps: float, silu: bool, out: Array
) -> None:
    number = out.dtype.type
    one, zero = number(1.0), number(0.0)
    for r in range(first, last):
        whole, group = x[r].reshape(-1), r % len(scale)
        mean = number(_mean(whole))
        inverse = number(1.0 / math.sqrt(_mean_square(whole, mean) + eps))
        for c in range(x.shape[1]):
            row, y = x[r, c], out[r, c]
            a, b = inverse * scale[group, c], shift[group, c]
            if not silu:
                for i in range(row.size):
                    y[i] = (row[i] - mean) * a + b
                continue
            for i in range(row.size):
                u = (row[i] - mean) * a + b
                e = exp_negative(-abs(u))
                y[i] = u * ((e if u < zero else one) / (one + e))
