import tracemalloc

import numpy as np
import pytest

from opensora_backends.numpy_ops import NumpyOps
from opensora_backends.torch_ops import TorchOps
from opensora_core.autodiff import Autodiff
from opensora_core.autodiff.rules import CONSTANT, RULES
from opensora_core.errors import InvalidInputError, ProtocolError
from opensora_core.interpose import Interposer
from opensora_core.ops import PRIMITIVES

OPS = NumpyOps()
A = np.array([[1.0, 2.0], [3.0, 4.0]])


def test_every_primitive_has_a_rule_or_is_declared_constant():
    assert set(PRIMITIVES) == (set(RULES) & set(PRIMITIVES)) | set(CONSTANT)
    assert not set(RULES) & set(CONSTANT)


def test_value_and_gradient_of_a_small_expression():
    def fun(ops, p):
        return ops.sum(ops.exp(p["a"]) * p["b"] - p["a"] / 2.0)

    value, grads = OPS.value_and_grad(fun, {"a": A, "b": A + 1})
    assert value == pytest.approx(np.sum(np.exp(A) * (A + 1) - A / 2))
    np.testing.assert_allclose(grads["a"], np.exp(A) * (A + 1) - 0.5)
    np.testing.assert_allclose(grads["b"], np.exp(A))


def test_unused_and_stopped_parameters_get_zeros_of_their_own_dtype():
    params = {"a": A, "unused": A.astype("f4"), "stopped": A, "compared": A}

    def fun(ops, p):
        kept = ops.where(p["compared"] < 2.5, p["a"], ops.stop_gradient(p["stopped"]))
        return ops.sum(kept)

    _, grads = OPS.value_and_grad(fun, params)
    np.testing.assert_array_equal(grads["a"], A < 2.5)
    for name in ("unused", "stopped", "compared"):
        assert grads[name].dtype == params[name].dtype
        np.testing.assert_array_equal(grads[name], np.zeros((2, 2)))


@pytest.mark.parametrize("backend", [NumpyOps, TorchOps])
def test_a_function_that_ignores_its_parameters_is_constant(backend):
    ops = backend()
    for constant in (lambda ops, p: ops.full((), 3.0), lambda ops, p: 3.0, lambda ops, p: ops.stop_gradient(p["a"])):
        value, grads = ops.value_and_grad(constant, {"a": ops.asarray(np.asarray(3.0))})
        assert float(value) == 3.0
        assert float(grads["a"]) == 0.0


def test_a_parameter_can_be_the_result():
    value, grads = OPS.value_and_grad(lambda ops, p: p["a"], {"a": np.asarray(2.0)})
    assert (float(value), float(grads["a"])) == (2.0, 1.0)


@pytest.mark.parametrize("backend", [NumpyOps, TorchOps])
def test_what_cannot_be_differentiated_is_said(backend):
    ops = backend()
    for differentiate in (Autodiff(ops).differentiate, ops.value_and_grad):
        with pytest.raises(InvalidInputError, match=r"needs a scalar; the function returned shape \(2, 2\)"):
            differentiate(lambda ops, p: p["a"] * 2.0, {"a": ops.asarray(A)})
    with pytest.raises(InvalidInputError, match="'steps' is int64"):
        Autodiff(ops).differentiate(lambda ops, p: ops.sum(p["steps"]), {"steps": ops.asarray(np.arange(3))})
    with pytest.raises(InvalidInputError, match="conv"):
        Autodiff(ops, units=("conv",))


def test_the_ops_of_the_outside_are_refused_inside():
    outside = Interposer(OPS)
    with pytest.raises(ProtocolError, match="must use the ops it is given"):
        Autodiff(OPS).differentiate(lambda ops, p: outside.sum(p["a"]), {"a": A})
    with pytest.raises(TypeError):
        OPS.value_and_grad(lambda ops, p: OPS.exp(p["a"]), {"a": A})


@pytest.mark.parametrize("backend", [NumpyOps, TorchOps])
def test_a_tape_over_a_tape_gives_the_second_derivative(backend):
    ops = backend()
    x = ops.asarray(np.array([0.3, -0.7, 1.2]))

    def cubes(ops, p):
        return ops.sum(p["x"] ** 3.0)

    def slope(ops, p):
        return ops.sum(ops.value_and_grad(cubes, p)[1]["x"])

    def curvature(ops, p):
        return ops.sum(ops.value_and_grad(slope, p)[1]["x"])

    for differentiate in (Autodiff(ops).differentiate, ops.value_and_grad):
        np.testing.assert_allclose(ops.to_numpy(differentiate(slope, {"x": x})[1]["x"]), 6 * ops.to_numpy(x))
        np.testing.assert_allclose(ops.to_numpy(differentiate(curvature, {"x": x})[1]["x"]), [6.0] * 3)


def test_gradients_keep_the_dtype_of_mixed_precision_parameters():
    params = {"w": OPS.asarray(A, "bfloat16"), "x": A.astype("f4")}
    _, grads = OPS.value_and_grad(lambda ops, p: ops.sum(ops.astype(p["w"], "float32") * p["x"]), params)
    assert [grads[name].dtype for name in params] == [params[name].dtype for name in params]
    np.testing.assert_array_equal(grads["x"], A)


def test_memory_is_given_back_during_the_walk():
    x = np.ones(100_000)  # 0.8 MB

    def chain(ops, p):
        y = p["x"]
        for _ in range(50):
            y = ops.tanh(y)  # each step keeps its result: 40 MB at the turn
        return ops.sum(y)

    def peak(fun):
        tracemalloc.start()
        fun()
        result = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return result

    at_the_turn = 50 * x.nbytes
    assert at_the_turn < peak(lambda: OPS.value_and_grad(chain, {"x": x})) < at_the_turn + 8 * x.nbytes


def test_only_the_shape_of_summands_is_kept():
    x = np.ones(100_000)

    def chain(ops, p):
        y = p["x"]
        for _ in range(50):
            y = y + 1.0
        return ops.sum(y)

    tracemalloc.start()
    OPS.value_and_grad(chain, {"x": x})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 * x.nbytes


def test_a_long_chain_neither_recurses_nor_leaks():
    def chain(ops, p):
        y = p["x"]
        for _ in range(5_000):
            y = y + 1.0
        return y

    value, grads = OPS.value_and_grad(chain, {"x": np.asarray(0.0)})
    assert (value, grads["x"]) == (5_000.0, 1.0)
