"""What an op may err on the arguments that a computation really has: `accuracy.allowance`, op by op.

Truth is the default composition on NumPy in float64; plain is the same composition in the op's own dtype. In float64
the truth may err as much as a result may, and both sides of a comparison are held to it: the allowance is doubled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..accuracy import EXACT, HostArray, allowance, eps, largest, largest_distance, measurable, shaken
from ..ops import Ops
from ..registry import get_backend
from .host import replace_arrays
from .interposer import Args, Interposer

DTYPE_AT = {"asarray": 1, "astype": 1, "full": 2, "arange": 1}  # the argument that is a dtype, to which is rounded
SHAKES = 2  # times the inputs are moved to see how sensitive the op is to them


class Errors(NamedTuple):
    """Largest absolute errors against the truth, and what is allowed."""

    reference: float
    candidate: float
    allowed: float

    @property
    def beyond(self) -> bool:
        """Whether either side errs too much."""
        return not max(self.reference, self.candidate) <= self.allowed

    @property
    def guilty(self) -> str:
        """Which side errs too much."""
        sides = {"reference": self.reference, "candidate": self.candidate}
        return " and ".join(name for name, error in sides.items() if not error <= self.allowed)


class RatioRule:
    """Judges ops one by one; remembers what it allowed, so that most ops of a long computation cost one comparison."""

    def __init__(self) -> None:
        self._plain: Ops = Interposer(get_backend("numpy", device="cpu", dtype="float32"))  # primitives only
        self._seen: dict[Any, float] = {}

    def judge(self, op: str, args: Args, reference: HostArray, candidate: HostArray, where: str = "") -> Errors | None:
        """Return the errors of two results of the op for the same host arguments; None if both are surely fine.

        where: names the call site; what was allowed there, relative to the result, is tried before it is worked out.
        """
        apart, size = largest_distance(reference, candidate), largest(reference)
        key = (op, where, reference.shape, tuple(getattr(arg, "shape", None) for arg in args))
        if apart <= self._seen.get(key, 0.0) * size:
            return None
        errors = self.errors(op, args, reference, candidate)
        if size > 0:
            self._seen[key] = min(errors.allowed / size, self._seen.get(key, np.inf))
        return errors if errors.beyond else None

    def errors(self, op: str, args: Args, reference: HostArray, candidate: HostArray) -> Errors:
        """Work out the errors and the allowance."""
        if (op in EXACT and op not in DTYPE_AT) or not is_floating(reference):
            truth, allowed = self._run(op, args), 0.0
        else:
            truth, allowed = self._truth(op, args), self._allowed(op, args, reference.dtype.name)
        return Errors(largest_distance(reference, truth), largest_distance(candidate, truth), allowed)

    def _allowed(self, op: str, args: Args, dtype: str) -> float:
        truth = self._truth(op, args)
        narrow, scale = measurable(dtype)
        rounded = arguments(op, args, lambda x: x.astype(narrow), narrow) if scale != 1 else args
        error = scale * largest_distance(self._run(op, rounded), self._truth(op, rounded))
        moved = [self._truth(op, arguments(op, args, _shake(seed))) for seed in range(SHAKES)]
        most = allowance(error, max(largest_distance(x, truth) for x in moved), largest(truth), dtype)
        return 2 * most if dtype == "float64" else most

    def _truth(self, op: str, args: Args) -> HostArray:
        return self._run(op, arguments(op, args, lambda x: x.astype(np.float64), "float64"))

    def _run(self, op: str, args: Args) -> HostArray:
        with np.errstate(all="ignore"):
            return np.asarray(
                self._plain.to_numpy(getattr(self._plain, op)(*replace_arrays(args, self._plain.asarray)))
            )


def is_floating(x: HostArray) -> bool:
    """Whether an array holds floating numbers, bfloat16 included."""
    return "float" in x.dtype.name


def arguments(op: str, args: Args, change: Callable[[HostArray], HostArray], dtype: str | None = None) -> Args:
    """The arguments of an op with its floating arrays changed, and a floating dtype among them replaced."""
    new = list(replace_arrays(args, lambda x: change(x) if is_floating(x) else x))
    at = DTYPE_AT.get(op)
    if at is not None and dtype is not None and "float" in str(args[at]):
        new[at] = dtype
    return tuple(new)


def _shake(seed: int) -> Callable[[HostArray], HostArray]:
    """Move every number by one rounding step of its own dtype, up or down; the result is float64."""
    rng = np.random.default_rng(seed)
    return lambda x: shaken(x.astype(np.float64), eps(x.dtype), rng)
