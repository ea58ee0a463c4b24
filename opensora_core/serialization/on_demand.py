"""Mappings of weights that are made of another mapping's, one at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

Value = TypeVar("Value")


class OnDemand(Mapping[str, Value]):
    """A mapping with the names of another, each value of which is made when it is asked for, and not to look it up."""

    def __init__(self, source: Mapping[str, Any]) -> None:
        self._source = source

    def __contains__(self, name: object) -> bool:
        return name in self._source

    def __iter__(self) -> Iterator[str]:
        return iter(self._source)

    def __len__(self) -> int:
        return len(self._source)
