import numpy as np
import pytest

from opensora_backends.numpy_ops import NumpyOps
from opensora_backends.torch_ops import TorchOps
from opensora_core.errors import InvalidInputError, ProtocolError
from opensora_core.interpose import WHOLE, Box, Interposer


class Recorder(Interposer):
    """Writes down which ops it saw."""

    def __init__(self, inner, units=()):
        super().__init__(inner, units)
        self.seen = []

    def process(self, op, args):
        self.seen.append(op)
        return super().process(op, args)


RNG = np.random.default_rng(0)
X = RNG.standard_normal((2, 3, 4)).astype(np.float32)


@pytest.mark.parametrize("backend", [NumpyOps, TorchOps])
@pytest.mark.parametrize(
    "expression",
    [
        "x + y", "x - y", "x * y", "x / y", "x ** 2", "2.0 ** x", "x @ z", "x < y", "x > y", "x == y", "-x",
        "1.5 + x", "1.5 - x", "1.5 * x", "1.5 / x", "0.5 < x", "x == 0.5",
    ],
)  # fmt: skip
def test_operators_of_boxes_are_ops_in_either_order(backend, expression):
    ops = backend()
    x, y, z = (ops.asarray(a) for a in (X, X[1:] + 2, X.transpose(0, 2, 1).copy()))
    watched = Recorder(ops)
    expected = ops.to_numpy(eval(expression))
    for raw in ((), ("x",), ("y", "z")):
        names = {n: v if n in raw else watched.asarray(v) for n, v in {"x": x, "y": y, "z": z}.items()}
        got = eval(expression, {}, names)
        if isinstance(got, Box):
            assert got.ops is watched
        np.testing.assert_array_equal(watched.to_numpy(got), expected)
    assert watched.seen.count("asarray") == 6
    assert len(watched.seen) > 6


@pytest.mark.parametrize(
    "key",
    [0, -1, (1, 2), (slice(None), 1), (..., 0), (slice(1, None), ..., slice(0, 3, 2)), (None, 1), (..., None),
     (1, 2, 3), slice(5, 9), slice(2, 1), (slice(-2, -1), slice(None, None, 2)), np.int64(1), (0, ..., None, -1), ()],
)  # fmt: skip
def test_indexing_equals_numpys(key):
    watched = Recorder(NumpyOps())
    got = watched.asarray(X)[key]
    assert got.shape == X[key].shape
    np.testing.assert_array_equal(watched.to_numpy(got), X[key])
    assert set(watched.seen) <= {"asarray", "slice", "reshape"}


@pytest.mark.parametrize("key", [[0, 1], np.array([0, 1]), X > 0, slice(None, None, -1), 1.0, "x"])
def test_an_index_outside_the_language_is_refused(key):
    with pytest.raises(ProtocolError, match=r"index|step"):
        Interposer(NumpyOps()).asarray(X)[key]


@pytest.mark.parametrize("key", [2, -3, (0, 0, 0, 0), (slice(None), 3)])
def test_an_index_outside_the_array_is_an_index_error(key):
    with pytest.raises(IndexError, match=r"axis|axes"):
        Interposer(NumpyOps()).asarray(X)[key]


def test_values_refuse_what_the_language_has_no_word_for():
    x = Interposer(NumpyOps()).asarray(X)
    with pytest.raises(AttributeError, match=r"no 'mean'"):
        x.mean()
    with pytest.raises(ProtocolError, match="leave the language"):
        bool(x)
    with pytest.raises(ProtocolError, match="NumPy was handed"):
        np.asarray(x)
    with pytest.raises(TypeError):
        np.exp(x)
    with pytest.raises(TypeError, match="not iterable"):
        list(x)


def test_fused_ops_are_seen_whole_only_as_units():
    args = (X, X[:, :1], X[:, 1:2])
    inside, whole = Recorder(NumpyOps()), Recorder(NumpyOps(), units=WHOLE)
    np.testing.assert_allclose(
        inside.to_numpy(inside.modulate(*args)), whole.to_numpy(whole.modulate(*args)), rtol=1e-5, atol=1e-6
    )
    assert whole.seen == ["modulate"]
    assert "modulate" not in inside.seen
    assert "sqrt" in inside.seen


def test_every_argument_reaches_the_hook_in_signature_order():
    class Calls(Interposer):
        def process(self, op, args):
            return args

    ops = Calls(NumpyOps(), units=("attention", "group_norm"))
    q = ops.peek(Box(X, ops))
    assert ops.attention(q, k=q, v=q, scale=2.0) == (q, q, q, None, 2.0)
    assert ops.sum(q, keepdims=True) == (q, None, True)
    assert ops.group_norm(q, 3, bias=q) == (q, 3, None, q, 1e-6)
    with pytest.raises(TypeError, match="axes"):
        ops.sum(q, axes=1)
    with pytest.raises(TypeError, match="missing"):
        ops.matmul(q)
    with pytest.raises(TypeError, match="too many"):
        ops.exp(q, q)
    with pytest.raises(TypeError, match="multiple values"):
        ops.take(q, q, x=q)


def test_boxes_are_found_inside_lists_tuples_and_keywords():
    ops = Interposer(NumpyOps(), units=("rms_norm", "attention"))
    a, raw, weight = ops.asarray(X), X, ops.asarray(X[0, 0])
    np.testing.assert_array_equal(ops.to_numpy(ops.concat((a, raw, a), axis=1)), np.concatenate((X, X, X), axis=1))
    np.testing.assert_array_equal(ops.to_numpy(ops.rms_norm(x=raw, weight=weight)), NumpyOps().rms_norm(X, X[0, 0]))
    mask = ops.less(ops.arange(3), 2.0)
    np.testing.assert_allclose(
        ops.to_numpy(ops.attention(a, raw, a, mask=mask)), NumpyOps().attention(X, X, X, np.arange(3) < 2), rtol=1e-6
    )


def test_interposers_nest_and_the_outer_one_sees_the_op_first():
    low = Recorder(NumpyOps())
    high = Recorder(low)
    inner, outer = low.asarray(X), high.asarray(X)
    for got in (inner + outer, outer + inner, high.add(inner, outer)):
        assert got.ops is high
        assert got.value.ops is low
        np.testing.assert_array_equal(high.to_numpy(got), X + X)
    assert (inner < outer).ops is high
    assert high.seen.count("add") == low.seen.count("add") == 3


def test_a_stranger_value_is_refused():
    one, other = Interposer(NumpyOps()), Interposer(NumpyOps())
    with pytest.raises(ProtocolError, match="must use the ops it is given"):
        one.exp(other.asarray(X))
    with pytest.raises(ProtocolError, match="outlive"):
        one.exp(Interposer(one).asarray(X))


@pytest.mark.parametrize("units", [("exp",), ("value_and_grad",), ("nonsense",)])
def test_only_fused_ops_can_be_units(units):
    with pytest.raises(InvalidInputError, match=units[0]):
        Interposer(NumpyOps(), units)


def test_what_an_interposer_tells_about_itself():
    ops = Interposer(NumpyOps(dtype="float16"))
    assert (ops.name, ops.device, ops.dtype) == ("interposer(numpy)", "cpu", "float16")
    x = ops.asarray(X, "bfloat16")
    assert (x.shape, x.ndim, ops.dtype_name(x)) == ((2, 3, 4), 3, "bfloat16")
    assert isinstance(ops.to_numpy(x), np.ndarray)
    assert "Box" in repr(x)
