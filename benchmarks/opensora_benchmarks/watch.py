"""Samples of a provider, and a look at its results while they are taken: who cheats after the gate gets no time.

A look copies a result right after its call, off the clock, compares the inputs with a copy that the provider cannot
reach, and a part of the result, drawn anew, with the plain implementation in the same dtype. Some calls more end
it, like those that were timed. Their results are all held, looked at, and compared again when the last one is there.
"""

from __future__ import annotations

from time import perf_counter
from typing import Any

from opensora_core.accuracy import distances

from .case import HostArray
from .draws import plain_result
from .gate import RefusedError, Subject, check_dtype, check_finished, check_inputs, copied, judge

LOOSE = 4.0  # times what one element may be off: the largest of all roundings is larger than that of a part
HELD = 5  # results at a time at the end, the last one that was timed and those of more calls
SHARE = 0.5  # of the time that sampling takes for looks; what is looked at is picked at random


class Watch:
    """Takes samples of a provider that has passed the gate."""

    def __init__(self, subject: Subject, cold: bool) -> None:
        self.subject, self._cold = subject, cold
        self._shift = 0  # by which the second inputs are rolled
        self._sampling = self._looking = 0.0

    def sample(self) -> float:
        """Seconds of a call with inputs that no call has seen; its result is looked at now and then."""
        subject, start = self.subject, perf_counter()
        subject.result = None  # its memory may be used again
        self._roll(int(subject.rng.integers(1, 2**20)))
        if self._cold:
            subject.library.flush()
        seconds, subject.result = subject.library.timed(subject.call)
        end = perf_counter()
        self._sampling += end - start
        if self._looking * subject.rng.random() <= SHARE * self._sampling:
            self._look(subject.result)
            self._looking += perf_counter() - end
        return seconds

    def finish(self) -> None:
        """Raise RefusedError unless more calls are right, the last one all over, and leave each other's results be."""
        subject, draws = self.subject, self.subject.draws
        held = [(subject.result, self._look(subject.result))]
        for i in range(1, HELD):
            subject.library.delay()  # who does not wait for the current stream reads the inputs of the call before
            self._roll(draws.shift - self._shift if i == HELD - 1 else int(subject.rng.integers(1, 2**20)))
            subject.result = subject.call()
            held.append((subject.result, self._look(subject.result)))
        judge(subject, held[-1][1], draws.rolled(self._shift))
        if draws.whole is not None:
            _compare(subject, held[-1][1], draws.whole, "somewhere in the whole result")
        for result, seen in held:
            if seen.tobytes() != subject.library.get(result).tobytes():
                raise RefusedError("a later call wrote into an earlier one's result, which is the caller's")

    def _roll(self, shift: int) -> None:
        """Give every drawn input other content in the same memory, so that nothing remembered is of use."""
        subject, library = self.subject, self.subject.library
        subject.inputs = subject.case.each(lambda x: library.write(x, library.rolled(x, shift)), subject.inputs)
        self._shift += shift

    def _look(self, result: Any) -> HostArray:
        """Raise RefusedError unless the inputs are as they were, and a part of the result is right and at rest."""
        subject = self.subject
        seen = copied(subject, result)
        host = subject.draws.rolled(self._shift)
        check_inputs(subject, host)
        args, index = subject.case.part(subject.rng, host)
        _compare(subject, seen[index], plain_result(subject.case, args), "in a call after the first checks")
        check_finished(subject, result, seen)
        return seen


def _compare(subject: Subject, seen: HostArray, wanted: HostArray, words: str) -> None:
    """Raise RefusedError where a result is far from the plain implementation's."""
    check_dtype(seen, wanted.dtype)
    apart, allowed = distances(seen, wanted), LOOSE * subject.allowed
    if not (error := float(apart.max(initial=0.0))) <= allowed:
        raise RefusedError(f"its error is {error:.2g} {words}, allowed there is {allowed:.2g}")
