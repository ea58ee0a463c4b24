"""What a call must give: for an op by the rule of the judge, for a program by the same rule over all its roundings."""

from __future__ import annotations

from dataclasses import replace

import ml_dtypes
import numpy as np

from ..judge import standard
from ..running import HostArray, execute, map_arrays, plain
from ..strategies import Call
from ..table import OpCase
from .observe import PROGRAM, Expected, distance

SHAKES = 3  # times the inputs are moved to see how sensitive a program is to them


def expect(case: OpCase, call: Call, dtype: str, shakes: int = SHAKES) -> list[Expected]:
    """What a backend must return for a call of an op; more shakes make sure that no sensitivity is missed."""
    wanted = standard(plain(), case, call, dtype, shakes)
    return [Expected(*parts) for parts in zip(wanted.truth, wanted.allowances, wanted.plain, strict=True)]


def expect_of_program(call: Call, dtype: str) -> list[Expected]:
    """What a backend must return for a function of (ops, *arrays), the first of the call's arguments.

    Truth is the plain implementation in float64. A backend may err twice as much as the plain implementation does in
    the dtype, and as inputs moved by one rounding do. What is zero by cancellation, as a gradient may be, is known no
    better than to one rounding of the largest result. float64 errs as float32 does, scaled.
    """
    narrow = "float32" if dtype == "float64" else dtype
    unit, scale = float(ml_dtypes.finfo(dtype).eps), float(ml_dtypes.finfo(dtype).eps / ml_dtypes.finfo(narrow).eps)
    truth, rounded = _run(_round(call, dtype), "float64"), _run(call, dtype)
    errors = map(distance, _run(call, narrow), _run(_round(call, narrow), "float64"))
    shaken = [_run(_shake(call, dtype, seed), "float64") for seed in range(SHAKES)]
    largest = max((float(np.max(np.abs(x), initial=0.0)) for x in truth), default=0.0)
    limits = []
    for i, error in enumerate(errors):
        sensitivity = max(distance(moved[i], truth[i]) for moved in shaken)
        limits.append(2 * (error * scale + sensitivity + unit * largest))
    return [Expected(*parts) for parts in zip(truth, limits, rounded, strict=True)]


def _run(call: Call, dtype: str) -> list[HostArray]:
    return execute(plain(), PROGRAM, call, dtype)


def _round(call: Call, dtype: str) -> Call:
    """Round what stands for the dtype to what it can hold."""

    def rounded(x: HostArray) -> HostArray:
        return x.astype(np.dtype(dtype)).astype(np.float64) if x.dtype == np.float64 else x

    return replace(call, args=tuple(map_arrays(rounded, arg) for arg in call.args))


def _shake(call: Call, dtype: str, seed: int) -> Call:
    """Move what stands for the dtype by one of its rounding steps, up or down."""
    rng, eps = np.random.default_rng(seed), float(ml_dtypes.finfo(dtype).eps)

    def moved(x: HostArray) -> HostArray:
        return x * (1 + eps * rng.choice([-1.0, 1.0], x.shape)) if x.dtype == np.float64 else x

    return replace(_round(call, dtype), args=tuple(map_arrays(moved, arg) for arg in _round(call, dtype).args))
