"""GELU, SiLU and erf: one pass over memory, one exponential an element."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np

from .compiled import STRICT, Array, compiled, frozen
from .exponential import exp_negative
from .threads import share_rows


def gelu(x: Any, approximate: Literal["tanh", "none"], threads: int = 1) -> Array:
    """Gaussian error linear unit, the tanh form or the exact one; x of any shape."""
    return _each(_gelu_tanh if approximate == "tanh" else _gelu_erf, x, threads)


def silu(x: Any, threads: int = 1) -> Array:
    """x / (1 + e^-x); x of any shape."""
    return _each(_silu, x, threads)


def erf(x: Any, threads: int = 1) -> Array:
    """Gauss error function; x of any shape."""
    return _each(_erf, x, threads)


def _each(kernel: Any, x: Any, threads: int) -> Array:
    out = np.empty(x.shape, x.dtype)
    share_rows(threads, kernel, out.size, out.size, frozen(x, (out.size,), out.dtype), out.reshape(-1))
    return out


@compiled(STRICT)
def _gelu_tanh(first: int, last: int, x: Array, out: Array) -> None:
    """x (1 + tanh u)/2 = x σ(2u) with u = √(2/π) (x + 0.044715 x³); σ by e^-|2u|, which cannot overflow."""
    one, zero = out.dtype.type(1.0), out.dtype.type(0.0)
    a, b = out.dtype.type(2 * math.sqrt(2 / math.pi)), out.dtype.type(2 * math.sqrt(2 / math.pi) * 0.044715)
    x, out = x[first:last], out[first:last]
    for i in range(x.size):
        u = x[i] * (a + b * (x[i] * x[i]))
        e = exp_negative(-abs(u))
        out[i] = x[i] * ((e if u < zero else one) / (one + e))


@compiled(STRICT)
def _silu(first: int, last: int, x: Array, out: Array) -> None:
    one, zero = out.dtype.type(1.0), out.dtype.type(0.0)
    x, out = x[first:last], out[first:last]
    for i in range(x.size):
        e = exp_negative(-abs(x[i]))
        out[i] = x[i] * ((e if x[i] < zero else one) / (one + e))


@compiled(STRICT)
def _gelu_erf(first: int, last: int, x: Array, out: Array) -> None:
    x, out = x[first:last], out[first:last]
    for i in range(x.size):
        wide = np.float64(x[i])
        out[i] = 0.5 * wide * (1.0 + math.erf(wide * math.sqrt(0.5)))


@compiled(STRICT)
def _erf(first: int, last: int, x: Array, out: Array) -> None:
    x, out = x[first:last], out[first:last]
    for i in range(x.size):
        out[i] = math.erf(np.float64(x[i]))
