"""What a kind of golden set hands back: named numbers to be compared with the recorded ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from numpy.typing import NDArray

from ..ops import Ops
from .golden import GoldenSet


class Produced(NamedTuple):
    """One result of the backend under test, on the host."""

    case: str
    tensor: str  # "out/<name>" or "mid/<name>", as in the golden set
    value: NDArray[Any]


Kind = Callable[[GoldenSet, Ops], Iterator[Produced]]
"""Runs every case of a golden set on a backend."""
