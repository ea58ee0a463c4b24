import numpy as np
import pytest

from opensora_backends.numpy_ops import NumpyOps
from opensora_backends.torch_ops import TorchOps
from opensora_core.errors import ProtocolError
from opensora_core.interpose import Strict

X = np.random.default_rng(0).standard_normal((2, 4)).astype(np.float32)
I = np.arange(4)


@pytest.mark.parametrize("backend", [NumpyOps, TorchOps])
@pytest.mark.parametrize(
    ("step", "complaint"),
    [
        (lambda o, x: x + o.astype(x, "float64"), r"add\(float32\[2, 4\], float64\[2, 4\]\) mixes dtypes"),
        (lambda o, x: o.concat([x, o.astype(x, "bfloat16")]), "concat.*mixes dtypes"),
        (lambda o, x: o.where(x < 0.0, x, o.astype(x, "float64")), "where.*mixes dtypes"),
        (lambda o, x: o.where(x, x, x), "where: the condition must be bool, not float32"),
        (lambda o, x: o.astype(x, "bfloat16") * 2.0, "multiply.*widen first"),
        (lambda o, x: o.astype(x, "int64") * 2.0, "multiply.*would promote int64"),
        (lambda o, x: x + np.float64(1.0), "add.*mixes dtypes"),
        (lambda o, x: o.maximum(1.0, 2.0), "maximum.*no array"),
        (lambda o, x: o.take(x, x[0]), "take: indices must be a 1-D integer array, not float32"),
        (lambda o, x: o.matmul(x, x[0]), r"matmul: both sides need two axes; got float32\[2, 4\], float32\[4\]"),
    ],
)
def test_what_leaves_the_language_is_refused_by_name(backend, step, complaint):
    ops = Strict(backend())
    with pytest.raises(ProtocolError, match=complaint):
        step(ops, ops.asarray(X))


def test_methods_attributes_and_branches_on_values_are_refused():
    x = Strict(NumpyOps()).asarray(X)
    with pytest.raises(AttributeError, match="no 'T'"):
        _ = x.T
    with pytest.raises(TypeError):
        x[0] = 1.0
    with pytest.raises(ProtocolError):
        assert x == x


@pytest.mark.parametrize("units", [(), ("gelu",)])
def test_a_backend_that_writes_into_its_argument_is_caught(units):
    class Careless(NumpyOps):
        def tanh(self, x):
            return np.tanh(x, out=x)

        def gelu(self, x, approximate="tanh"):
            x *= 0.5
            return x

    with pytest.raises(ProtocolError, match="of 'numpy' writes into an argument"):
        Strict(Careless(), units).gelu(X.copy())


def test_legal_code_runs_unchanged():
    plain, strict = NumpyOps(), Strict(NumpyOps())
    for dtype in ("float64", "float32", "float16", "bfloat16"):
        x = plain.asarray(X, dtype)
        expected = plain.softmax(plain.silu(x)) + x * x
        boxed = strict.asarray(x)
        got = strict.softmax(strict.silu(boxed)) + boxed * x
        np.testing.assert_allclose(
            strict.to_numpy(got).astype("f8"),
            expected.astype("f8"),
            rtol=0.02 if dtype in ("float16", "bfloat16") else 1e-6,
        )
    doubled = strict.asarray(X) * 2.0
    np.testing.assert_array_equal(strict.to_numpy(strict.take(doubled, I[:2], 1)), 2 * X[:, :2])
