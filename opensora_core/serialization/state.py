"""Whether the weights that were found are the weights that a model expects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from ..errors import WeightsError
from ..module import rebuild, state_dict
from .names import closest, show

M = TypeVar("M")
Shape = Sequence[int]
_SHOWN = 8  # names of each kind in a message


@dataclass(frozen=True)
class StateDifference:
    """Names that the model expects and the weights lack, the other way round, and names whose shapes differ."""

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: tuple[str, ...]


def check_state(expected: Mapping[str, Shape], found: Mapping[str, Shape], *, strict: bool = True) -> StateDifference:
    """Compare names and shapes; WeightsError lists what is missing, unexpected or of another shape.

    Without `strict`, missing and unexpected names are only returned, for the caller to say aloud; another shape is an
    error always.
    """
    difference = StateDifference(
        missing=tuple(sorted(expected.keys() - found.keys())),
        unexpected=tuple(sorted(found.keys() - expected.keys())),
        mismatched=tuple(sorted(n for n in expected.keys() & found.keys() if tuple(expected[n]) != tuple(found[n]))),
    )
    if difference.mismatched or (strict and (difference.missing or difference.unexpected)):
        raise WeightsError(describe(difference, expected, found))
    return difference


def fill(template: M, weights: Mapping[str, Any]) -> M:
    """The same module with every weight taken from `weights`, which must be exactly those it has.

    template: of the right shapes, without numbers of its own if it was made with a ShapeInit.
    """
    own = state_dict(template)
    check_state({name: a.shape for name, a in own.items()}, {name: weights[name].shape for name in weights})
    return rebuild(template, weights)


def describe(difference: StateDifference, expected: Mapping[str, Shape], found: Mapping[str, Shape]) -> str:
    """The difference in words: a few names of each kind with the count of all, and near names that look like typos."""
    parts = [f"the weights do not fit the model ({len(found)} found, {len(expected)} expected)"]
    if difference.missing:
        lines = (f"{show(n)} {_shape(expected[n])}{closest(n, difference.unexpected)}" for n in difference.missing)
        parts.append(_list("missing", lines, len(difference.missing)))
    if difference.unexpected:
        lines = (f"{show(n)} {_shape(found[n])}{closest(n, difference.missing)}" for n in difference.unexpected)
        parts.append(_list("unexpected", lines, len(difference.unexpected)))
    if difference.mismatched:
        lines = (f"{show(n)} is {_shape(found[n])}, expected {_shape(expected[n])}" for n in difference.mismatched)
        parts.append(_list("of another shape", lines, len(difference.mismatched)))
    return "\n".join(parts)


def _list(title: str, lines: Iterable[str], count: int) -> str:
    shown = [f"    {line}" for _, line in zip(range(_SHOWN), lines, strict=False)]
    rest = [f"    and {count - _SHOWN} more"] if count > _SHOWN else []
    return "\n".join([f"  {count} {title}:", *shown, *rest])


def _shape(shape: Shape) -> str:
    return f"[{', '.join(str(length) for length in shape)}]"
