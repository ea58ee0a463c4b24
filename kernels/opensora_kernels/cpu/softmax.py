"""Softmax along the last axis: three short passes over a row that stays in the cache."""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiled import STRICT, SUMS, Array, compiled, frozen, row_numbers
from .exponential import exp_negative
from .threads import share_rows


def softmax(x: Any, threads: int = 1) -> Array:
    """exp(x) normalised along the last axis of x, which is not empty; a row with NaN or +inf gives NaN."""
    return write_softmax(x, np.empty(x.shape, x.dtype), threads)


def masked_softmax(x: Any, mask: Any, threads: int = 1) -> Array:
    """Softmax over the elements of each row that a boolean mask, broadcastable to x, allows; the others get 0.

    A row with none gives zeros. What the mask forbids may hold anything, NaN too.
    """
    return write_masked_softmax(x, mask, np.empty(x.shape, x.dtype), threads)


def write_softmax(x: Any, out: Array, threads: int = 1) -> Array:
    """Write the softmax of x into `out`, which shares no memory with it and lies in row-major order."""
    rows = out.reshape(-1, x.shape[-1])
    share_rows(threads, _softmax, len(rows), out.size, frozen(x, rows.shape, x.dtype), rows)
    return out


def write_masked_softmax(x: Any, mask: Any, out: Array, threads: int = 1) -> Array:
    """Write the masked softmax of x into `out`, likewise."""
    M = x.shape[-1]
    rows = out.reshape(-1, M)
    full = np.broadcast_to(mask, (*mask.shape[:-1], M))
    masks = frozen(full, (full.size // M, M), np.dtype(bool))
    which = row_numbers(full, x)
    share_rows(threads, _masked_softmax, len(rows), out.size, frozen(x, rows.shape, x.dtype), masks, which, rows)
    return out


@compiled(STRICT)
def largest(row: Array) -> Any:
    """The largest element but NaN, if the first is none; e^(NaN - any) is NaN and makes the whole row so.

    Compilers turn no loop that looks for a maximum into vector code unless NaN is ruled out: eight searches at a time
    they do.
    """
    a = b = c = d = e = f = g = h = row[0]
    whole = row.size // 8 * 8
    for i in range(0, whole, 8):
        a, b, c, d = max(a, row[i]), max(b, row[i + 1]), max(c, row[i + 2]), max(d, row[i + 3])
        e, f, g, h = max(e, row[i + 4]), max(f, row[i + 5]), max(g, row[i + 6]), max(h, row[i + 7])
    for i in range(whole, row.size):
        a = max(a, row[i])
    return max(max(max(a, b), max(c, d)), max(max(e, f), max(g, h)))


@compiled(STRICT)
def exponentials(row: Array, shift: Any, out: Array) -> None:
    """e^(row - shift), where shift is at least the largest element; `out` is other memory."""
    for i in range(row.size):
        out[i] = exp_negative(row[i] - shift)


@compiled(SUMS)
def total(row: Array) -> Any:
    """Sum of a row that is not long."""
    found = row.dtype.type(0.0)
    for i in range(row.size):
        found += row[i]
    return found


@compiled(STRICT)
def _softmax(first: int, last: int, x: Array, out: Array) -> None:
    for r in range(first, last):
        y = out[r]
        exponentials(x[r], largest(x[r]), y)
        inverse = y.dtype.type(1.0) / total(y)
        for i in range(y.size):
            y[i] *= inverse


@compiled(STRICT)
def _masked_softmax(first: int, last: int, x: Array, mask: Array, which: Array, out: Array) -> None:
    nothing = out.dtype.type(-np.inf)
    zero, one = out.dtype.type(0.0), out.dtype.type(1.0)
    for r in range(first, last):
        y, row, seen = out[r], x[r], mask[which[r]]
        for i in range(y.size):
            value = row[i]  # read at all events: no branch, no scalar loop
            y[i] = value if seen[i] else nothing
        most = largest(y)
        most = zero if most == nothing else most
        for i in range(y.size):
            y[i] = exp_negative(y[i] - most)
        sum_ = total(y)
        inverse = one / (one if sum_ == zero else sum_)
        for i in range(y.size):
            y[i] *= inverse
