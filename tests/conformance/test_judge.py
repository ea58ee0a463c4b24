"""The rule that says how far off a result may be, on calls whose rounding is known."""

import ml_dtypes
import numpy as np
import pytest

from opensora_backends.numpy_ops import NumpyOps
from opensora_core.testing.in_order import in_order
from opensora_core.testing.judge import check, measure, standard
from opensora_core.testing.rounding import ROUNDING
from opensora_core.testing.running import vanilla
from opensora_core.testing.strategies import Call
from opensora_core.testing.table import TABLE
from opensora_core.testing.tolerances.blocks import BLOCKS

PLAIN = vanilla(NumpyOps)()
X = np.random.default_rng(0).standard_normal((5, 7))
DTYPES = ("float64", "float32", "bfloat16", "float16")


def off_by(name, change):
    """NumPy, but for one op whose result is changed."""

    def method(self, *args):
        return change(getattr(NumpyOps(), name)(*args))

    return type("Off", (NumpyOps,), {name: method, "name": "off"})()


def unit(dtype):
    return float(ml_dtypes.finfo(dtype).eps) / 2


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_op_that_rounds_once_may_err_by_two_roundings_of_its_largest_result(dtype):
    wanted = standard(PLAIN, TABLE["add"], Call((X, 2 * X)), dtype)
    assert wanted.allowances[0] == pytest.approx(2 * unit(dtype) * np.abs(wanted.truth[0]).max(), rel=0.01)
    [plain] = wanted.judge(wanted.plain)
    assert plain.error == np.abs(wanted.plain[0].astype("f8") - wanted.truth[0]).max()
    assert plain.ratio <= 0.5
    assert plain.relative <= unit(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["exp", "tanh", "softmax"])
def test_three_units_in_the_last_place_are_too_many(name, dtype):
    def three_off(y):
        return y + np.asarray(6 * unit(dtype) * np.abs(y).max(), y.dtype)

    check(NumpyOps(), PLAIN, TABLE[name], Call((X,)), dtype)
    with pytest.raises(AssertionError, match=rf"{name} of 'off' in {dtype}: error .* allowed"):
        check(off_by(name, three_off), PLAIN, TABLE[name], Call((X,)), dtype)


def test_an_op_that_moves_elements_may_not_err():
    call = Call((X, (35,)))
    assert standard(PLAIN, TABLE["reshape"], call, "float32").allowances == [0.0]
    careless = off_by("reshape", lambda y: np.nextafter(y, y + 1))
    [found] = measure(careless, PLAIN, TABLE["reshape"], call, "float32")
    assert found.ratio == np.inf
    assert 0 < found.relative < 2 * unit("float32")


def test_a_sum_that_cancels_is_excused_as_far_as_its_inputs_are_known():
    x = np.array([1.0, -1.0, 1e-3])
    [allowed] = standard(PLAIN, TABLE["sum"], Call((x,)), "float32").allowances
    assert unit("float32") < allowed < 20 * unit("float32")


@pytest.mark.parametrize(("name", "bad"), [("exp", np.nan), ("exp", np.inf), ("sum", np.nan)])
def test_what_is_not_finite_is_infinitely_far_from_what_is(name, bad):
    broken = off_by(name, lambda y: np.asarray(y * bad, y.dtype))
    [found] = measure(broken, PLAIN, TABLE[name], Call((X,)), "float32")
    assert found.error == found.ratio == np.inf
    assert not found.ok


def test_what_a_dtype_cannot_hold_is_infinite():
    call = Call((np.full(3, 300.0), np.full(3, -300.0)))
    wanted = standard(PLAIN, TABLE["multiply"], call, "float16")
    assert wanted.truth[0].tolist() == [-np.inf] * 3
    assert wanted.judge([np.full(3, -np.inf, np.float16)])[0].error == 0
    assert wanted.judge([np.full(3, -65504, np.float16)])[0].error == np.inf


@pytest.mark.parametrize(
    ("result", "message"),
    [(np.zeros((5, 6)), r"shape \(5, 6\), not \(5, 7\)"), (np.zeros((5, 7)), "dtype float64, not float32")],
)
def test_another_shape_or_dtype_is_no_result(result, message):
    with pytest.raises(AssertionError, match=message):
        standard(PLAIN, TABLE["exp"], Call((X,)), "float32").judge([result])


def test_half_precision_is_judged_by_float32_inside():
    """A sum in bfloat16 of 300 numbers near 1 would be off by tens."""
    x = np.random.default_rng(1).uniform(0.9, 1.1, 300)
    check(NumpyOps(), PLAIN, TABLE["sum"], Call((x,)), "bfloat16")

    def narrow(self, x, axis=None, keepdims=False):
        total = np.zeros((), x.dtype)
        for element in x:
            total = (total + element).astype(x.dtype)
        return total

    careless = type("Careless", (NumpyOps,), {"sum": narrow, "name": "careless"})()
    with pytest.raises(AssertionError, match="error"):
        check(careless, PLAIN, TABLE["sum"], Call((x,)), "bfloat16")


@pytest.mark.parametrize("axis", [None, 0, -1, (0, 2), (1,), ()])
@pytest.mark.parametrize("keepdims", [False, True])
def test_sums_in_order_are_sums(axis, keepdims):
    x = np.random.default_rng(2).standard_normal((3, 4, 5))
    got, expected = (ops.sum(x, axis, keepdims) for ops in (in_order(NumpyOps)(), PLAIN))
    np.testing.assert_allclose(got, expected, rtol=1e-14, strict=True)


@pytest.mark.parametrize("shapes", [((3, 4), (4, 2)), ((2, 1, 3, 4), (5, 4, 2)), ((3, 0), (0, 2)), ((0, 3, 4), (4, 2))])
@pytest.mark.parametrize("dtype", ["float64", "float16"])
def test_products_in_order_are_products(shapes, dtype):
    a, b = (np.random.default_rng(n).standard_normal(shape).astype(dtype) for n, shape in enumerate(shapes))
    np.testing.assert_allclose(in_order(NumpyOps)().matmul(a, b), PLAIN.matmul(a, b), rtol=2e-3, atol=1e-3, strict=True)


def test_an_order_that_is_unlucky_is_excused():
    """A constant row added one after another errs in one direction all the time."""
    x = np.full(5000, 0.1)
    [allowed] = standard(PLAIN, TABLE["sum"], Call((x,)), "float32").allowances
    [in_sequence] = in_order(NumpyOps)().sum(x.astype("f4"), None, True)
    assert 1e-5 < abs(float(in_sequence) - 5000 * float(np.float32(0.1))) <= allowed


def test_only_ops_that_round_inside_are_excused_for_it():
    exact = {name for name, case in TABLE.items() if case.exact}
    assert not exact & set(ROUNDING)
    assert set(ROUNDING) <= {*TABLE, *BLOCKS}
