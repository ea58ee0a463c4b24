"""What the configurations of the autoencoders share."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields
from typing import Any, TypeVar

from ..checks import table, whole
from ..errors import InvalidInputError

C = TypeVar("C")


def from_published(cls: type[C], name: str, values: Mapping[str, Any], ignored: Collection[str]) -> C:
    """A configuration from the fields of a published one or of `to_dict`, without those that change no number.

    Raises InvalidInputError for a field that is not known: it may change the numbers.
    """
    known = [f.name for f in fields(cls)]  # type: ignore[arg-type]
    kept = table(name, values, [*known, *ignored])
    return cls(**{field: kept[field] for field in known if field in kept})


def check_channels(channels: Any, groups: Any) -> tuple[int, ...]:
    """Widths of the levels as a tuple; each must be a positive multiple of the norms' groups."""
    whole("norm_num_groups", groups, 1)
    if not isinstance(channels, list | tuple) or not channels:
        raise InvalidInputError(f"block_out_channels={channels!r} must be a list of widths, one per level")
    for width in channels:
        if whole("block_out_channels", width, 1) % groups:
            raise InvalidInputError(f"block_out_channels={channels!r} must be multiples of norm_num_groups={groups}")
    return tuple(channels)
