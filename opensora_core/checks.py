"""Checks of values that users hand in: each error names the value and what is legal."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any

from .errors import InvalidInputError


def whole(name: str, value: Any, low: int, high: int | None = None) -> int:
    """`value` as an int from `low` to `high`, NumPy's included; a boolean is no number."""
    is_whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not is_whole or value < low or (high is not None and value > high):
        legal = f"of at least {low}" if high is None else f"from {low} to {high}"
        raise InvalidInputError(f"{name}={value!r} must be a whole number {legal}")
    return int(value)


def number(name: str, value: Any, low: float, high: float = math.inf, *, above: bool = False) -> float:
    """`value` as a finite float from `low` (`above`: not `low` itself) to `high`; a boolean is no number."""
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not is_number or not low <= value <= min(high, sys.float_info.max) or (above and value == low):  # NaN fails too
        least = f"above {low:g}" if above else f"of at least {low:g}" if high == math.inf else f"from {low:g}"
        most = "" if high == math.inf else f"{' and at most' if above else ' to'} {high:g}"
        raise InvalidInputError(f"{name}={value!r} must be a number {least}{most}")
    return float(value)


def switch(name: str, value: Any) -> bool:
    """`value`, which must be True or False."""
    if not isinstance(value, bool):
        raise InvalidInputError(f"{name}={value!r} must be true or false")
    return value


def one_of(name: str, value: Any, choices: Sequence[str]) -> str:
    """`value`, which must be one of the choices."""
    if not isinstance(value, str) or value not in choices:
        raise InvalidInputError(f"{name}={value!r} is not one of {', '.join(choices)}")
    return value


def patterns(name: str, value: Any) -> tuple[str, ...]:
    """`value`, which must be a tuple of texts (a list, in a file)."""
    if not isinstance(value, tuple) or not all(isinstance(pattern, str) for pattern in value):
        raise InvalidInputError(f'{name}={value!r} must be a list of names or patterns, such as ["spatial_blocks.*"]')
    return value


def fixed(model: str, said: Mapping[str, Any], legal: Mapping[str, Any]) -> None:
    """Refuse a configuration with another value for what the model has one of; a list says it of every level."""
    for name, value in legal.items():
        given = said.get(name, value)
        if any(entry != value for entry in (given if isinstance(given, list | tuple) else [given])):
            raise InvalidInputError(f"{name}={given!r} is not the {model} of Open-Sora, which has {value!r}")


def table(name: str, value: Any, known: Sequence[str]) -> Mapping[str, Any]:
    """`value`, which must be a mapping with no keys but the known ones."""
    if not isinstance(value, Mapping):
        raise InvalidInputError(f"{name} is a {type(value).__name__}; expected a table of {', '.join(known)}")
    if unknown := sorted(str(key) for key in set(value) - set(known)):
        raise InvalidInputError(f"unknown {name} fields {unknown}; known: {sorted(known)}")
    return value
