"""Corners of the language where array libraries go their own ways."""

import ml_dtypes
import numpy as np
import pytest
import torch

from opensora_backends.numba_ops import NumbaOps
from opensora_backends.numpy_ops import NumpyOps
from opensora_backends.torch_ops import TorchOps
from opensora_core.autodiff import Autodiff
from opensora_core.ops import FUSED
from opensora_core.testing.running import execute, lay_out, vanilla
from opensora_core.testing.strategies import LAYOUTS, Call

X = np.random.default_rng(5).standard_normal((3, 4))
BACKENDS = {"numpy": NumpyOps(), "vanilla": vanilla(NumpyOps)(), "numba": NumbaOps(), "torch": TorchOps()}
DTYPES = ("float64", "float32", "bfloat16", "float16")


@pytest.fixture(params=BACKENDS)
def ops(request):
    return BACKENDS[request.param]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (1,), (2, 0, 3), (2, 3)])
def test_arrays_travel_there_and_back_bit_for_bit(ops, dtype, shape):
    x = np.random.default_rng(0).standard_normal(shape).astype(np.dtype(dtype))
    for layout in LAYOUTS:
        back = ops.to_numpy(ops.asarray(lay_out(x, layout)))
        assert back.dtype == x.dtype
        assert back.shape == shape
        assert back.tobytes() == x.tobytes()


def test_a_read_only_array_is_never_shared_for_writing():
    x = X.copy()
    x.flags.writeable = False
    placed = TorchOps().asarray(x)
    placed += 1
    np.testing.assert_array_equal(x, X)


@pytest.mark.parametrize("dtype", DTYPES)
def test_numbers_and_lists_become_arrays_of_the_dtype_asked_for(ops, dtype):
    for value in (2.5, [1.0, 2.0], np.float32(3)):
        x = ops.asarray(value, dtype)
        assert ops.dtype_name(x) == dtype
        np.testing.assert_array_equal(np.asarray(ops.to_numpy(x), "f8"), value)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "name", ["linear", "gelu", "silu", "softmax", "layer_norm", "rms_norm", "modulate", "gated_residual"]
)
def test_a_fused_op_keeps_the_dtype_of_x(ops, name, dtype):
    more = {"linear": (X[:2], X[0, :2]), "layer_norm": (X[0], X[0]), "rms_norm": (X[0],), "modulate": (X[0], X[1])}
    more |= {"gated_residual": (X, X[0])}
    [result] = execute(ops, name, Call((X, *more.get(name, ()))), dtype)
    assert result.dtype == np.dtype(dtype)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_number_beside_half_precision_does_not_widen_it(ops, dtype):
    x = ops.asarray(X, dtype)
    for result in (ops.multiply(x, 2.0), ops.subtract(1, x), ops.maximum(x, 0.0), ops.where(x < 0.0, 0.0, x)):
        assert ops.dtype_name(result) == dtype


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_norm_over_one_element_gives_the_bias(ops, dtype):
    [result] = execute(ops, "layer_norm", Call((X[:, :1], np.ones(1), np.full(1, 0.5), 1e-5)), dtype)
    np.testing.assert_allclose(result.astype("f8"), np.full((3, 1), 0.5), atol=400 * float(ml_dtypes.finfo(dtype).eps))


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_without_a_key_give_zeros_and_finite_gradients(ops, dtype):
    mask = ops.asarray(np.array([[True, False, True], [False, False, False]]))
    params = {n: ops.asarray(X[a:b], dtype) for n, a, b in (("q", 0, 2), ("k", 0, 3), ("v", 0, 3))}
    out = ops.to_numpy(ops.attention(*params.values(), mask)).astype("f8")
    assert not out[1].any()
    assert np.isfinite(out).all()
    assert out[0].any()

    def loss(o, p):
        return o.sum(o.attention(p["q"], p["k"], p["v"], mask))

    for differentiate in (ops.value_and_grad, Autodiff(ops).differentiate, Autodiff(ops, units=()).differentiate):
        grads = {name: ops.to_numpy(g).astype("f8") for name, g in differentiate(loss, params)[1].items()}
        assert all(np.isfinite(g).all() for g in grads.values())
        assert not grads["q"][1].any()
        assert not grads["v"][1].any()
        assert grads["v"][0].any()


def test_one_key_gets_all_the_attention(ops):
    out = ops.attention(*(ops.asarray(a) for a in (X, X[:1], X[1:2])))
    np.testing.assert_allclose(ops.to_numpy(out), np.broadcast_to(X[1:2], X.shape))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [1, 8, 72])
def test_constant_rows_far_from_zero_normalise_to_zero(ops, dtype, width):
    [result] = execute(ops, "layer_norm", Call((np.full((2, width), 19032.0), None, None, 1e-6)), dtype)
    assert not result.any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_erf_is_right_near_zero_too(ops, dtype):
    x = (np.linspace(1, 2, 72) * 2.0**-20).astype(np.dtype(dtype)).astype("f8")
    [result] = execute(ops, "erf", Call((x,)), dtype)
    info = ml_dtypes.finfo(dtype)
    limits = {"rtol": 2 * float(info.eps) + 1e-7, "atol": float(info.smallest_subnormal)}
    np.testing.assert_allclose(result.astype("f8"), x * 2 / np.pi**0.5, **limits)


def test_huge_logits_do_not_overflow(ops):
    for dtype in DTYPES:
        [result] = execute(ops, "softmax", Call((np.array([[1e4, -1e4, 0.0], [3e4, 3e4, -3e4]]),)), dtype)
        np.testing.assert_array_equal(result.astype("f8"), [[1, 0, 0], [0.5, 0.5, 0]])


def test_ties_share_the_gradient_as_in_torch(ops):
    x = ops.asarray(np.array([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]]))
    _, grads = ops.value_and_grad(lambda o, p: o.sum(o.max(p["x"], axis=1)), {"x": x})
    np.testing.assert_allclose(ops.to_numpy(grads["x"]), [[0, 0.5, 0.5], [1 / 3] * 3])
    _, grads = ops.value_and_grad(lambda o, p: o.sum(o.maximum(p["x"], 2.0)), {"x": x})
    np.testing.assert_allclose(ops.to_numpy(grads["x"]), [[0, 1, 1], [0.5] * 3])


def test_pow_is_flat_where_it_is_flat(ops):
    params = {"x": ops.asarray(np.array([0.0, 2.0])), "y": ops.asarray(np.array([0.0, 0.0]))}
    for fun in (lambda o, p: o.sum(p["x"] ** 0), lambda o, p: o.sum(p["x"] ** p["y"])):
        grads = Autodiff(ops).differentiate(fun, params)[1]
        np.testing.assert_array_equal(ops.to_numpy(grads["x"]), [0.0, 0.0])
    grads = Autodiff(ops).differentiate(lambda o, p: o.sum(p["x"] ** o.asarray(np.array([2.0, 2.0]))), params)[1]
    np.testing.assert_array_equal(ops.to_numpy(grads["x"]), [0.0, 4.0])


def test_the_defaults_are_a_backend_of_their_own():
    plain = vanilla(NumpyOps)
    assert all(getattr(plain, name) is getattr(vanilla(TorchOps), name) for name in FUSED)
    assert issubclass(plain, NumpyOps)


def test_nothing_is_promoted_by_loading_models_in_half_precision():
    ops = TorchOps(dtype="bfloat16")
    assert ops.asarray(X).dtype == torch.float64
    assert ops.full((2,), 1.0).dtype == torch.float32
