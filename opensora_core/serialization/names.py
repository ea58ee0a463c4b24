"""Which names of tensors and which metadata are let into and out of a file."""

from __future__ import annotations

import difflib
import heapq
import re
from collections.abc import Collection

_PATH_LIKE = re.compile(r"^(?:[/\\]|[A-Za-z]:[/\\])|(?:^|[/\\])\.\.(?:[/\\]|$)")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")  # all but tab and line ends
_PART = re.compile(r"[._/]")
_COMPARED = 64


def name_problem(name: str, longest: int) -> str | None:
    """Why a tensor or a metadata key must not have this name, or None."""
    if not name:
        return "it is empty"
    if len(name) > longest:
        return f"it has {len(name)} characters, the limit is {longest}"
    if not name.isprintable():
        return "it has control or other unprintable characters"
    if _PATH_LIKE.search(name):
        return "it looks like a path out of the folder"
    return None


def value_problem(value: str) -> str | None:
    """Why a metadata value must not have this text, or None."""
    if _CONTROL.search(value):
        return "it has control characters or lone surrogates"
    return None


def show(text: str) -> str:
    """A text of a file for a message: quoted, unprintable characters escaped, at most 80 characters of it."""
    return ascii(text if len(text) <= 80 else text[:77] + "...")


def closest(name: str, known: Collection[str]) -> str:
    """ "; did you mean 'x'?" for the known name most like `name`, or nothing. Quick among tens of thousands."""
    candidates: Collection[str] = known
    if len(known) > _COMPARED:  # comparing letters is slow: only with those that share most parts of the name
        parts = set(_PART.split(name))
        candidates = heapq.nlargest(_COMPARED, known, key=lambda other: len(parts.intersection(_PART.split(other))))
    found = difflib.get_close_matches(name[:200], candidates, n=1, cutoff=0.6)
    return f"; did you mean {show(found[0])}?" if found else ""
