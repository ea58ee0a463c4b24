from dataclasses import dataclass

import numpy as np
import pytest

from opensora_backends.numpy_ops import NumpyOps
from opensora_core import derived, get_backend
from opensora_core.errors import InvalidInputError
from opensora_core.interpose import Strict
from opensora_core.module import to_backend

X = np.random.default_rng(1).standard_normal((2, 6, 4))


@pytest.fixture(params=["numpy", "strict", "torch"])
def ops(request):
    return Strict(NumpyOps()) if request.param == "strict" else get_backend(request.param, device="cpu")


@pytest.mark.parametrize("axis", [None, 0, -1, (0, 2)])
@pytest.mark.parametrize("keepdims", [False, True])
def test_mean(ops, axis, keepdims):
    got = derived.mean(ops, ops.asarray(X), axis, keepdims)
    np.testing.assert_allclose(ops.to_numpy(got), X.mean(axis, keepdims=keepdims), rtol=1e-12)


def test_the_mean_of_many_halves_does_not_overflow(ops):
    x = ops.asarray(np.full(100_000, 100.0), "float16")
    assert float(ops.to_numpy(derived.mean(ops, x))) == 100.0


@pytest.mark.parametrize("axis", [0, 1, -1, 3])
def test_stack(ops, axis):
    got = derived.stack(ops, [ops.asarray(X), ops.asarray(X + 1)], axis)
    np.testing.assert_array_equal(ops.to_numpy(got), np.stack([X, X + 1], axis))
    alone = derived.stack(ops, [ops.asarray(X)], axis)
    np.testing.assert_array_equal(ops.to_numpy(alone), np.stack([X], axis))


def test_arrays_are_stacked_in_front_unless_told_otherwise(ops):
    np.testing.assert_array_equal(ops.to_numpy(derived.stack(ops, [ops.asarray(X), ops.asarray(-X)])), [X, -X])


def test_split(ops):
    parts = derived.split(ops, ops.asarray(X), 3, -2)
    for got, expected in zip(parts, np.split(X, 3, 1), strict=True):
        np.testing.assert_array_equal(ops.to_numpy(got), expected)
    with pytest.raises(InvalidInputError, match="length 6 cannot be split into 4"):
        derived.split(ops, ops.asarray(X), 4, 1)


def test_pad_to_multiple(ops):
    got = ops.to_numpy(derived.pad_to_multiple(ops, ops.asarray(X), (1, 4, 3)))
    np.testing.assert_array_equal(got, np.pad(X, ((0, 0), (0, 2), (0, 2))))


def test_every_axis_needs_its_multiple():
    for multiples in ((1, 4), (1, 4, 3, 2)):
        with pytest.raises(ValueError, match=r"shorter|longer"):
            derived.pad_to_multiple(NumpyOps(), X, multiples)


def test_rearrange(ops):
    got = derived.rearrange(ops, ops.asarray(X), "b (t s) d -> (b s) t d", t=3)
    np.testing.assert_array_equal(ops.to_numpy(got), X.reshape(2, 3, 2, 4).transpose(0, 2, 1, 3).reshape(4, 3, 4))


@pytest.mark.parametrize(
    ("pattern", "sizes"),
    [("b (t s) d -> b t s d", {"t": 4}), ("b (t s) d -> b t s d", {}), ("b n d -> b n", {}), ("b n -> n b", {}),
     ("b n d -> b n e", {}), ("b n d -> b n c", {}), ("b n d e -> b n d e", {}),
     ("b (t s) d -> b t s d", {"t": 3, "s": 4})],
)  # fmt: skip
def test_a_pattern_that_does_not_fit_is_said(pattern, sizes):
    with pytest.raises(InvalidInputError, match=r"axes|axis"):
        derived.rearrange(NumpyOps(), X, pattern, **sizes)


def test_rearrange_takes_an_empty_batch():
    assert derived.rearrange(NumpyOps(), X[:0], "b (t s) d -> (b t) s d", t=3).shape == (0, 2, 4)
    assert derived.rearrange(NumpyOps(), X[:, :0], "b (t s) d -> b t s d", t=0).shape == (2, 0, 0, 4)


def test_whole_numbers_of_a_module_stay_whole_when_it_moves_to_a_backend():
    @dataclass(frozen=True)
    class Table:
        weight: object
        places: object

    torch = get_backend("torch", device="cpu")
    moved = to_backend(torch, Table(X, np.arange(3)), "bfloat16")
    assert [torch.dtype_name(x) for x in (moved.weight, moved.places)] == ["bfloat16", "int64"]
