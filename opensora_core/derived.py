"""Plain functions over the language, for any backend alike; never overridden."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from .errors import InvalidInputError
from .ops import Array, Ops


def mean(ops: Ops, x: Array, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Array:
    """Arithmetic mean over axes; half precision is averaged in float32 and cast back."""
    axes = range(x.ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
    count = math.prod(x.shape[a] for a in axes)
    return ops.astype(ops.sum(ops.widen(x), axis=axis, keepdims=keepdims) * (1.0 / count), x.dtype)


def stack(ops: Ops, arrays: Sequence[Array], axis: int = 0) -> Array:
    """Join equal shapes along a new axis."""
    at = axis % (arrays[0].ndim + 1)
    return ops.concat([ops.reshape(a, (*a.shape[:at], 1, *a.shape[at:])) for a in arrays], axis=at)


def split(ops: Ops, x: Array, parts: int, axis: int) -> list[Array]:
    """Cut an axis into equal parts; raises InvalidInputError if they cannot be equal."""
    axis %= x.ndim
    if x.shape[axis] % parts:
        raise InvalidInputError(f"an axis of length {x.shape[axis]} cannot be split into {parts} equal parts")
    size = x.shape[axis] // parts
    key = [slice(None)] * x.ndim
    pieces = []
    for i in range(parts):
        key[axis] = slice(i * size, (i + 1) * size)
        pieces.append(x[tuple(key)])
    return pieces


def pad_to_multiple(ops: Ops, x: Array, multiples: Sequence[int]) -> Array:
    """Zero-pad the end of each axis to a multiple (one entry per axis)."""
    high = [-n % m for n, m in zip(x.shape, multiples, strict=True)]
    return ops.pad(x, (0,) * x.ndim, high, (0,) * x.ndim) if any(high) else x


def rearrange(ops: Ops, x: Array, pattern: str, **sizes: int) -> Array:
    """Reshape and permute by an einops-style pattern of named axes, e.g. "b (t s) d -> b t s d" with t=4.

    Raises InvalidInputError if the two sides name different axes or x does not have the lengths they need.
    """
    left, right = (_parse(side) for side in pattern.split("->"))
    names = [n for group in left for n in group]
    if sorted(names) != sorted(n for group in right for n in group) or len(left) != x.ndim:
        raise InvalidInputError(f"{pattern!r} does not name the {x.ndim} axes of {tuple(x.shape)} alike on both sides")
    lengths = _lengths(left, tuple(x.shape), sizes)
    x = ops.reshape(x, [lengths[n] for n in names])
    x = ops.permute_dims(x, [names.index(n) for group in right for n in group])
    return ops.reshape(x, [math.prod([lengths[n] for n in group]) for group in right])


def _parse(side: str) -> list[list[str]]:
    return [token.strip("()").split() for token in re.findall(r"\([^)]*\)|\S+", side.strip())]


def _lengths(groups: list[list[str]], shape: tuple[int, ...], known: dict[str, int]) -> dict[str, int]:
    lengths = dict(known)
    for group, size in zip(groups, shape, strict=True):
        unknown = [n for n in group if n not in lengths]
        rest = math.prod([lengths[n] for n in group if n in lengths])
        if unknown:
            lengths[unknown[0]] = size // rest if rest else 0
            rest *= lengths[unknown[0]]
        if len(unknown) > 1 or rest != size:
            raise InvalidInputError(f"axis ({' '.join(group)}) of length {size} cannot be split with {known}")
    return lengths
