"""The kernels in Python (Numba-CUDA) on the device, against NumPy in float64, and each recorded in a CUDA graph.

Nothing else may serve: a case that would go to CUDA C++ fails, and so does a kernel that no case launches. In a dry run
numba-cuda's simulator runs them, at tiny shapes.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from cases import KINDS, Case, adamw, rms_norm_rotary, tokens
from device import Check, missing

from kernels import compare

DTYPES = ("float32", "float16")
LAUNCHERS = ("_attention", "_norms", "_rotary", "_conv", "_adamw")  # of the backend
KERNELS = {
    *("temporal_attention", "flash", "normalise", "gated_residual"),
    *("group_norm_silu", "qk_norm_rope", "conv3d", "adamw"),
}


def run(check: Check) -> dict[str, Any]:
    """Run every case, then in a graph; numba-cuda compiles to PTX, which the driver makes a kernel of."""
    wanted = ("numba", "numba_cuda", *(["greenlet"] if check.dry else []))
    if absent := missing(*wanted):
        return {"not_run": f"{', '.join(absent)} is missing"}
    if check.dry:
        from opensora_kernels.numba_cuda import simulator

        assert simulator.ORDERS  # imported before all else of numba-cuda, so that kernels are simulated
    launched: set[str] = set()
    ops = _backend(check, launched)
    chosen = [case for dtype in DTYPES for case in _cases(dtype, check.dry)]
    found = compare(ops, chosen)
    found["failures"] += [f"{name} was launched by no case" for name in sorted(KERNELS - launched)]
    for case in chosen:
        try:
            _in_a_graph(ops, case)
        except Exception as error:
            words = f"{type(error).__name__}: {str(error).strip()[:300]}"
            found["failures"].append(f"{case.name} {case.dtype} in a graph: {words}")
    return {**found, "launched": sorted(launched)}


def _backend(check: Check, launched: set[str]) -> Any:
    """The backend with Numba's kernels only, which notes their names."""
    from opensora_backends.cuda_kernels import VARIABLE
    from opensora_kernels.cupy_on_cpu.state import STATE
    from opensora_kernels.numba_cuda.launching import launch

    def noted(xp: Any, kernel: Any, *configuration: Any) -> None:
        launched.add(kernel.__name__)
        launch(xp, kernel, *configuration)
        if check.dry and STATE.capture is not None:  # as the stand-in's own launches do
            STATE.capture.note(launch, (xp, kernel, *configuration), {}, None)

    os.environ[VARIABLE] = "numba"
    ops = check.backend("cuda:0")
    for name in LAUNCHERS:
        object.__setattr__(ops, name, replace(getattr(ops, name), get_kernel=_refuse, launch=noted))
    return ops


def _refuse(source: str, name: str) -> Any:
    raise AssertionError(f"{name} of {source} was asked for, in CUDA C++")


def _cases(dtype: str, dry: bool) -> Iterator[Case]:
    for T, D in ((3, 6),) if dry else ((1, 40), (15, 72), (32, 127), (17, 128)):
        yield tokens("temporal", dtype, 1, T, 2, 2, D) if D % 2 == 0 else _plain_tokens(dtype, T, D)
    for keys, D in ((33, 4),) if dry else ((1, 72), (17, 6), (33, 128), (300, 72)):
        shapes = ((1, 2, 3, D), *((1, 2, keys, D),) * 2)
        yield Case(f"attention keys={keys} D={D}", dtype, shapes, lambda o, q, k, v: o.attention(q, k, v))
    for C in (36,) if dry else (1, 72, 1152, 1153):
        rows, vector = (2, 3, C), (2, 1, C)
        yield Case(f"modulate C={C}", dtype, (rows, vector, vector), lambda o, x, a, b: o.modulate(x, a, b))
        yield Case(f"gated_residual C={C}", dtype, (rows, rows, vector), lambda o, x, y, g: o.gated_residual(x, y, g))
        yield Case(f"rms_norm C={C}", dtype, (rows, (C,)), lambda o, x, w: o.rms_norm(x, w))
        if C % 2 == 0:
            yield rms_norm_rotary(dtype, 2, 3, C)
    shape = (1, 4, 2, 3) if dry else (2, 64, 5, 17, 9)
    norm, weight = (shape, shape[1:2], shape[1:2]), (2, shape[1], *(2 for _ in shape[2:]))
    yield Case("group_norm_silu", dtype, norm, lambda o, x, w, b: o.group_norm_silu(x, 2, w, b))
    yield Case("conv", dtype, (shape, weight), lambda o, x, w: o.conv(x, w))
    yield adamw(dtype, 5 if dry else 100_003)


def _plain_tokens(dtype: str, T: int, D: int) -> Case:
    shapes = ((1, T, 2, 3, 2, D),)
    return Case(f"temporal T={T} D={D}", dtype, shapes, lambda o, qkv: o.attention_3d(qkv, "temporal"))


def _in_a_graph(ops: Any, case: Case) -> None:
    """Replayed on other numbers, the recording gives what the call gives, bit for bit."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # that it could not be recorded
        compiled = ops.compile(lambda *arrays: case.run(ops, *arrays))
        for seed in range(2):
            rng = np.random.default_rng(seed)
            arrays = [ops.asarray(rng.standard_normal(s).astype(KINDS[case.dtype])) for s in case.shapes]
            np.testing.assert_array_equal(ops.to_numpy(compiled(*arrays)), ops.to_numpy(case.run(ops, *arrays)))
