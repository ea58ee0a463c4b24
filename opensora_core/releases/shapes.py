"""Weights by names and shapes, which is all that a published model is recognised and configured by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Shapes = Mapping[str, tuple[int, ...]]
"""The shape of every weight, by its name."""
Values = dict[str, Any]
"""Fields of a configuration."""


def count(shapes: Shapes, name: str) -> int:
    """How many numbered parts a name has: x.0.weight and x.1.weight are two of x."""
    prefix = f"{name}."
    return len({full.removeprefix(prefix).partition(".")[0] for full in shapes if full.startswith(prefix)})
