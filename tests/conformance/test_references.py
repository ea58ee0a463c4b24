"""Two ways to say what an op means, the default composition and the reference, agree in float64."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opensora_backends.numpy_ops import NumpyOps
from opensora_core.ops import FUSED, PRIMITIVES
from opensora_core.testing.references import REFERENCES, ReferenceOps
from opensora_core.testing.references.extended import FORMATS, round_to
from opensora_core.testing.rounding import ROUNDING, Rounding
from opensora_core.testing.running import arrays_in, execute, vanilla
from opensora_core.testing.table import TABLE

COMPOSED = vanilla(NumpyOps)()
RNG = np.random.default_rng(0)


def shaken(x):
    """Every floating element moved by one rounding step of float64."""
    if isinstance(x, list):
        return [shaken(item) for item in x]
    if isinstance(x, dict):
        return {name: shaken(item) for name, item in x.items()}
    floating = isinstance(x, np.ndarray) and x.dtype.kind == "f"
    return x * (1 + 2.0**-52 * RNG.choice([-1.0, 1.0], x.shape)) if floating else x


def test_every_op_has_a_reference():
    assert set(REFERENCES) == {*PRIMITIVES, *FUSED}


@pytest.mark.parametrize("name", TABLE)
@given(data=st.data())
def test_reference_and_composition_agree_in_float64(name, data):
    case, rounding = TABLE[name], ROUNDING.get(name, Rounding())
    call = replace(data.draw(case.calls), layout="plain")
    truth = [np.asarray(x) for x in arrays_in([case.reference(*call.args)])]
    moved = arrays_in([case.reference(*map(shaken, call.args))])
    for got, true, near in zip(execute(COMPOSED, name, call, "float64"), truth, moved, strict=True):
        assert got.shape == true.shape
        assert true.dtype.kind in "biu" or true.dtype == np.float64
        if case.exact or true.dtype == bool:
            np.testing.assert_array_equal(got.astype("f8"), true)
            continue
        finite = np.isfinite(true)
        np.testing.assert_array_equal(np.where(finite, 0, got), np.where(finite, 0, true))
        inputs = [x for x in arrays_in(list(call.args)) if x.dtype.kind == "f"] if rounding.by_input else []
        size = max(float(np.max(np.abs(x), initial=0, where=np.isfinite(x))) for x in [true, *inputs])
        conditioning = np.max(np.abs(near - true), initial=0, where=finite)
        limit = 64 * max(rounding.steps, 1) * (2.0**-52 * size + conditioning)
        np.testing.assert_allclose(np.where(finite, got, 0), np.where(finite, true, 0), rtol=0, atol=limit)


@pytest.mark.parametrize("dtype", FORMATS)
def test_rounding_equals_the_casts_of_numpy(dtype):
    x = RNG.standard_normal(2000) * 10.0 ** RNG.uniform(-48, 42, 2000)
    edges = [0.0, -0.0, 65504.0, 65519.0, 65520.0, 3.4028235e38, 3.39e38, 1e39, np.inf, 2.0**-25, 3 * 2.0**-25, 1e-310]
    x = np.array([*x, *edges, *np.negative(edges)])
    with np.errstate(over="ignore"):
        expected = x.astype(np.dtype(dtype)).astype(np.float64)
    np.testing.assert_array_equal(round_to(x, dtype).astype(np.float64), expected)


@pytest.mark.parametrize("approximate", ["tanh", "none"])
def test_the_complex_step_is_the_derivative(approximate):
    x = np.linspace(-4, 4, 33)
    ops = ReferenceOps()
    value, grads = ops.value_and_grad(lambda o, p: o.sum(o.gelu(p["x"], approximate)), {"x": x})
    step = 1e-5
    numeric = (ops.gelu(x + step, approximate) - ops.gelu(x - step, approximate)) / (2 * step)
    np.testing.assert_allclose(grads["x"], numeric, atol=1e-9)
    assert value == ops.sum(ops.gelu(x, approximate))
