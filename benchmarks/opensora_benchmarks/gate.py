"""What a provider has to pass before it is timed: right results, found anew every time, finished when it returns.

Each check draws new inputs. The truth is that of the conformance suite, in float64, and how far off a result
may be is said in `rule`, for a part of the result that is drawn anew as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from opensora_core.ops import Array
from opensora_core.testing.running import arrays_in

from .case import Args, Case, HostArray, Rng
from .library import Library
from .rule import limits


class RefusedError(Exception):
    """What a provider did that makes its time worthless."""


@dataclass
class Subject:
    """A provider's function for one case in one dtype, with its inputs on the device and its last result.

    ratio: the largest error so far over the one that is allowed. first_call_s: with what it compiles or looks up.
    """

    case: Case
    dtype: str
    library: Library
    function: Callable[..., Any]
    rng: Rng
    inputs: Args = ()
    result: Any = None
    first_call_s: float = 0.0
    ratio: float = 0.0

    def call(self) -> Any:
        """Call the provider."""
        return self.function(*self.inputs)


def gate(subject: Subject) -> None:
    """Raise RefusedError unless the provider passes; leaves its inputs on the device and the first call's seconds."""
    library, case = subject.library, subject.case
    host = case.draw(subject.dtype, subject.rng)
    subject.inputs = _put(library, host)
    subject.first_call_s, first = library.timed(subject.call)
    _check(subject, _seen(subject, first), host)
    kept = [library.spoil(x) for x in arrays_in([first])]
    host = case.draw(subject.dtype, subject.rng)
    _write_late(subject, _put(library, host))
    library.poison(first)
    second = subject.call()
    seen = _seen(subject, second)
    _check(subject, seen, host)
    if [x.tobytes() for x in seen] != [library.get(x).tobytes() for x in arrays_in([second])]:
        raise RefusedError("its result went on changing after it had returned")
    if not all(np.isnan(library.get(x)).all() for x in kept):
        raise RefusedError("its second call wrote into the first one's result, which is the caller's")


def judge_last(subject: Subject) -> None:
    """Raise RefusedError unless the last result that was timed is right for the inputs as they are now."""
    _judge(subject, _seen(subject, subject.result), tuple(_on_host(subject.library, x) for x in subject.inputs))


def roll_inputs(subject: Subject) -> None:
    """Give every drawn input other content in the same memory, so that nothing remembered is of use."""
    library, shift = subject.library, int(subject.rng.integers(1, 2**20))
    change = lambda x: library.write(x, library.rolled(x, shift))  # noqa: E731
    subject.inputs = subject.case.each(change, subject.inputs)


def _put(library: Library, host: Args) -> Args:
    return tuple(library.put(x) for x in host)


def _write_late(subject: Subject, fresh: Args) -> None:
    """Put new numbers into the same memory, late in the current stream: what does not wait for it reads NaN."""
    library = subject.library
    subject.inputs = subject.case.each(library.spoil, subject.inputs)
    library.delay()
    subject.inputs = subject.case.each(library.write, subject.inputs, fresh)


def _check(subject: Subject, seen: list[HostArray], host: Args) -> None:
    """Whether the inputs are what they were, and the result is what they give."""
    now = [_on_host(subject.library, x) for x in subject.inputs]
    if [x.tobytes() for x in arrays_in(now)] != [x.tobytes() for x in arrays_in(list(host))]:
        raise RefusedError("it changed its inputs")
    _judge(subject, seen, host)


def _seen(subject: Subject, result: Any) -> list[HostArray]:
    """Results as they are for whoever reads them next in the current stream."""
    arrays: Sequence[Array] = result if isinstance(result, list | tuple) else [result]
    if wrong := [type(x).__name__ for x in arrays if not subject.library.same_type(x)]:
        raise RefusedError(f"it returned {wrong[0]}, not an array of {subject.library.ops.name}")
    return [subject.library.get(x) for x in [subject.library.snapshot(x) for x in arrays]]


def _judge(subject: Subject, seen: list[HostArray], host: Args) -> None:
    """Compare a part of the result with the truth."""
    case, dtype = subject.case, subject.dtype
    if [x.shape for x in seen] != [case.result_shape]:
        raise RefusedError(f"it returned shapes {[list(x.shape) for x in seen]}, not {[list(case.result_shape)]}")
    args, index = case.part(subject.rng, host)
    wanted = limits(case, case.call(args), dtype)
    if seen[0].dtype != wanted.dtype:
        raise RefusedError(f"it returned {seen[0].dtype}, not {wanted.dtype}")
    ratio, words = wanted.judge(seen[0][index])
    if not ratio <= 1:
        raise RefusedError(words)
    subject.ratio = max(subject.ratio, ratio)


def _on_host(library: Library, arg: Any) -> Any:
    if isinstance(arg, Mapping):
        return {name: library.get(x) for name, x in arg.items()}
    return library.get(arg) if hasattr(arg, "dtype") else arg
