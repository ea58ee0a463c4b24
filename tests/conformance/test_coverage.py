"""What the strategies promise to cover is drawn: looked for in a fixed sample of each op's calls."""

from functools import cache

import ml_dtypes
import numpy as np
import pytest

from opensora_core.testing.drawing import draw
from opensora_core.testing.running import arrays_in, lay_out
from opensora_core.testing.strategies import LAYOUTS
from opensora_core.testing.strategies.source import HEAD_DIMS, KINDS
from opensora_core.testing.table import DTYPES, TABLE

COUNT = 200
PRIMES = (2, 3, 5, 7, 13)


@cache
def sample(name):
    """The same COUNT calls of an op in every run."""
    return draw(TABLE[name].calls, 0, COUNT)


def floats(call):
    """Elements of the floating arrays that stand for the dtype under test."""
    return [x for x in arrays_in(list(call.args)) if x.dtype == np.float64 and x.size]


def some(call, holds):
    return any(np.any(holds(np.abs(x))) for x in floats(call))


def subnormal_in(dtype):
    info = ml_dtypes.finfo(dtype)
    low, high = float(info.smallest_subnormal), float(info.smallest_normal)
    return lambda call: some(call, lambda x: (x >= low) & (x < high))


def constant_row(call):
    return any(x.ndim and x.shape[-1] > 1 and np.ptp(x, axis=-1).min(initial=1.0) == 0 for x in floats(call))


def masked_whole(call):
    mask = call.args[3]
    return mask is not None and mask.size > 0 and bool((~mask.any(-1)).any())


def masked_in_part(call):
    mask = call.args[3]
    return mask is not None and mask.any() and not mask.all()


def forbids(call):
    return isinstance(call.args[2], float) and call.args[2] == -np.inf


def size(axis, n, arg=0):
    return lambda call: getattr(call.args[arg], "ndim", 0) >= abs(axis) and call.args[arg].shape[axis] == n


