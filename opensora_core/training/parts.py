"""Which weights of the denoiser learn: patterns of names, as `spatial_blocks.*`."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from ..errors import InvalidInputError

CONSTANT = ("rope.freqs",)  # a table of the position encoding, which Open-Sora keeps among the weights


def learned(train: Sequence[str], frozen: Sequence[str], names: Sequence[str]) -> frozenset[str]:
    """Names of the weights that a pattern of `train` matches and none of `frozen`.

    Raises InvalidInputError for a pattern that matches nothing, and when nothing is left to learn.
    """
    still = {*CONSTANT, *matching("frozen", frozen, names)}
    left = frozenset(matching("train", train, names)) - still
    if not left:
        raise InvalidInputError(f"train={list(train)} without frozen={list(frozen)} leaves no weight")
    return left


def matching(what: str, patterns: Sequence[str], names: Sequence[str]) -> list[str]:
    """Names that match one of the patterns, in order; `*` stands for any text, dots included, `?` for one character.

    Raises InvalidInputError, calling the patterns `what`, for those that match nothing.
    """
    if useless := [p for p in patterns if not any(fnmatchcase(name, p) for name in names)]:
        tops = ", ".join(dict.fromkeys(name.partition(".")[0] for name in names))
        raise InvalidInputError(f"{what}={useless} match nothing of the denoiser, whose parts are {tops}; add .*?")
    return [name for name in names if any(fnmatchcase(name, p) for p in patterns)]
