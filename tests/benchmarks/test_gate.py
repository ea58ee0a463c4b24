"""Whoever cheats gets no time."""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import pytest

from opensora_benchmarks import parts
from opensora_benchmarks.case import Data
from opensora_benchmarks.draws import Draws
from opensora_benchmarks.gate import RefusedError, Subject, gate
from opensora_benchmarks.library import library
from opensora_benchmarks.providers import Provider, available, open_backend, open_provider
from opensora_benchmarks.roofline import Roofline
from opensora_benchmarks.rows import Plan
from opensora_benchmarks.runner import run_case
from opensora_benchmarks.sampling import Rule
from opensora_benchmarks.suite_op import op_case
from opensora_benchmarks.suites import all_cases, select
from opensora_benchmarks.watch import Watch
from opensora_core.testing.conformance import require
from tests.benchmarks import cheats

FAST = Plan(rule=Rule(budget=1.0, least=3, most=4, warmup=1), cold=False, seed=1)
MACHINE = Roofline("float32", 1e11, 1e10, ("numpy", "numpy"))
CASE = op_case("attention", "tiny", (Data((1, 2, 29, 8)),) * 3 + (None,), parts.queries, True, {"L": 29})


def row(function, machine=MACHINE):
    (found,) = run_case(CASE, [Provider("theirs", library("numpy"), lambda case: function)], FAST, machine)
    return found


def draws(case=CASE):
    return Draws(case, "float32", np.random.default_rng(0))


def test_an_honest_provider_gets_a_time():
    found = row(cheats.honest)
    assert (found["status"], found["n"], found["cache"]) == ("ok", 4, "warm")
    assert 0 < found["min_s"] <= found["p20_s"] <= found["median_s"] <= found["p80_s"]
    assert found["tflops"] == pytest.approx(found["flops"] / found["median_s"] / 1e12)
    assert 0 <= found["error_of_allowed"] <= 1
    assert len(found["samples_s"]) == 4


@pytest.mark.parametrize(
    ("cheat", "status", "reason"),
    [
        (cheats.wrong, "fail", "its error is"),
        (cheats.low_precision, "fail", "its error is"),
        (cheats.writes_nothing, "fail", "its error is"),
        (cheats.wrong_shape, "fail", "it returned shapes [[1, 2, 29, 1]], not [[1, 2, 29, 8]]"),
        (cheats.wrong_dtype, "fail", "it returned float64, not float32"),
        (cheats.RemembersAddresses(), "fail", "its error is"),
        (cheats.RemembersContents(), "fail", "its error is"),
        (cheats.HonestAtFirst(), "fail", "its error is"),
        (cheats.SameBuffer(), "fail", "its second call wrote into the first one's result"),
        (cheats.spoils_inputs, "fail", "it changed its inputs"),
        (cheats.later, "fail", ""),
        (cheats.lazy, "fail", "it returned Lazy, not an array of numpy"),
        (cheats.AfterTheGate(cheats.zeroes_inputs), "fail", "it changed its inputs"),
        (cheats.AfterTheGate(cheats.works_in_one_of_three), "fail", "its error is"),
        (cheats.AfterTheGate(cheats.works_later), "fail", ""),
        (cheats.AfterTheGate(cheats.Ring(1)), "fail", "a later call wrote into an earlier one's result"),
        (cheats.AfterTheGate(cheats.Ring(4)), "fail", "a later call wrote into an earlier one's result"),
        (cheats.wrong_at((0, 1, 17), 0), "fail", "its error is"),
        (cheats.wrong_at((0, 0, 28, 7), np.nan), "fail", "its error is inf"),
        (cheats.one_of_one, "fail", "it returned tuple, not an array of numpy"),
        (cheats.raising, "error", "ValueError: this head dim is not for me"),
        (lambda q: q, "error", "TypeError"),
    ],
)
def test_a_cheat_of_each_sort_gets_none(cheat, status, reason):
    found = row(cheat)
    assert (found["status"], "median_s" in found) == (status, False)
    assert found["reason"].startswith(reason)


def test_one_wrong_number_that_no_part_has_is_found_in_the_whole():
    def late(call, q, k, v):
        return cheats.wrong_at((0, 1, 17, 3), 0.5)(q, k, v)

    def first_head(rng, args):
        q, k, v, mask = (x if x is None else x[:, :1] for x in args)
        return (q, k, v, mask), (slice(None), slice(0, 1))

    case = dataclasses.replace(CASE, part=first_head)
    (found,) = run_case(case, [Provider("t", library("numpy"), lambda case: cheats.AfterTheGate(late))], FAST, MACHINE)
    assert "somewhere in the whole result, allowed there is" in found["reason"]


