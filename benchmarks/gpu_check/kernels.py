"""Our kernels on the device, those in CUDA C++, against NumPy in float64.

An error is judged as everywhere: at most twice that of the plain computation in the same dtype, or a floor of rounding.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from cases import KINDS, Case, cases
from device import Check

FLOOR = {"float32": 2e-6, "float16": 2e-3, "bfloat16": 1.6e-2}


def run(check: Check) -> dict[str, Any]:
    """Run every case; a case that fails is named, with its error."""
    return compare(check.backend("cuda:0"), cases(check.dry or check.small))


def compare(ops: Any, chosen: Iterable[Case]) -> dict[str, Any]:
    """Run cases on a backend, twice each, and judge them."""
    from opensora_backends.numpy_ops import NumpyOps

    truth = NumpyOps(dtype="float64")
    failures, worst, count = [], {}, 0
    for case in chosen:
        count += 1
        rng = np.random.default_rng(count)
        host = [rng.standard_normal(shape).astype(KINDS[case.dtype]) for shape in case.shapes]
        want = np.asarray(case.run(truth, *(x.astype(np.float64) for x in host)))
        plain = np.asarray(case.run(truth, *(x.astype(np.float32) for x in host))).astype(KINDS[case.dtype])
        try:
            got = ops.to_numpy(case.run(ops, *(ops.asarray(x) for x in host)))
            again = ops.to_numpy(case.run(ops, *(ops.asarray(x) for x in host)))
        except Exception as error:
            failures.append(f"{case.name} {case.dtype}: {type(error).__name__}: {str(error).strip()[:300]}")
            continue
        error, limit = _distance(got, want), max(2 * _distance(plain, want), FLOOR[case.dtype] * _size(want))
        family = case.name.partition(" ")[0] + " " + case.dtype
        worst[family] = max(worst.get(family, 0.0), error / limit)
        if not error <= limit:
            failures.append(f"{case.name} {case.dtype}: error {error:.3g}, allowed {limit:.3g}")
        if got.tobytes() != again.tobytes():
            failures.append(f"{case.name} {case.dtype}: a second run gave other bits")
    return {"cases": count, "worst_over_allowed": worst, "failures": failures}


def _distance(a: Any, b: Any) -> float:
    return float(np.abs(np.asarray(a, np.float64) - np.asarray(b, np.float64)).max(initial=0))


def _size(x: Any) -> float:
    return max(1.0, float(np.abs(x).max(initial=0)))
