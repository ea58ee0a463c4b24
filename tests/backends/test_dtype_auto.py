"""dtype="auto" takes bfloat16 where a probe finds it faster, else float32, and says which and why."""

from __future__ import annotations

import pytest

import opensora_core as osc
from opensora_backends import torch_half
from opensora_core import precision
from opensora_core.errors import InvalidInputError
from opensora_core.pipelines.config import OpenSoraConfig


@pytest.fixture(autouse=True)
def _unknown_yet():
    precision.choose_dtype.cache_clear()
    yield
    precision.choose_dtype.cache_clear()


@pytest.fixture
def probed(monkeypatch):
    """Give the CPU instructions for bfloat16, and the probe these seconds; returns what it was asked."""
    asked = []

    def seconds(float32, bfloat16):
        def probe(candidates, *widths):
            asked.append(([ops.dtype for ops in candidates], *widths))
            return [float32, bfloat16]

        monkeypatch.setattr(torch_half, "bfloat16_instructions", lambda: "AMX")
        monkeypatch.setattr(precision, "_probe", probe)
        return asked

    return seconds


def test_the_faster_dtype_is_chosen_for_the_widths_of_the_model_and_metadata_say_why(probed):
    asked = probed(2e-3, 1e-3)
    small = OpenSoraConfig(hidden_dim=32, num_heads=2, num_layers=1, num_frames=1, height=8, width=8)
    model = osc.OpenSora(small, backend="torch", dtype="auto")
    assert asked == [(["float32", "bfloat16"], 2, 16)]
    assert model.metadata["dtype"] == "bfloat16"
    assert model.metadata["dtype_reason"] == "a block takes 2.0 ms in float32 and 1.0 ms in bfloat16 by AMX"
    again = osc.OpenSora.from_bytes(model.to_bytes(), backend="torch", dtype="auto")
    assert (again.ops.dtype, len(asked)) == ("bfloat16", 1)
    assert "dtype_reason" not in osc.OpenSora(small, backend="torch").metadata


def test_a_small_gain_is_not_worth_the_rounding(probed):
    probed(1.2e-3, 1e-3)
    ops = osc.get_backend("torch", dtype="auto")
    assert ops.dtype == "float32"
    assert ops.dtype_reason.endswith("by AMX, no gain worth its rounding")


def test_where_bfloat16_is_slow_nothing_is_probed(monkeypatch):
    for test in torch_half.INSTRUCTIONS.values():
        monkeypatch.setattr(f"torch.cpu.{test}", lambda: False, raising=False)
    monkeypatch.setattr(precision, "_probe", None)
    assert osc.get_backend("torch", dtype="auto").dtype_reason.startswith("this CPU has no instructions for bfloat16")
    ops = osc.get_backend("numpy", dtype="auto")
    assert ops.dtype == "float32"
    assert "this is numpy on cpu" in ops.dtype_reason


def test_the_probe_runs_a_block_of_any_widths_in_both():
    candidates = [osc.get_backend("torch", dtype=d) for d in ("float32", "bfloat16")]
    for widths in ((128, 4), (18, 1), (3072, 24)):
        heads, channels = precision._cut(*widths)
        assert channels % 4 == 0
        assert heads * channels <= 1152
    assert all(seconds > 0 for seconds in precision._probe(candidates, *precision._cut(18, 1)))


def test_the_default_is_float32_and_other_words_are_refused():
    assert osc.get_backend("torch").dtype == "float32"
    with pytest.raises(InvalidInputError, match="not one of float64, float32, bfloat16, float16, auto"):
        osc.get_backend("torch", dtype="fast")
