"""Steps of denoisers and blocks of MMDiT as cases: they pass the gate, a wrong one does not, and sizes are told."""

import pytest

from opensora_benchmarks.gate import RefusedError, Subject, gate
from opensora_benchmarks.providers import open_backend
from opensora_benchmarks.rows import Plan
from opensora_benchmarks.runner import draws_of
from opensora_benchmarks.suites import all_cases

CASES = {case.id: case for case in all_cases()}


def opened(name: str, backend: str) -> Subject:
    provider = open_backend(backend, None, "float32")
    return Subject(draws_of(CASES[name], Plan()), provider.library, provider.function(CASES[name]))


@pytest.mark.parametrize(
    "name", ["model/stdit3-xl2-narrow-shallow", "block/mmdit-double-narrow", "block/mmdit-single-narrow"]
)
def test_a_right_backend_passes_and_a_wrong_one_is_refused(name):
    gate(opened(name, "numpy"))
    with pytest.raises(RefusedError, match="its error is"):
        gate(opened(name, "tests.parity.wrong:WrongRotary"))


def test_a_step_of_the_published_model_costs_what_is_known_of_it():
    case = CASES["model/stdit3-xl2-240p"]
    flops, _ = case.costs("float32")
    tokens, width, pairs = 15 * 405, 1152, 28
    of_weights = 2 * tokens * 14 * width**2 * 2 * pairs  # qkv, two projections, queries of text, MLP
    assert 1 < flops / of_weights < 1.2  # attention comes on top
    assert CASES["model/stdit3-xl2-narrow-shallow"].shape["heads"] == "4 of 16"
    assert CASES["model/stdit3-xl2-shallow-240p"].shape["pairs"] == "1 of 28"
    assert CASES["block/mmdit-double-narrow"].shape["H"] == "3 of 24"
