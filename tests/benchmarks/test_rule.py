"""How far off a result may be to get a time: luck is excused, faults are not."""

from __future__ import annotations

import numpy as np
import pytest

from opensora_benchmarks import parts
from opensora_benchmarks.case import Data
from opensora_benchmarks.rule import Limits, limits
from opensora_benchmarks.suite_op import op_case
from tests.benchmarks import cheats


def attention(length, channels):
    return op_case("attention", "tiny", (Data((1, 2, length, channels)),) * 3 + (None,), parts.queries, True, {})


def judged(case, function, dtype="float32", seed=0):
    """Error over what is allowed, and the words."""
    rng = np.random.default_rng(seed)
    inputs = case.draw(dtype, rng)
    args, index = case.part(rng, inputs)
    return limits(case, case.call(args), dtype).judge(function(*inputs)[index])


def test_no_honest_run_is_refused_by_bad_luck():
    """The largest error of one draw in some hundred exceeds twice the plain implementation's; the typical one none."""
    case = attention(61, 16)
    ratios = [judged(case, cheats.honest, seed=seed)[0] for seed in range(40)]
    assert np.median(ratios) < 0.6
    assert max(ratios) < 0.9


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (lambda out: out * np.float32(1 + 2e-6), "its typical error is"),
        (lambda out: np.where(np.arange(out.shape[-1]) == 5, out + 2e-5, out), "its error is"),
        (lambda out: out.astype("bfloat16").astype(np.float32), "its"),
        (lambda out: out * np.float32(np.nan), "its error is"),
    ],
    ids=["factor", "one channel", "rounded to bfloat16", "nan"],
)
def test_faults_that_float32_does_not_make_are_refused(fault, words):
    ratio, reason = judged(attention(61, 16), lambda *args: fault(cheats.honest(*args)).astype(np.float32))
    assert ratio > 2
    assert words in reason


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_has_room_for_rounding_and_none_for_a_hundredth(dtype):
    case = attention(256, 72)
    assert judged(case, cheats.in_half(np.float32), dtype)[0] < 0.2
    assert judged(case, cheats.in_half(np.float32, hotter=1.02), dtype)[0] > 1
    ratio, reason = judged(case, cheats.in_half(np.float32, by=1.01), dtype)
    assert ratio > 1
    assert "factor of 1 + 0.01" in reason or dtype == "float16"


def test_what_memory_held_before_is_an_error_and_no_warning():
    truth = np.ones(3)
    seen = np.array([0x7FA00000, 0x7F7FFFFF, 0x3F800000], np.uint32).view(np.float32)  # a signalling NaN, the largest
    ratio, words = Limits(truth, np.dtype(np.float32), 1e-6, 1e-6, 1e-3).judge(seen)
    assert ratio == np.inf
    assert words.startswith("its error is inf")
