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
    """Frames that are given to v1.3 or v2.0: which ones, by what type, and their clean latents."""

    mask: Array  # (B, 1, T, H, W), 1 where they are given
    latents: Array  # (B, C, T, H, W), zero elsewhere
    indices: tuple[int, ...]
    kind: str

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


def condition(
    ops: Ops,
    kind: str,
    references: Sequence[Sequence[Array]],
    shape: tuple[int, int, int, int, int],
    types: dict[str, Frames] = TYPES_V2,
) -> Condition:
    """Place references among latents of a shape (B, C, T, H, W).

    references: of each sample, latents [C, T', H, W]: none for t2v, two for i2v_loop, one otherwise. A reference gives
    its last frames to a tail, and else its first ones. types: of the release.
    Raises InvalidInputError for another number of references, and for one that is too short.
    """
    indices = given_frames(kind, shape[2], types)
    needed = references_of(kind)
    rows = []
    for sample in references:
        if len(sample) != needed:
            raise InvalidInputError(f"condition type {kind!r} needs {needed} references, got {len(sample)}")
        rows.append(_given_parts(kind, sample, len(indices)) if indices else [])
    return _placed(ops, kind, rows, indices, shape)


def references_of(kind: str) -> int:
    """How many references a condition type takes."""
    return {"t2v": 0, "i2v_loop": 2}.get(kind, 1)


def beginning(ops: Ops, kind: str, latents: Array, shape: tuple[int, int, int, int, int]) -> Condition:
    """The condition of a clip that begins with latents [B, C, T', H, W], all of which are given."""
    indices = tuple(range(latents.shape[2]))
    rows = [[latents[b, :, i : i + 1] for i in indices] for b in range(latents.shape[0])]
    return _placed(ops, kind, rows, indices, shape)


def _placed(
    ops: Ops,
    kind: str,
    rows: Sequence[Sequence[Array]],
    indices: tuple[int, ...],
    shape: tuple[int, int, int, int, int],
) -> Condition:
    """Frames [C, 1, H, W] of every sample at their indices, and the mask that says where they are."""
    B, C, T, H, W = shape
    if len(rows) != B:
        raise InvalidInputError(f"references of {len(rows)} samples were given for {B}")
    there = np.isin(np.arange(T), indices).astype(np.float32).reshape(1, 1, T, 1, 1)
    mask = ops.asarray(np.broadcast_to(there, (B, 1, T, H, W)).copy(), ops.wide_dtype)
    spread = [ops.reshape(_spread(ops, row, indices, (C, T, H, W)), (1, C, T, H, W)) for row in rows]
    return Condition(mask, ops.concat(spread, axis=0), indices, kind)


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
