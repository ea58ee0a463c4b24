"""What ops are given: arrays of one GPU, and shapes that have a meaning; InvalidInputError names what has none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from opensora_core.errors import InvalidInputError


def arrays_in(values: Iterable[Any]) -> Iterator[Any]:
    """Arrays of any library among arguments, and in lists of them; numbers and NumPy's scalars are none."""
    for value in values:
        if isinstance(value, list | tuple):
            yield from arrays_in(value)
        elif hasattr(value, "__dlpack__"):
            yield value


def check_video(qkv: Any) -> None:
    """Packed queries, keys and values must be [B, T, S, 3, H, D], with channels to attend by."""
    if qkv.ndim != 6 or qkv.shape[3] != 3:
        raise InvalidInputError(f"attention_3d: qkv has shape {qkv.shape}: expected [B, T, S, 3, H, D]")
    check_channels("attention_3d", qkv)


def check_channels(op: str, x: Any) -> None:
    """Queries and keys must be rows [..., L, D] of one channel or more."""
    if x.ndim < 2 or x.shape[-1] < 1:
        raise InvalidInputError(f"{op}: queries or keys have shape {x.shape}: expected [..., L, D], D at least 1")


def check_groups(op: str, x: Any, groups: int) -> None:
    """Channels of x [B, C, ...] must fall into so many equal groups."""
    if x.ndim < 2 or groups < 1 or x.shape[1] % groups:
        raise InvalidInputError(f"{op}: {groups} groups of x {x.shape}: expected [B, C, ...], C a multiple of groups")


def check_axis(op: str, x: Any, axis: int) -> None:
    """The axis must be one of x's."""
    if not -x.ndim <= axis < x.ndim:
        raise InvalidInputError(f"{op}: axis {axis} of an array with shape {x.shape}: it has {x.ndim} axes")
