"""What a provider has to pass before it is timed: right results, found anew every time, finished when it returns.

Each check has new inputs. The truth is that of the conformance suite, in float64, and how far off a result
may be is said in `rule`, for a part of the result that is drawn anew as well. `watch` goes on with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from opensora_core.testing.running import arrays_in

from .case import Args, Case, HostArray, Rng
from .draws import Draws
from .library import Library
from .rule import limits


class RefusedError(Exception):
    """What a provider did that makes its time worthless."""


@dataclass
class Subject:
    """A provider's function for the inputs of a case, which lie on the device, and its last result.

    ratio: the largest error so far over the one that is allowed. allowed: the largest error that one element was
    allowed so far. first_call_s: with what it compiles or looks up. rng: picks what is checked, by no seed that a
    provider could know.
    """

    draws: Draws
    library: Library
    function: Callable[..., Any]
    inputs: Args = ()
    result: Any = None
    first_call_s: float = 0.0
    ratio: float = 0.0
    allowed: float = 0.0
    rng: Rng = field(default_factory=np.random.default_rng)

    @property
    def case(self) -> Case:
        """Whose inputs they are."""
        return self.draws.case

    def call(self) -> Any:
        """Call the provider."""
        return self.function(*self.inputs)


def gate(subject: Subject) -> None:
    """Raise RefusedError unless the provider passes; leaves its inputs on the device and the first call's seconds."""
    library, draws = subject.library, subject.draws
    subject.inputs = _put(library, draws.first)
    subject.first_call_s, first = library.timed(subject.call)
    seen = copied(subject, first)
    check_inputs(subject, draws.first)
    judge(subject, seen, draws.first)
    kept = library.spoil(first)
    _write_late(subject, _put(library, draws.second))
    library.poison(first)
    second = subject.call()
    seen = copied(subject, second)
    check_inputs(subject, draws.second)
    judge(subject, seen, draws.second)
    check_finished(subject, second, seen)
    if not np.isnan(library.get(kept)).all():
        raise RefusedError("its second call wrote into the first one's result, which is the caller's")


def copied(subject: Subject, result: Any) -> HostArray:
    """A result as it is for whoever reads it next in the current stream."""
    library = subject.library
    if not library.same_type(result):
        raise RefusedError(f"it returned {type(result).__name__}, not an array of {library.ops.name}")
    if getattr(result, "requires_grad", False):
        raise RefusedError("its result requires gradients, which cost time: compute it under torch.no_grad()")
    seen = library.get(library.snapshot(result))
    if seen.shape != subject.case.result_shape:
        raise RefusedError(f"it returned shapes {[list(seen.shape)]}, not {[list(subject.case.result_shape)]}")
    return seen


def check_inputs(subject: Subject, host: Args) -> None:
    """Raise RefusedError unless the inputs on the device are those on the host, bit by bit."""
    now = [_on_host(subject.library, x) for x in subject.inputs]
    if any(x.tobytes() != y.tobytes() for x, y in zip(arrays_in(now), arrays_in(list(host)), strict=True)):
        raise RefusedError("it changed its inputs")


def check_finished(subject: Subject, result: Any, seen: HostArray) -> None:
    """Raise RefusedError unless a result still is what it was when the call had just returned."""
    if seen.tobytes() != subject.library.get(result).tobytes():
        raise RefusedError("its result went on changing after it had returned")


def judge(subject: Subject, seen: HostArray, host: Args) -> None:
    """Raise RefusedError unless a part of the result is near the truth."""
    args, index = subject.case.part(subject.rng, host)
    wanted = limits(subject.case, subject.case.call(args), subject.draws.dtype)
    check_dtype(seen, wanted.dtype)
    ratio, words = wanted.judge(seen[index])
    if not ratio <= 1:
        raise RefusedError(words)
    subject.ratio, subject.allowed = max(subject.ratio, ratio), max(subject.allowed, wanted.largest)


def check_dtype(seen: HostArray, wanted: np.dtype[Any]) -> None:
    """Raise RefusedError for another dtype."""
    if seen.dtype != wanted:
        raise RefusedError(f"it returned {seen.dtype}, not {wanted}")


def _put(library: Library, host: Args) -> Args:
    return tuple(library.put(x) for x in host)


def _write_late(subject: Subject, fresh: Args) -> None:
    """Put new numbers into the same memory, late in the current stream: what does not wait for it reads NaN."""
    library = subject.library
    subject.inputs = subject.case.each(library.spoil, subject.inputs)
    library.delay()
    subject.inputs = subject.case.each(library.write, subject.inputs, fresh)


def _on_host(library: Library, arg: Any) -> Any:
    if isinstance(arg, Mapping):
        return {name: library.get(x) for name, x in arg.items()}
    return library.get(arg) if hasattr(arg, "dtype") else arg
