"""What a backend's numbers are compared with, and how far off they may be.

Tables, which have no recorded tolerance: with what was recorded, to four roundings of its dtype, whatever that of the
run; whole numbers must be equal.

float32, float64: with the numbers recorded from the official code.

Half precision cannot be: it rounds timesteps and latents, as the official code does in it, which changes the answer by
more than any tolerance. There the truth is NumPy in float64 on weights and inputs rounded to that dtype, and the
yardstick is how far NumPy in that dtype lies from it; NumPy float64 itself must agree with the recorded numbers first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import FileFormatError, NonFiniteError
from ..ops import HALF, Ops
from ..registry import get_backend
from .golden import GoldenCase, GoldenSet
from .produced import Kind

OUTPUT_FACTOR = 4.0  # a float32 port may err a few times as much as the official float32 run
MID_FACTOR = 16.0  # intermediates have no tolerance of their own; the official ones err up to 7 times the output's
FLOAT64_RELATIVE = 1e-9
PLAIN_FACTOR = 2.0
UNIT_ROUNDOFF = {"float16": 2.0**-11, "bfloat16": 2.0**-8}

RULES = {
    "float32": f"{OUTPUT_FACTOR:g} x recorded max_abs; intermediates {MID_FACTOR:g} x the case's relative tolerance",
    "float64": f"{FLOAT64_RELATIVE:g} x largest value; intermediates (recorded in float32) {MID_FACTOR:g} x "
    "the case's relative tolerance",
} | {
    half: f"{PLAIN_FACTOR:g} x the error of NumPy {half} against NumPy float64 on {half} weights and inputs, plus one "
    "rounding of the largest value; NumPy float64 must pass its own rule"
    for half in HALF
}


class Expected(NamedTuple):
    """One tensor as it should be."""

    value: NDArray[Any]
    allowance: float  # largest absolute error that passes
    tolerance: float | None  # recorded with the golden set
    dtype: np.dtype[Any]  # in which the backend must give it


def expect_recorded(golden: GoldenSet, dtype: str) -> dict[tuple[str, str], Expected]:
    """Every recorded output and intermediate by (case, "out/<name>" or "mid/<name>"), for float32 or float64."""
    expected: dict[tuple[str, str], Expected] = {}
    for case in golden.cases.values():
        if _is_table(golden, case):
            expected.update(_table(golden, case))
            continue
        for name in case.outputs:
            value = golden.tensor(f"{case.name}/{'out64' if dtype == 'float64' else 'out'}/{name}")
            recorded = _recorded(golden, case, name)
            allowance = FLOAT64_RELATIVE * _largest(value) if dtype == "float64" else OUTPUT_FACTOR * recorded
            expected[case.name, f"out/{name}"] = Expected(value, allowance, recorded, _given_in(dtype, value))
        for name in case.mids:
            value = golden.tensor(f"{case.name}/mid/{name}")
            exact = value.dtype.kind != "f"
            allowance = 0.0 if exact else MID_FACTOR * _relative_tolerance(case) * _largest(value)
            expected[case.name, f"mid/{name}"] = Expected(value, allowance, None, _given_in(dtype, value))
    return expected


def _is_table(golden: GoldenSet, case: GoldenCase) -> bool:
    return not case.tolerances and not any(name.startswith(f"{case.name}/out64/") for name in golden.tensors)


def _table(golden: GoldenSet, case: GoldenCase) -> Iterator[tuple[tuple[str, str], Expected]]:
    """Tables without a recorded tolerance, made on the host in a dtype of their own: a few of its roundings."""
    for name in case.outputs:
        value = golden.tensor(f"{case.name}/out/{name}")
        unit = float(np.finfo(_precision(value)).eps) if value.dtype.kind == "f" else 0.0
        yield (case.name, f"out/{name}"), Expected(value, OUTPUT_FACTOR * unit * _largest(value), None, value.dtype)


def _precision(value: NDArray[Any]) -> np.dtype[Any]:
    """float32 for numbers that were rounded to it, however they are stored."""
    return np.dtype("float32") if np.array_equal(value, value.astype(np.float32)) else value.dtype


def expect_plain(golden: GoldenSet, run: Kind, dtype: str) -> dict[tuple[str, str], Expected]:
    """What NumPy makes of the set in float64 on rounded numbers, and twice what it errs in half precision."""
    rounded = replace(golden, rounding=dtype)
    exact = _run(run, rounded, get_backend("numpy", device="cpu", dtype="float64"))
    plain = _run(run, rounded, get_backend("numpy", device="cpu", dtype=dtype))
    recorded = {(case.name, tensor) for case in golden.cases.values() for tensor in case.tensors}
    expected = {}
    for key, rough in plain.items():
        if key not in recorded:
            continue  # more is computed than was recorded
        value = exact[key]
        error = _largest(rough.astype(np.float64) - value)
        if not np.isfinite(error):
            raise NonFiniteError(f"NumPy {dtype}, the yardstick, overflows in {'/'.join(key)}")
        allowance = PLAIN_FACTOR * error + UNIT_ROUNDOFF[dtype] * _largest(value)
        expected[key] = Expected(value, allowance, None, rough.dtype)
    return expected


def _run(run: Kind, golden: GoldenSet, ops: Ops) -> Mapping[tuple[str, str], NDArray[Any]]:
    return {(result.case, result.tensor): result.value for result in run(golden, ops)}


def _given_in(dtype: str, recorded: NDArray[Any]) -> np.dtype[Any]:
    """The dtype of a result: that of the run for floats, intermediates of which are recorded in float32 always."""
    return np.dtype(dtype) if recorded.dtype.kind == "f" else recorded.dtype


def _recorded(golden: GoldenSet, case: GoldenCase, output: str) -> float:
    if output not in case.tolerances:
        raise FileFormatError(f"golden set {golden.path} records no tolerance for {case.name}/out/{output}")
    return case.tolerances[output].max_abs


def _relative_tolerance(case: GoldenCase) -> float:
    return max((t.max_abs / t.scale for t in case.tolerances.values() if t.scale), default=0.0)


def _largest(x: NDArray[Any]) -> float:
    return float(np.max(np.abs(x.astype(np.float64)), initial=0.0))