@pytest.mark.parametrize(
    "case_id", ["attention_3d/prime-d72", "conv/prime", "group_norm_silu/prime", "linear/mlp-prime"]
)
def test_a_fault_at_an_edge_of_any_op_gets_no_time(case_id):
    (case,), numpy = select(case_id), open_backend("numpy", None, "float32")

    def faulty(*args):
        out = np.array(numpy.function(case)(*args))
        out[(0,) * (out.ndim - 1)][-1] = np.nan
        return out

    plan = dataclasses.replace(FAST, rule=Rule(least=2, most=2, warmup=0))
    (found,) = run_case(case, [Provider("theirs", library("numpy"), lambda case: faulty)], plan, MACHINE)
    assert (found["status"], found["reason"][:16]) == ("fail", "its error is inf")


def test_a_result_of_torch_that_requires_gradients_is_refused():
    require("torch")
    (found,) = run_case(CASE, [Provider("t", library("torch"), lambda case: cheats.with_gradient)], FAST, MACHINE)
    assert found["reason"] == "its result requires gradients, which cost time: compute it under torch.no_grad()"


def test_all_providers_get_the_same_inputs_and_looks_stay_off_the_clock():
    first, second = draws(), draws()
    assert [x.tobytes() for x in first.first[:3]] == [x.tobytes() for x in second.first[:3]]
    np.testing.assert_array_equal(first.whole, second.whole)
    slow = Watch(subject := Subject(draws(), library("numpy"), cheats.honest), cold=False)
    gate(subject)
    slow._look = lambda result: time.sleep(0.05)
    assert slow.sample() < 0.04
    assert slow._looking >= 0.05


def test_one_refused_leaves_the_others_alone():
    functions = {"good": cheats.honest, "bad": cheats.wrong, "late": cheats.HonestAtFirst()}
    providers = [Provider(name, library("numpy"), lambda case, f=f: f) for name, f in functions.items()]
    found = {row["provider"]: row["status"] for row in run_case(CASE, providers, FAST, MACHINE)}
    assert found == {"good": "ok", "bad": "fail", "late": "fail"}


def test_what_has_no_room_or_takes_too_long_is_skipped(monkeypatch):
    found = row(cheats.honest, machine=dataclasses.replace(MACHINE, flops=1e3))
    assert found["status"] == "skip"
    assert "raise --budget" in found["reason"]
    monkeypatch.setattr(library("numpy"), "free_memory", lambda: 1000)
    found = row(cheats.honest)
    assert (found["status"], found["reason"]) == ("skip", "it needs about 0.0 GiB and 0.0 GiB are free")


@pytest.mark.parametrize("name", ["numpy", "plain-numpy", "torch-eager", "torch-sdpa"])
def test_our_backend_and_the_rivals_pass_the_gate(name):
    if name.startswith("torch"):
        require("torch")
    provider = open_backend(name, None, "float32") if name == "numpy" else open_provider(name, None, "float32", "numpy")
    subject = Subject(draws(), provider.library, provider.function(CASE))
    gate(subject)
    assert 0 < subject.ratio <= 1
    assert name in available(None)


@pytest.mark.parametrize("name", ["plain-numpy", "torch-eager", "torch-sdpa-flash"])
def test_rivals_of_attention_3d_pass_the_gate(name):
    if name.startswith("torch"):
        require("torch")
    (case,), provider = select("attention_3d/prime-d72"), open_provider(name, None, "float32", "numpy")
    gate(Subject(draws(case), provider.library, provider.function(case)))


PARTS = ("attention_3d/prime-d72", "conv/prime", "group_norm_silu/prime", "block/stdit3-temporal-embedded")
PARTS += ("block/stdit3-spatial-embedded", "rms_norm_rotary/heads-image-240p", "gated_residual/tokens-image-240p")


@pytest.mark.parametrize("case_id", PARTS)
def test_a_part_is_the_part_of_the_whole(case_id):
    (case,), numpy, rng = select(case_id), open_backend("numpy", None, "float64"), np.random.default_rng(0)
    args = case.draw("float64", rng)
    whole = numpy.function(case)(*args)
    assert whole.shape == case.result_shape
    part, index = case.part(rng, args)
    np.testing.assert_allclose(numpy.function(case)(*part), whole[index], rtol=1e-9, atol=1e-9)


def test_costs_of_every_case_are_known_without_its_arrays():
    for case in all_cases():
        flops, size = case.costs("bfloat16")
        assert flops > 0
        assert size >= 2 * np.prod(case.result_shape)


def test_a_refusal_is_an_exception_of_its_own():
    subject = Subject(draws(), library("numpy"), cheats.wrong)
    with pytest.raises(RefusedError, match=r"its error is 0.0\d+, allowed is \d.*e-0[67]"):
        gate(subject)
