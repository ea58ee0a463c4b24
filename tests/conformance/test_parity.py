"""Every op of the language, on every backend, in every dtype, against the float64 NumPy truth."""

import warnings
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from opensora_backends.numpy_ops import NumpyOps
from opensora_backends.torch_ops import TorchOps
from opensora_core.interpose import Strict
from opensora_core.ops import FUSED, HALF, PRIMITIVES
from opensora_core.testing.judge import check, vanilla
from opensora_core.testing.table import TABLE

REFERENCE = vanilla(NumpyOps)()
BACKENDS = {"numpy": NumpyOps(), "torch": TorchOps(), "vanilla-torch": vanilla(TorchOps)()}
STRICT = {"compositions": Strict(NumpyOps()), "fused": Strict(NumpyOps(), units=FUSED[:-2])}


def test_every_op_has_an_entry_and_every_entry_an_op():
    assert set(TABLE) == {*PRIMITIVES, *FUSED}


@pytest.mark.parametrize(
    ("name", "backend"),
    [(name, b) for name in TABLE for b in BACKENDS if name != "compile" and (name in FUSED or b != "vanilla-torch")],
)
@given(data=st.data())
def test_an_op_agrees_with_the_truth(name, backend, data):
    case = TABLE[name]
    call = data.draw(case.calls)
    for dtype in case.dtypes:
        check(BACKENDS[backend], REFERENCE, case, call, dtype)


@pytest.mark.parametrize("seen", STRICT)
@pytest.mark.parametrize("name", TABLE)
@settings(max_examples=8)
@given(data=st.data())
def test_an_op_stays_inside_the_language(name, seen, data):
    """No default composition mixes dtypes, and no NumPy method writes into an argument."""
    case = TABLE[name]
    call = data.draw(case.calls)
    for dtype in case.dtypes:
        if not (dtype in HALF and any(isinstance(x, int | float) for x in call.args) and name in PRIMITIVES):
            check(STRICT[seen], REFERENCE, case, call, dtype)


def test_a_compiled_function_computes_the_same(monkeypatch):
    """Traced and differentiated as in production; only the code generator, which takes a C++ compiler, is left out."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))

    @settings(max_examples=2)
    @given(call=TABLE["compile"].calls)
    def run(call):
        check(TorchOps(), REFERENCE, TABLE["compile"], call, "float32")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer's own imports
        run()
