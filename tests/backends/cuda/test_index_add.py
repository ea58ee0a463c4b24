"""Rows added at repeated places are added in their order, by a kernel, to the last bit as NumPy adds them."""

from __future__ import annotations

import numpy as np
import pytest

from opensora_core.errors import InvalidInputError
from opensora_kernels.cupy_on_cpu import STATE


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64"])
@pytest.mark.parametrize(("rows", "columns", "count"), [(5, 3, 40), (1, 130, 7), (300, 1, 2)])
def test_repeated_rows_add_up_in_order(ops, dtype, rows, columns, count):
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((rows, columns)) * 1e3).astype(dtype)
    values = (rng.standard_normal((count, columns)) * 10.0 ** rng.integers(-3, 4, (count, 1))).astype(dtype)
    indices = rng.integers(0, rows, count)
    want = x.copy()
    np.add.at(want, indices, values)
    got = ops.index_add(ops.asarray(x), ops.asarray(indices), ops.asarray(values))
    np.testing.assert_array_equal(ops.to_numpy(got), want)


def test_rows_count_from_the_end_and_those_that_are_not_there_are_dropped(ops):
    """A device cannot raise; it must not write either. The last is so far out that its key would wrap."""
    indices = np.array([-1, 3, -4, 0, 5, 2**62 + 1])
    got = ops.index_add(ops.full((3, 2), 7.0), ops.asarray(indices), ops.full((6, 2), 1.0))
    np.testing.assert_array_equal(ops.to_numpy(got)[:, 0], [8, 7, 8])


@pytest.mark.parametrize(
    ("indices", "values", "says"),
    [((2,), (3, 4), r"values has shape \(3, 4\): expected \(2, 4\)"), ((1, 2), (2, 4), r"indices have shape \(1, 2\)")],
)
def test_what_does_not_fit_is_named(ops, indices, values, says):
    with pytest.raises(InvalidInputError, match=f"index_add: {says}"):
        ops.index_add(ops.full((5, 4), 1.0), ops.full(indices, 0, "int64"), ops.full(values, 1.0))


def test_other_rows_are_left_alone_by_infinities(ops):
    values = np.array([[np.inf], [np.nan]], np.float32)
    got = ops.to_numpy(ops.index_add(ops.full((4, 1), 1.0), ops.asarray([2, 0]), ops.asarray(values)))
    np.testing.assert_array_equal(got[:, 0], [np.nan, 1, np.inf, 1])


def test_along_another_axis_and_in_half_precision_sums_are_wide(ops):
    x, values = np.zeros((2, 3), np.float16), np.full((2, 4000), 1.0, np.float16)
    got = ops.index_add(ops.asarray(x), ops.asarray(np.zeros(4000, np.int32)), ops.asarray(values), axis=-1)
    np.testing.assert_array_equal(ops.to_numpy(got), [[4000, 0, 0]] * 2)  # a sum in float16 stops at 2048


def test_nothing_to_add_launches_nothing(ops):
    STATE.launches.clear()
    x = ops.full((2, 3), 1.0)
    got = ops.index_add(x, ops.asarray(np.zeros(0, np.int64)), ops.full((0, 3), 1.0))
    assert (ops.to_numpy(got) == 1).all()
    assert STATE.launches == []
    assert got.data.ptr != x.data.ptr


def test_booleans_are_refused(ops):
    with pytest.raises(InvalidInputError, match="booleans"):
        ops.index_add(ops.full((2,), 1, "bool"), ops.asarray([0]), ops.full((1,), 1, "bool"))


def test_it_can_be_recorded(ops):
    def add(x, indices, values):
        return ops.index_add(x, indices, values)

    compiled = ops.compile(add)
    for seed in range(3):
        rng = np.random.default_rng(seed)
        args = [rng.standard_normal(4), rng.integers(0, 4, 9), rng.standard_normal(9)]
        placed = [ops.asarray(a) for a in args]
        np.testing.assert_array_equal(ops.to_numpy(compiled(*placed)), ops.to_numpy(add(*placed)))
