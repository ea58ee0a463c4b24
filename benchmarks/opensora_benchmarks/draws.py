"""Inputs that all providers of a case get, and what the plain implementation makes of them in the same dtype."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from opensora_core import get_backend
from opensora_core.testing.running import invoke, plain

from . import parts
from .case import Args, Case, HostArray, Rng
from .providers import PROGRAM

MOST_LOGITS = 2**28  # of a block that the plain implementation writes out, which takes a GiB


@dataclass
class Draws:
    """Inputs on the host, of which providers get copies."""

    case: Case
    dtype: str
    rng: Rng

    @cached_property
    def first(self) -> Args:
        """Of the first call."""
        return self.case.draw(self.dtype, self.rng)

    @cached_property
    def second(self) -> Args:
        """Of the second call; rolled from then on."""
        _ = self.first  # comes before it in the stream of random numbers
        return self.case.draw(self.dtype, self.rng)

    @cached_property
    def shift(self) -> int:
        """By how much the second inputs are rolled for the last call."""
        _ = self.second
        return int(self.rng.integers(1, 2**20))

    def rolled(self, shift: int) -> Args:
        """The second inputs with the elements of every array moved along."""
        return self.case.each(lambda x: np.roll(x, shift), self.second)

    @cached_property
    def whole(self) -> HostArray | None:
        """The plain implementation's whole result of the last call; None where a part already is the whole."""
        return None if self.case.part is parts.whole else _by_heads(self.case, self.rolled(self.shift))


@np.errstate(all="ignore")  # what overflows is judged by its value
def plain_result(case: Case, args: Args) -> HostArray:
    """The plain implementation's result for arguments in the dtype that they have; by blocks where logits are many."""
    if case.program is None:
        return np.asarray(invoke(plain(), case.op, args))
    ops = plain() if case.logits <= MOST_LOGITS else get_backend("numpy")
    return np.asarray(invoke(ops, PROGRAM, (case.program, *args)))


def _by_heads(case: Case, args: Args) -> HostArray:
    """The whole result; of attention head by head, since logits take room."""
    if case.op == "attention":
        q, k, v, *mask = args
        cut = [(slice(None), slice(h, h + 1)) for h in range(q.shape[1])]
        return np.concatenate([plain_result(case, (q[i], k[i], v[i], *mask)) for i in cut], 1)
    if case.op == "attention_3d":
        qkv, *rest = args
        heads = [qkv[..., h : h + 1, :] for h in range(qkv.shape[-2])]
        return np.concatenate([plain_result(case, (head, *rest)) for head in heads], -2)
    return plain_result(case, args)
