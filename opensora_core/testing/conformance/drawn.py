"""The calls on which ops are judged: drawn by their strategies, the same in every run of the same code."""

from __future__ import annotations

import hashlib
from functools import cache
from itertools import count

import numpy as np

from ..drawing import draw
from ..running import arrays_in
from ..strategies import Call
from ..table import TABLE
from .expected import expect
from .observe import Expected

BATCH = 11  # drawn from one seed: the simplest call and ten independent ones; later ones would be kin of these
ROUNDS = 10  # times as many calls may be drawn as are asked for, before an op is found to have no more


@cache
def drawn_calls(op: str, examples: int) -> tuple[Call, ...]:
    """So many different calls of an op, at most a quarter of them with no array of two elements or more."""
    kept: dict[bytes, Call] = {}
    trivial = examples // 4
    for number in count():
        for call in draw(TABLE[op].calls, number, BATCH):
            small = max((x.size for x in arrays_in(list(call.args))), default=2) < 2
            key = _fingerprint(call)
            if key not in kept and (trivial or not small):
                kept[key] = call
                trivial -= small
            if len(kept) == examples:
                return tuple(kept.values())
        if BATCH * number > ROUNDS * examples:
            return tuple(kept.values())
    raise AssertionError("counting does not end")


@cache
def expected_of(op: str, examples: int, number: int, dtype: str) -> list[Expected]:
    """What one of the drawn calls must give in a dtype."""
    return expect(TABLE[op], drawn_calls(op, examples)[number], dtype)


def _fingerprint(call: Call) -> bytes:
    """What tells calls apart: the arrays' bytes, and all else."""
    digest = hashlib.blake2b(repr((call.layout, [arg for arg in call.args if not hasattr(arg, "dtype")])).encode())
    for x in arrays_in(list(call.args)):
        digest.update(repr(x.shape).encode() + np.ascontiguousarray(x).tobytes())
    return digest.digest()
