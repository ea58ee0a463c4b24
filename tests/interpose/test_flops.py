"""FLOPs and bytes: against sums written out by hand, and the same however far a program is taken apart."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opensora_backends.numpy_ops import NumpyOps
from opensora_backends.torch_ops import TorchOps
from opensora_core.dit.config import STDiT3Config
from opensora_core.dit.stdit3 import STDiT3
from opensora_core.interpose import WHOLE, Cost, FlopCounter
from opensora_core.interpose.costs.sizes import itemsize
from opensora_core.module import to_backend
from opensora_core.nn.init import RandomInit
from opensora_core.ops import FUSED, PRIMITIVES
from opensora_core.testing.running import arrays_in, execute, vanilla
from opensora_core.testing.table import TABLE

B, T, H, W, C, HEADS, DEPTH, L, CAPTION = 2, 3, 4, 6, 24, 2, 2, 5, 6
S = H * W // 4
CONFIG = STDiT3Config(
    in_channels=3, hidden_size=C, depth=DEPTH, num_heads=HEADS, caption_channels=CAPTION, model_max_length=L
)  # fmt: skip


def step(ops, dtype="float32"):
    """One prediction of a small STDiT3 on random latents and text."""
    rng = np.random.default_rng(0)
    model = to_backend(ops, STDiT3.create(CONFIG, RandomInit(rng)), dtype)
    x, y = (ops.asarray(rng.standard_normal(s), "float32") for s in ((B, 3, T, H, W), (B, 1, L, CAPTION)))
    mask = ops.asarray(np.arange(L) < np.array([[L], [2]]))
    t, fps = ops.asarray(np.array([100.0, 900.0]), "float32"), ops.asarray(np.array([8.0, 8.0]), "float32")
    return lambda counter: model(counter, x, t, y, mask, fps=fps, height=32.0, width=48.0)


def matmul_flops_by_hand():
    """Two for each multiply-add of every projection and of every attention."""
    tokens = B * T * S
    projections = {
        "patches": tokens * 3 * 4 * C,
        "timestep and fps": 2 * B * (256 * C + C * C),
        "modulation": B * C * 6 * C,
        "caption": B * L * (CAPTION * C + C * C),
        "qkv, proj, cross q, cross proj, mlp": 2 * DEPTH * tokens * C * (3 * C + C + C + C + 4 * C + 4 * C),
        "cross kv": 2 * DEPTH * B * L * C * 2 * C,
        "final": tokens * C * 4 * CONFIG.out_channels,
    }
    attention = DEPTH * 2 * C * (B * T * S * S + B * S * T * T + 2 * tokens * L)
    return 2 * (sum(projections.values()) + attention)


@pytest.mark.parametrize("backend", [NumpyOps(), TorchOps()], ids=lambda ops: ops.name)
def test_the_contractions_of_a_model_step_are_those_written_out_by_hand(backend):
    counter = FlopCounter(backend, units=())
    step(backend)(counter)
    assert counter.counts["matmul"].flops == matmul_flops_by_hand()
    assert not set(counter.counts) & set(FUSED)


def test_a_model_step_has_the_same_flops_whole_and_taken_apart():
    ops = NumpyOps()
    run, totals = step(ops), {}
    for units in (WHOLE, ("attention_3d", "linear"), ("softmax",), ()):
        counter = FlopCounter(ops, units)
        run(counter)
        totals[units] = counter.total
    assert len({cost.flops for cost in totals.values()}) == 1
    assert totals[WHOLE].flops > matmul_flops_by_hand()
    assert totals[WHOLE].bytes < totals["attention_3d", "linear"].bytes < totals[()].bytes
    assert totals[WHOLE].calls < totals[()].calls


def test_attention_is_seen_whole_once_per_block():
    ops = NumpyOps()
    counter = FlopCounter(ops)
    step(ops)(counter)
    counts = counter.counts
    assert counts["attention_3d"].calls == counts["attention"].calls == 2 * DEPTH
    assert "softmax" not in counts
    assert "rotary" not in counts


def test_counting_changes_nothing_and_resets():
    ops = NumpyOps()
    counter, run = FlopCounter(ops), step(ops)
    np.testing.assert_array_equal(counter.to_numpy(run(counter)), run(ops))
    first = counter.total
    run(counter)
    assert counter.total == first + first
    counter.reset()
    assert counter.total == Cost()


def test_half_precision_does_the_same_work_on_fewer_bytes():
    ops, totals = TorchOps(), {}
    for dtype in ("float32", "bfloat16"):
        counter = FlopCounter(ops)
        step(ops, dtype)(counter)
        totals[dtype] = {name: counter.counts[name] for name in ("linear", "attention_3d", "modulate")}
    for name, wide in totals["float32"].items():
        half = totals["bfloat16"][name]
        assert half.flops == wide.flops
        assert half.bytes < 0.6 * wide.bytes


def test_the_report_ranks_the_ops_and_totals_them():
    counter = FlopCounter(NumpyOps())
    x = counter.asarray(np.ones((64, 64), np.float32))
    counter.linear(counter.gelu(x), x)
    header, *rows = counter.report().splitlines()
    assert header.split() == ["op", "calls", "GFLOP", "MB", "FLOP/byte"]
    assert [row.split()[0] for row in rows] == ["linear", "gelu", "asarray", "total"]
    assert rows[0].split()[1:] == ["1", "0.0005", "0.049", f"{2 * 64**3 / (3 * 64 * 64 * 4):.2f}"]
    assert counter.total == Cost(3, 2 * 64**3 + 9 * 64**2, (3 + 2 + 1) * 64 * 64 * 4)


# ---------------------------------------------------------------------- the formulas of the table


def test_every_op_has_both_formulas():
    for case in TABLE.values():
        assert callable(case.flops)
        assert callable(case.bytes)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", WHOLE)
@settings(max_examples=10)
@given(data=st.data())
def test_a_fused_op_costs_the_flops_of_its_composition(name, dtype, data):
    call = data.draw(TABLE[name].calls)
    counter = FlopCounter(NumpyOps(), units=())
    execute(counter, name, call, dtype)
    args = [x.astype(np.dtype(dtype)) if getattr(x, "dtype", None) == np.float64 else x for x in call.args]
    assert TABLE[name].flops(*args) == counter.total.flops


MOVES_A_PART = (
    "reshape",
    "permute_dims",
    "broadcast_to",
    "slice",
    "stop_gradient",
    "astype",
    "asarray",
    "to_numpy",
    "take",
)


@pytest.mark.parametrize("name", [n for n in (*PRIMITIVES, *FUSED) if n not in (*MOVES_A_PART, *FUSED[-2:])])
@settings(max_examples=10)
@given(data=st.data())
def test_an_op_reads_its_arguments_once_and_writes_its_result_once(name, data):
    call = data.draw(TABLE[name].calls)
    args = [x.astype(np.float32) if getattr(x, "dtype", None) == np.float64 else x for x in call.args]
    args = [[part.astype(np.float32) for part in x] if isinstance(x, list) else x for x in args]
    results = execute(vanilla(NumpyOps)(), name, call, "float32")
    assert TABLE[name].bytes(*args) == sum(x.nbytes for x in (*arrays_in(args), *results))


def test_what_moves_a_part_only_or_nothing():
    x, at = np.ones((5, 4), np.float32), np.array([0, 0, 3])
    assert TABLE["take"].bytes(x, at) == at.nbytes + 2 * 3 * 4 * 4
    assert TABLE["take"].bytes(x, at, 1) == at.nbytes + 2 * 3 * 5 * 4
    assert TABLE["astype"].bytes(x, "float32") == 0
    assert TABLE["astype"].bytes(x, "bfloat16") == 20 * (4 + 2)
    assert TABLE["asarray"].bytes(x) == TABLE["to_numpy"].bytes(x) == x.nbytes
    assert TABLE["asarray"].bytes([1.0, 2.0], "float16") == 4
    for name, option in (("reshape", (20,)), ("permute_dims", (1, 0)), ("broadcast_to", (2, 5, 4))):
        assert TABLE[name].bytes(x, option) == TABLE[name].flops(x, option) == 0


def test_a_program_costs_what_its_ops_cost():
    x, weight = np.ones((3, 4), np.float32), np.ones((5, 4), np.float32)

    def fun(ops, params):
        return ops.sum(ops.linear(params["x"], params["w"]))

    forward, product = 3 * 5, 2 * 3 * 4 * 5
    assert TABLE["compile"].flops(lambda o, a, b: o.linear(a, b), x, weight) == product
    assert TABLE["value_and_grad"].flops(fun, {"x": x, "w": weight}) >= 3 * product + forward
    assert TABLE["value_and_grad"].bytes(fun, {"x": x, "w": weight}) > 2 * (x.nbytes + weight.nbytes)


@pytest.mark.parametrize(
    ("dtype", "size"),
    [("bfloat16", 2), (TorchOps().full((), 1, "bfloat16").dtype, 2), (np.dtype(ml_dtypes.bfloat16), 2),
     (np.float64, 8), (bool, 1), ("bool", 1), (TorchOps().full((), 1, "int64").dtype, 8)],
)  # fmt: skip
def test_the_size_of_an_element_in_any_librarys_words(dtype, size):
    assert itemsize(dtype) == size
