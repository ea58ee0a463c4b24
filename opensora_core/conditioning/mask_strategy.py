"""Mask strategies of Open-Sora v1.2: which latent frames of a reference stand where in the video, and how firmly.

    0;0,1,0,-1,1        the first frame of reference 0 first, and the first of reference 1 last
    0,0,0,0,8,0.3       the first 8 frames of reference 0, to be edited up to time 0.3

Groups are separated by `;`, their fields by `,`; fields that are left out are those of `MaskGroup`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..derived import stack
from ..errors import InvalidInputError
from ..ops import Array, Ops


class MaskGroup(NamedTuple):
    """One placing of frames, in latent frames; negative starts count from the end."""

    loop: int = 0  # of a long video, in which it holds
    reference: int = 0  # which one
    reference_start: int = 0
    target_start: int = 0
    length: int = 1
    edit_ratio: float = 0.0  # 0 keeps the frames, 1 makes them anew, between them they change until that time

    def __str__(self) -> str:
        """As it stands in a mask strategy; without the ratio where that is 0."""
        return ",".join(f"{field:g}" for field in (self if self.edit_ratio else self[:-1]))

    def check_reference(self, count: int) -> None:
        """Raise InvalidInputError where its reference is not among so many."""
        if self.reference >= count:
            there = (
                f"there are {count} (0 to {count - 1})" if count > 1 else f"there is {'only 0' if count else 'none'}"
            )
            raise InvalidInputError(f"mask_strategy '{self}' asks for reference {self.reference}; {there}")


def continuation(loop: int, reference: int, length: int, edit_ratio: float = 0.0) -> MaskGroup:
    """The placing of the last frames of a reference, the clip before, at the start of a loop of a long video."""
    return MaskGroup(loop, reference, -length, 0, length, edit_ratio)


def parse_mask_strategy(text: str | None) -> list[MaskGroup]:
    """Read a mask strategy; empty text or None has no groups. Raises InvalidInputError, naming what cannot be read."""
    return [_group(text, part) for part in text.split(";")] if text else []


def _group(text: str, part: str) -> MaskGroup:
    fields = part.split(",")
    try:
        if len(fields) > len(MaskGroup._fields):
            raise ValueError
        numbers = [int(field) for field in fields[:5]]
        group = MaskGroup(*numbers, *(float(field) for field in fields[5:]))
    except ValueError:
        raise InvalidInputError(
            f"mask strategy {text!r}: {part!r} must be up to five whole numbers and a ratio, "
            f"{','.join(MaskGroup._fields)}"
        ) from None
    if not 0 <= group.edit_ratio <= 1 or group.length < 1 or group.reference < 0:
        raise InvalidInputError(
            f"mask strategy {text!r}: {part!r} needs reference >= 0, length >= 1 and edit_ratio in 0 to 1"
        )
    return group


def nearest_multiple(position: int, align: int, end: int) -> int:
    """The multiple of `align` nearest to a position, below `end`; from the middle between two, the lower one."""
    k = position // align
    if position % align > align / 2 and k < end // align - 1:
        k += 1
    return k * align


def apply_mask_strategy(
    ops: Ops,
    z: Array,
    references: Sequence[Sequence[Array]],
    strategies: Sequence[Sequence[MaskGroup]],
    loop: int = 0,
    align: int | None = None,
) -> tuple[Array, NDArray[np.float64]]:
    """Put frames of references into noise z [B, C, T, H, W]: (z with them, mask [B, T] for `euler`).

    references: of each sample, latents [C, T', H, W]. strategies: of each sample, its groups. loop: of a long video.
    align: snaps starts to multiples of so many latent frames, 5 in the released configuration, where the autoencoder's
    chunks begin. A group that begins beyond the end of either places nothing, as officially. Raises InvalidInputError
    for a group without its reference, and for one that begins before the start of either.
    """
    rows, masks = [], []
    for b in range(z.shape[0]):
        row, mask = z[b], np.ones(z.shape[2])
        for group in strategies[b]:
            if group.loop == loop:
                row = _place(ops, row, mask, references[b], group, align)
        rows.append(row)
        masks.append(mask)
    return stack(ops, rows), np.stack(masks)


def _place(
    ops: Ops, row: Array, mask: NDArray[np.float64], references: Sequence[Array], group: MaskGroup, align: int | None
) -> Array:
    """Latents [C, T, H, W] with the frames of one group; sets the mask."""
    group.check_reference(len(references))
    reference = references[group.reference]
    source = _start(group, "reference_start", reference.shape[1], align)
    target = _start(group, "target_start", row.shape[1], align)
    length = min(group.length, row.shape[1] - target, reference.shape[1] - source)
    if length < 1:
        return row
    mask[target : target + length] = group.edit_ratio
    parts = [row[:, :target], reference[:, source : source + length], row[:, target + length :]]
    return ops.concat([part for part in parts if part.shape[1]], axis=1)


def _start(group: MaskGroup, field: str, end: int, align: int | None) -> int:
    given = getattr(group, field)
    start = int(given + end if given < 0 else given)
    start = start if align is None else nearest_multiple(start, align, end)
    if start < 0:
        raise InvalidInputError(f"{field}={given} lies before the start of {end} latent frames; at least {-end}")
    return start
