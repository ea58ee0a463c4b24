"""Condition types: which latent frames of a video are given, as v1.3 and v2.0 name and use them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from ..checks import one_of
from ..errors import InvalidInputError
from ..ops import Array, Ops

Frames = Callable[[int], tuple[int, ...]]


def _head(length: int) -> Frames:
    return lambda T: tuple(range(min(length, T)))


def _tail(length: int) -> Frames:
    return lambda T: tuple(range(max(T - length, 0), T))


_IMAGES: dict[str, Frames] = {
    "t2v": lambda T: (),
    "i2v_head": _head(1),
    "i2v_tail": _tail(1),
    "i2v_loop": lambda T: (0, T - 1),
}
TYPES_V13: dict[str, Frames] = {
    **_IMAGES,
    "v2v_head": lambda T: tuple(range(T // 2)),
    "v2v_tail": lambda T: tuple(range(T - T // 2, T)),
}
"""Condition types of v1.3: the latent frames that are given of T."""
TYPES_V2: dict[str, Frames] = {
    **_IMAGES,
    "v2v_head": _head(9),
    "v2v_tail": _tail(9),
    "v2v_head_easy": _head(17),
    "v2v_tail_easy": _tail(17),
}
"""Condition types of v2.0: the latent frames that are given of T."""


class Condition(NamedTuple):
    """Frames that are given to v2.0: a mask [B, 1, T, H, W], 1 where they are, and their latents, zero elsewhere."""

    mask: Array
    latents: Array  # (B, C, T, H, W)

    def keep(self, ops: Ops, z: Array) -> Array:
        """Latents z, such as a finished sample, with the given frames in their places."""
        return ops.where(ops.equal(self.mask, 1.0), self.latents, z)

    def channels(self, ops: Ops) -> Array:
        """What MMDiT sees of it, to be packed like latents: [B, 1 + C, T, H, W]."""
        return ops.concat([self.mask, self.latents], axis=1)


def given_frames(kind: str, num_frames: int, types: dict[str, Frames] = TYPES_V2) -> tuple[int, ...]:
    """Indices of the latent frames that a condition type gives of `num_frames`; a single frame is never given.

    Raises InvalidInputError for a type that is not among `types`.
    """
    frames = types[one_of("kind", kind, tuple(types))]
    return frames(num_frames) if num_frames > 1 else ()


def condition_v2(
    ops: Ops, kind: str, references: Sequence[Sequence[Array]], shape: tuple[int, int, int, int, int]
) -> Condition:
    """Place references among latents of a shape (B, C, T, H, W).

    references: of each sample, latents [C, T', H, W]: none for t2v, two for i2v_loop, one otherwise. A reference gives
    its last frames to a tail, and else its first ones. Raises InvalidInputError for another number of references, and
    for one that is too short.
    """
    B, C, T, H, W = shape
    indices = given_frames(kind, T)
    needed = {"t2v": 0, "i2v_loop": 2}.get(kind, 1)
    rows = []
    for sample in references:
        if len(sample) != needed:
            raise InvalidInputError(f"condition type {kind!r} needs {needed} references, got {len(sample)}")
        frames = _given_parts(kind, sample, len(indices)) if indices else []
        rows.append(_spread(ops, frames, indices, (C, T, H, W)))
    if len(rows) != B:
        raise InvalidInputError(f"references of {len(rows)} samples were given for {B}")
    there = np.isin(np.arange(T), indices).astype(np.float32).reshape(1, 1, T, 1, 1)
    mask = ops.asarray(np.broadcast_to(there, (B, 1, T, H, W)).copy(), ops.wide_dtype)
    return Condition(mask, ops.concat([ops.reshape(row, (1, C, T, H, W)) for row in rows], axis=0))


def _given_parts(kind: str, references: Sequence[Array], length: int) -> list[Array]:
    """The frames to be given, each [C, 1, H, W], in order."""
    if kind == "i2v_loop":
        return [reference[:, :1] for reference in references]
    [reference] = references
    if reference.shape[1] < length:
        raise InvalidInputError(
            f"condition type {kind!r} gives {length} latent frames; the reference has {reference.shape[1]}"
        )
    first = reference.shape[1] - length if "tail" in kind else 0
    return [reference[:, first + i : first + i + 1] for i in range(length)]


def _spread(ops: Ops, frames: Sequence[Array], indices: tuple[int, ...], shape: tuple[int, int, int, int]) -> Array:
    """Frames at their indices among zeros: [C, T, H, W]."""
    C, T, H, W = shape
    at = dict(zip(indices, frames, strict=True))
    empty = ops.full((C, 1, H, W), 0.0, ops.wide_dtype)
    return ops.concat([ops.astype(at[t], ops.wide_dtype) if t in at else empty for t in range(T)], axis=1)
