"""Every primitive of the backend against NumPy in every dtype, without Hypothesis; graphs, memory limits and DLPack."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
from device import Check

DTYPES = {"float64": 1e-12, "float32": 2e-6, "float16": 2e-3, "bfloat16": 1.6e-2}
UNARY = ("negative", "exp", "sin", "cos", "tanh", "erf", "log", "sqrt")
BINARY = ("add", "subtract", "multiply", "divide", "maximum", "pow", "equal", "less")


def run(check: Check) -> dict[str, Any]:
    """Compare, and collect what is wrong."""
    from opensora_backends.numpy_ops import NumpyOps

    failures: list[str] = []
    ops, numpy = check.backend("cuda:0"), NumpyOps(dtype="float64")
    done = 0
    for dtype, tolerance in DTYPES.items():
        for name, call in _calls(dtype, check).items():
            done += 1
            try:
                _compare(name, call(ops, ops.asarray), call(numpy, lambda x: np.asarray(x, _wide(x))), ops, tolerance)
            except Exception as error:
                failures.append(f"{name} {dtype}: {type(error).__name__}: {str(error).strip()[:300]}")
    for test in (_round_trips, _graph, _memory, _exchange):
        try:
            test(check, ops)
        except Exception as error:
            failures.append(f"{test.__name__}: {type(error).__name__}: {str(error).strip()[:300]}")
    return {"compared": done, "failures": failures}


def _calls(dtype: str, check: Check) -> dict[str, Callable[..., Any]]:
    rng, kind = np.random.default_rng(0), np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    size = 33 if check.dry else 129
    x, y = (rng.uniform(0.25, 2, (3, size, 65)).astype(kind) for _ in range(2))
    a, b = (rng.standard_normal(s).astype(kind) for s in ((2, 3, size, 40), (3, 40, 24)))
    indices = np.array([0, 2, 2, 1], np.int64)
    calls: dict[str, Callable[..., Any]] = {name: lambda o, to, n=name: getattr(o, n)(to(x)) for name in UNARY}
    calls |= {name: lambda o, to, n=name: getattr(o, n)(to(x), to(y)) for name in BINARY}
    calls |= {
        "add number": lambda o, to: o.add(to(x), 0.5),
        "sum": lambda o, to: o.sum(to(x), axis=(0, 2)),
        "max": lambda o, to: o.max(to(x), axis=-1, keepdims=True),
        "where": lambda o, to: o.where(o.less(to(x), to(y)), to(x), 0.0),
        "matmul": lambda o, to: o.matmul(to(a), to(b)),
        "matmul transposed": lambda o, to: o.matmul(to(a), o.permute_dims(to(a), (0, 1, 3, 2))),
        "linear": lambda o, to: o.linear(to(a), to(b[0].T.copy())),
        "concat": lambda o, to: o.concat([to(x), to(y)], axis=1),
        "pad": lambda o, to: o.pad(to(x), (1, 0, 2), (0, 1, 0), (0, 1, 2)),
        "slice": lambda o, to: o.slice(to(x), (0, 1, 2), (3, 30, 60), (1, 2, 3)) + 0,
        "take": lambda o, to: o.take(to(x), o.asarray(indices)),
        "index_add": lambda o, to: o.index_add(to(x), o.asarray(indices), to(np.concatenate([y, y[:1]]))),
        "softmax": lambda o, to: o.softmax(to(x)),
        "layer_norm": lambda o, to: o.layer_norm(to(x)),
        "group_norm": lambda o, to: o.group_norm(to(x[:, :32]), 4),
        "modulate": lambda o, to: o.modulate(to(x), to(y[:, :1]), to(y[:, :1])),
        "conv": lambda o, to: o.conv(to(a), to(np.ascontiguousarray(b[:, None, :3, :3].repeat(3, 1))), padding=(1, 1)),
    }
    return calls


def _compare(name: str, got: Any, want: Any, ops: Any, tolerance: float) -> None:
    got = np.asarray(ops.to_numpy(got)).astype(np.float64)
    want = np.asarray(want).astype(np.float64)
    assert got.shape == want.shape, f"shape {got.shape}, not {want.shape}"
    scale = max(1.0, float(np.abs(want).max(initial=0)))
    error = float(np.abs(got - want).max(initial=0)) / scale
    assert error <= tolerance, f"error {error:.3g}, allowed {tolerance:.3g}"


def _wide(x: Any) -> Any:
    return np.float64 if x.dtype.kind in "fV" else None


def _round_trips(check: Check, ops: Any) -> None:
    for kind in (np.float64, np.float32, np.float16, ml_dtypes.bfloat16, np.int64, np.int32, np.bool_):
        for x in (np.arange(12).reshape(3, 4).astype(kind), np.zeros((0, 3), kind), np.asarray(1, kind)):
            x = x[..., ::-1] if x.ndim else x
            back = ops.to_numpy(ops.asarray(x))
            assert back.dtype == x.dtype, kind
            assert (back == x).all(), kind


def _graph(check: Check, ops: Any) -> None:
    def layer(x: Any, w: Any) -> Any:
        table = ops.asarray(np.linspace(0, 1, w.shape[0], dtype=np.float32))
        return ops.softmax(ops.gelu(ops.linear(x, w)) + table)

    with warnings.catch_warnings():
        warnings.simplefilter("error")  # that it could not be recorded
        compiled = ops.compile(layer)
        for seed in range(3):
            rng = np.random.default_rng(seed)
            x, w = (ops.asarray(rng.standard_normal(s).astype(np.float32)) for s in ((8, 16), (32, 16)))
            np.testing.assert_array_equal(ops.to_numpy(compiled(x, w)), ops.to_numpy(layer(x, w)))


def _memory(check: Check, ops: Any) -> None:
    from opensora_core.errors import LimitError

    ops.limit_memory("64MiB")
    try:
        ops.full((2**28,), 1.0)
    except LimitError as error:
        if "does not fit into the GPU" not in str(error):
            raise
    else:
        raise AssertionError("an array beyond the limit was made")
    finally:
        ops.xp.get_default_memory_pool().set_limit(size=0)


def _exchange(check: Check, ops: Any) -> None:
    if check.torch is None:
        return
    for dtype in ("float32", "float16", "bfloat16", "int64"):
        x = ops.asarray(np.arange(12).reshape(3, 4), dtype)
        tensor = ops.to_torch(x)
        assert str(tensor.dtype) == f"torch.{dtype}"
        assert tensor.data_ptr() == x.data.ptr
        assert ops.from_torch(tensor).data.ptr == x.data.ptr
        assert (ops.to_numpy(ops.from_torch(tensor + 1)).astype(np.int64) == np.arange(12).reshape(3, 4) + 1).all()
