"""What an op may err: at most twice as much as the plain implementation in the same dtype and a rounding floor.

The rule of the conformance suite, applied to the arguments that a computation really has. Truth is the default
composition on NumPy in float64; plain is the same composition in the op's own dtype; the floor is one rounding of the
result plus what the op itself makes of inputs that move by one rounding step. For float64 the error of plain is that of
float32, scaled, and the truth may err as much as a result may: the allowance is doubled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from ..ops import Ops
from ..registry import get_backend
from .difference import HostArray, largest_distance
from .host import replace_arrays
from .interposer import Args, Interposer

EXACT = {  # ops that only move numbers, or choose among them
    "to_numpy", "negative", "maximum", "max", "where", "reshape", "permute_dims", "broadcast_to", "concat", "slice",
    "pad", "take", "stop_gradient", "equal", "less",
}  # fmt: skip
DTYPE_AT = {"asarray": 1, "astype": 1, "full": 2, "arange": 1}  # the argument that is a dtype
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
        if op in EXACT or not is_floating(reference):
            truth, allowed = self._run(op, args), 0.0
        else:
            truth, allowed = self._truth(op, args), self._allowed(op, args, reference.dtype)
        return Errors(largest_distance(reference, truth), largest_distance(candidate, truth), allowed)

    def _allowed(self, op: str, args: Args, dtype: np.dtype[Any]) -> float:
        truth = self._truth(op, args)
        double = dtype == np.float64
        if double:
            narrow = arguments(op, args, lambda x: x.astype(np.float32), "float32")
            error = largest_distance(self._run(op, narrow), self._truth(op, narrow)) * eps("float64") / eps("float32")
        else:
            error = largest_distance(self._run(op, args), truth)
        moved = [self._truth(op, arguments(op, args, _shake(seed))) for seed in range(SHAKES)]
        floor = eps(dtype) * largest(truth) + float(ml_dtypes.finfo(dtype).smallest_subnormal)
        return (4 if double else 2) * (error + floor + max(largest_distance(x, truth) for x in moved))

    def _truth(self, op: str, args: Args) -> HostArray:
        return self._run(op, arguments(op, args, lambda x: x.astype(np.float64), "float64"))

    def _run(self, op: str, args: Args) -> HostArray:
        with np.errstate(all="ignore"):
            return np.asarray(
                self._plain.to_numpy(getattr(self._plain, op)(*replace_arrays(args, self._plain.asarray)))
            )


def eps(dtype: Any) -> float:
    """Distance from 1 to the next number of a floating dtype."""
    return float(ml_dtypes.finfo(dtype).eps)


def largest(x: HostArray) -> float:
    """Largest size of a finite element."""
    sizes = np.abs(x.astype(np.float64))
    return float(np.max(sizes, where=np.isfinite(sizes), initial=0.0))


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
    return lambda x: x.astype(np.float64) * (1 + eps(x.dtype) * rng.choice([-1.0, 1.0], x.shape))
