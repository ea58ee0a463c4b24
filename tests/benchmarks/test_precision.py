"""The gain of bfloat16 and torch.compile is told as ratios to float32, of results that agree."""

from __future__ import annotations

import pytest

from opensora_benchmarks import precision
from opensora_benchmarks.temporal_block import Size
from opensora_core import get_backend

TINY = Size(B=1, T=2, S=4, H=2, D=8, L=5)


@pytest.fixture
def calls():
    """A tiny pair of blocks in both dtypes, and under the name of a compiled one, whose compiler takes a minute."""
    backends = {dtype: get_backend("torch", device="cpu", dtype=dtype) for dtype in precision.DTYPES}
    found = {dtype: precision.pair_call(ops, TINY) for dtype, ops in backends.items()}
    return {**found, "compiled float32": precision.pair_call(backends["float32"], TINY)}


def test_every_side_is_compared_with_float32_and_first_calls_are_told_of_the_compiled(calls):
    row = precision.measure(calls, 2, 1)
    assert list(row["milliseconds"]) == list(calls)
    assert list(row["faster_than_float32"]) == ["bfloat16", "compiled float32"]
    assert list(row["first_call_seconds"]) == ["compiled float32"]
    assert row["apart"]["float32"] == row["apart"]["compiled float32"] == 0 < row["apart"]["bfloat16"]


def test_a_result_that_is_wrong_is_not_timed(calls):
    wrong = {**calls, "compiled float32": lambda: 1.01 * calls["float32"]()}
    with pytest.raises(SystemExit, match=r"the result of compiled float32 is 1\.0e-02 apart, nothing to time"):
        precision.measure(wrong, 1, 1)


def test_blocks_are_compiled_by_the_backend_and_only_where_asked(monkeypatch):
    asked = []
    ops = get_backend("torch", device="cpu")
    monkeypatch.setattr(type(ops), "compile", lambda self, fun: asked.append(fun) or fun)
    precision.pair_call(ops, TINY)
    assert not asked
    precision.pair_call(ops, TINY, compile=True)
    assert len(asked) == 1


def test_the_step_is_one_of_the_embedded_model():
    assert precision.step_call(get_backend("torch", device="cpu"))().shape == (2, 48, 5, 8, 8)