KINDS_OF_NUMBERS = {
    "huge, 1e4 or more": lambda call: some(call, lambda x: np.isfinite(x) & (x >= 1e4)),
    "tiny": lambda call: some(call, lambda x: (x > 0) & (x < 1e-12)),
    **{f"subnormal in {dtype}": subnormal_in(dtype) for dtype in DTYPES},
}
MINUS_INFINITY = {"-inf": lambda call: some(call, np.isinf)}
ROWS = {"constant rows": constant_row}
FEATURES = {
    "exp": KINDS_OF_NUMBERS | MINUS_INFINITY,
    "where": KINDS_OF_NUMBERS | {"a -inf mask": forbids},
    "add": KINDS_OF_NUMBERS | ROWS | {"0-d": lambda call: np.ndim(call.args[0]) == 0},
    "negative": {"0-d": lambda call: call.args[0].ndim == 0, "none at all": lambda call: call.args[0].size == 0},
    "sqrt": KINDS_OF_NUMBERS,
    "matmul": KINDS_OF_NUMBERS | {f"inner axis {n}": size(-1, n) for n in (1, 17, 67, 72, 128)},
    "sum": KINDS_OF_NUMBERS | ROWS | {"all axes": lambda call: call.args[1] is None},
    "softmax": KINDS_OF_NUMBERS | MINUS_INFINITY | ROWS | {"one element": size(-1, 1)},
    "layer_norm": KINDS_OF_NUMBERS | ROWS | {f"width {n}": size(-1, n) for n in (1, 2, 3, 7, 17, 67, 72, 128)},
    "rms_norm": KINDS_OF_NUMBERS | ROWS,
    "group_norm": KINDS_OF_NUMBERS | ROWS | {f"batch {n}": size(0, n) for n in range(4)},
    "group_norm_silu": KINDS_OF_NUMBERS | ROWS,
    "modulate": KINDS_OF_NUMBERS | ROWS | {f"batch {n}": size(0, n) for n in range(4)},
    "gated_residual": KINDS_OF_NUMBERS | {f"batch {n}": size(0, n) for n in range(4)},
    "conv": KINDS_OF_NUMBERS | {f"batch {n}": size(0, n) for n in range(4)}
    | {f"{n} space-time axes": (lambda call, n=n: call.args[0].ndim == n + 2) for n in (1, 2, 3)},
    "rotary": KINDS_OF_NUMBERS
    | {f"length {n}": size(-2, n) for n in (1, *PRIMES)}
    | {f"head dim {n}": size(-1, n) for n in (2, 72, 128)},
    "rms_norm_rotary": KINDS_OF_NUMBERS | {f"head dim {n}": size(-1, n) for n in (2, 72, 128)},
    "attention": KINDS_OF_NUMBERS
    | {f"batch {n}": size(0, n) for n in range(4)}
    | {f"{n} queries": size(-2, n) for n in (1, *PRIMES)}
    | {"one key": size(-2, 1, arg=1), "a row fully masked": masked_whole, "a mask in part": masked_in_part}
    | {f"head dim {n}": size(-1, n) for n in (1, 72, 128, 129, 130)}
    | {"a head dim nobody thought of": lambda call: call.args[0].shape[-1] not in HEAD_DIMS},
    "attention_3d": KINDS_OF_NUMBERS
    | {f"batch {n}": size(0, n) for n in range(4)}
    | {f"{n} frames": size(1, n) for n in (1, 2, 3, 5)}
    | {f"head dim {n}": size(-1, n) for n in (1, 72, 128)}
    | {pattern: (lambda call, p=pattern: call.args[1] == p) for pattern in ("spatial", "temporal", "full")}
    | {"rotation": lambda call: call.args[4] is not None, "QK-norm": lambda call: call.args[2] is not None},
    "take": {"int32": lambda call: call.args[1].dtype == np.int32, "no index": lambda call: call.args[1].size == 0},
    "astype": {f"from {kind}": (lambda call, kind=kind: call.args[0].dtype.kind == kind) for kind in "fib"}
    | {f"to {d}": (lambda call, d=d: call.args[1] == d) for d in (*DTYPES, "int64", "int32", "bool")},
}  # fmt: skip
PROMISES = [(name, feature) for name, features in FEATURES.items() for feature in features]


@pytest.mark.parametrize(("name", "feature"), PROMISES, ids=[f"{name}-{feature}" for name, feature in PROMISES])
def test_what_is_promised_is_drawn(name, feature):
    assert any(FEATURES[name][feature](call) for call in sample(name)), (
        f"{feature!r}: in none of {COUNT} calls of {name}"
    )


@pytest.mark.parametrize(
    "name", ["negative", "linear", "softmax", "attention", "attention_3d", "conv", "concat", "take"]
)
def test_arrays_lie_in_memory_in_every_way(name):
    layouts = [call.layout for call in sample(name)]
    assert all(layouts.count(layout) >= COUNT // 40 for layout in LAYOUTS)


def test_what_the_layouts_mean():
    x = np.arange(24.0).reshape(2, 3, 4)
    laid = {layout: lay_out(x, layout) for layout in LAYOUTS}
    assert all(np.array_equal(y, x) for y in laid.values())
    assert not laid["strided"].flags.contiguous
    assert laid["transposed"].flags.f_contiguous
    assert all(stride < 0 for stride in laid["reversed"].strides)
    assert not laid["read-only"].flags.writeable
    assert not lay_out(np.array(1.0), "read-only").flags.writeable


def test_every_kind_of_number_is_drawn_and_half_are_ordinary():
    assert set(KINDS) == {"normal", "constant", "huge", "tiny", "subnormal"}
    huge = sum(some(call, lambda x: x >= 1e4) for call in sample("negative"))
    assert COUNT // 40 <= huge <= COUNT // 3


def test_every_op_is_asked_in_all_four_dtypes():
    assert set(DTYPES) == {"float64", "float32", "float16", "bfloat16"}
    assert [name for name, case in TABLE.items() if set(case.dtypes) != set(DTYPES)] == []
