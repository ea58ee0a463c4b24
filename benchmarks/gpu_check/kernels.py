"""Our kernels on the device: every tail, tiny key counts, masks, layouts and dtypes, against NumPy in float64.

The shapes are those that the emulation's tests try: what is right there must be right here. An error is judged as
everywhere: at most twice that of the plain computation in the same dtype, or a floor of rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
from device import Check

KINDS = {"float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
FLOOR = {"float32": 2e-6, "float16": 2e-3, "bfloat16": 1.6e-2}


@dataclass(frozen=True)
class Case:
    """An op on arrays of random numbers. run(ops, arrays): made for any backend."""

    name: str
    dtype: str
    shapes: tuple[tuple[int, ...], ...]
    run: Callable[..., Any]


def cases(check: Check) -> Iterator[Case]:
    """All of them; a few in a dry run or under the sanitizer."""
    few = check.dry or check.small
    for dtype in KINDS if not few else ("float32", "bfloat16"):
        yield from _temporal(dtype, few)
        yield from _video(dtype, few)
        yield from _general(dtype, few)
        yield from _elementwise(dtype, few)


def run(check: Check) -> dict[str, Any]:
    """Run every case; a case that fails is named, with its error."""
    from opensora_backends.numpy_ops import NumpyOps

    ops, truth = check.backend("cuda:0"), NumpyOps(dtype="float64")
    failures, worst, count = [], {}, 0
    for case in cases(check):
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


def _temporal(dtype: str, few: bool) -> Iterator[Case]:
    for D in (72,) if few else (72, 128, 64, 30, 8, 256):
        for T in (1, 15) if few else (1, 2, 15, 16, 17, 30, 32):
            yield _tokens("temporal", dtype, 2, T, 3, 2, D)


def _video(dtype: str, few: bool) -> Iterator[Case]:
    for D in (72,) if few else (72, 128, 40, 30):
        for S in (7,) if few else (1, 2, 7, 17, 63, 64, 65, 130):
            yield _tokens("spatial", dtype, 1, 2, S, 2, D)
    yield _tokens("full", dtype, 1, 3, 5, 2, 72)
    yield _tokens("temporal", dtype, 1, 40, 2, 2, 72)  # longer than one tile


def _tokens(pattern: str, dtype: str, B: int, T: int, S: int, H: int, D: int) -> Case:
    length = {"temporal": T, "spatial": S, "full": T * S}[pattern]
    angles = np.arange(length)[:, None] / 100 ** (np.arange(D // 2) / max(1, D // 2))

    def attend(ops: Any, qkv: Any, q_norm: Any, k_norm: Any) -> Any:
        cos, sin = (ops.asarray(f(angles).astype(np.float32)) for f in (np.cos, np.sin))
        return ops.attention_3d(qkv, pattern, q_norm, k_norm, cos, sin)

    return Case(f"{pattern} B={B} T={T} S={S} H={H} D={D}", dtype, ((B, T, S, 3, H, D), (D,), (D,)), attend)


def _general(dtype: str, few: bool) -> Iterator[Case]:
    for D in (72,) if few else (72, 128, 6, 256):
        for keys in (1, 17) if few else (1, 2, 7, 17, 63, 300):
            for masked in (False, True):

                def attend(ops: Any, q: Any, k: Any, v: Any, masked: bool = masked, keys: int = keys) -> Any:
                    counts = np.array([keys, keys // 2])[:, None, None, None]  # the second may have none
                    mask = ops.asarray(np.arange(keys)[None, None, None] < counts) if masked else None
                    return ops.attention(q, k, v, mask=mask)

                shapes = ((2, 2, 9, D), (2, 2, keys, D), (2, 2, keys, D))
                yield Case(f"attention keys={keys} D={D} masked={masked}", dtype, shapes, attend)


def _elementwise(dtype: str, few: bool) -> Iterator[Case]:
    for C in (72,) if few else (1, 8, 72, 1152, 1153):
        shapes = ((2, 33, C), (2, 1, C), (2, 1, C))
        yield Case(f"modulate C={C}", dtype, shapes, lambda o, x, a, b: o.modulate(x, a, b))
        yield Case(
            f"gated_residual C={C}", dtype, (*shapes[:1] * 2, (2, 1, C)), lambda o, x, y, g: o.gated_residual(x, y, g)
        )
        yield Case(f"layer_norm C={C}", dtype, shapes[:1], lambda o, x: o.layer_norm(x))
        yield Case(f"rms_norm C={C}", dtype, ((2, 33, C), (C,)), lambda o, x, w: o.rms_norm(x, w))
    shape = (2, 8, 3, 5, 4) if few else (2, 64, 5, 17, 9)
    channels = shape[1]
    norm = (shape, (channels,), (channels,))
    yield Case("group_norm", dtype, norm, lambda o, x, w, b: o.group_norm(x, 4, w, b))
    yield Case("group_norm_silu", dtype, norm, lambda o, x, w, b: o.group_norm_silu(x, 4, w, b))
    weight = (6, channels, 3, 3, 3)
    yield Case("conv", dtype, (shape, weight, (6,)), lambda o, x, w, b: o.conv(x, w, b, padding=(1, 1, 1)))


def _distance(a: Any, b: Any) -> float:
    return float(np.abs(np.asarray(a, np.float64) - np.asarray(b, np.float64)).max(initial=0))


def _size(x: Any) -> float:
    return max(1.0, float(np.abs(x).max(initial=0)))
