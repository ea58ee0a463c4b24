"""compile records a CUDA graph once per shape and replays it with new arrays; what cannot be recorded says so."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
import pytest

from opensora_backends import cuda_graph
from opensora_kernels.cupy_on_cpu.state import STATE


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def on(ops, rng, *shape):
    return ops.asarray(rng.standard_normal(shape).astype(np.float32))


def test_a_replay_computes_with_the_arrays_it_is_given(ops, rng):
    calls = []

    def layer(x, w):
        calls.append(1)
        table = ops.asarray(np.arange(4, dtype=np.float32))  # from the host, inside
        return ops.softmax(ops.gelu(ops.linear(x, w)) + table)

    compiled = ops.compile(layer)
    for _ in range(3):
        x, w = on(ops, rng, 2, 3), on(ops, rng, 4, 3)
        np.testing.assert_array_equal(ops.to_numpy(compiled(x, w)), ops.to_numpy(layer(x, w)))
    assert len(calls) == 3 + 2  # three times here; a rehearsal and a recording there
    compiled(on(ops, rng, 5, 3), on(ops, rng, 4, 3))
    assert len(calls) == 3 + 4  # another shape is another recording


def test_results_of_two_replays_are_apart(ops, rng):
    compiled = ops.compile(lambda x: x * 2)
    x, y = on(ops, rng, 3), on(ops, rng, 3)
    first = compiled(x)
    before = ops.to_numpy(first)
    compiled(y)
    np.testing.assert_array_equal(ops.to_numpy(first), before)


class State(NamedTuple):
    """A nest as training has it."""

    weight: object
    step: int


def test_nests_of_arrays_and_numbers_go_in_and_out(ops, rng):
    def step(params, state, rate):
        new = {name: p - rate * state.weight for name, p in params.items()}
        return new, State(state.weight + 1.0, state.step + 1), [rate]

    compiled = ops.compile(step)
    for rate in (0.1, 0.2, 0.1):
        params, state = {"a": on(ops, rng, 3)}, State(on(ops, rng, 3), 7)
        got, want = compiled(params, state, rate), step(params, state, rate)
        np.testing.assert_array_equal(got[0]["a"], want[0]["a"])
        np.testing.assert_array_equal(got[1].weight, want[1].weight)
        assert (got[1].step, got[2]) == (8, [rate])


def test_a_function_inside_another_belongs_to_its_recording(ops, rng):
    inner = ops.compile(lambda x: x + 1.0)
    outer = ops.compile(lambda x: inner(x) * 2.0)
    x = on(ops, rng, 3)
    np.testing.assert_array_equal(ops.to_numpy(outer(x)), (ops.to_numpy(x) + 1) * 2)


@pytest.mark.parametrize(
    ("fun", "says"),
    [
        (lambda ops, x: x * float(x[0]), "cudaErrorStreamCaptureUnsupported"),
        (lambda ops, x: ops.asarray(ops.to_numpy(x)), "a value is read back by the host"),
        (
            lambda ops, x: x + ops.asarray(np.random.default_rng().random(3, np.float32)),
            "other arrays on the host each time",
        ),
    ],
)
def test_what_cannot_be_recorded_warns_once_and_runs(ops, rng, fun, says):
    compiled = ops.compile(lambda x: fun(ops, x))
    x = on(ops, rng, 3)
    with pytest.warns(RuntimeWarning, match=f"is not compiled and runs as it is: .*{says}"):
        assert compiled(x).shape == (3,)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compiled(x)
    assert STATE.capture is None


def test_errors_of_the_function_itself_pass(ops, rng):
    with pytest.raises(ZeroDivisionError):
        ops.compile(lambda x: x * (1 / 0))(on(ops, rng, 3))
    assert cuda_graph.capturing() is None


def test_recordings_are_kept_for_the_latest_shapes_only(ops):
    calls = []
    compiled = ops.compile(lambda x: (calls.append(1), x * 2)[1])
    for n in [*range(1, cuda_graph.KEPT + 2), cuda_graph.KEPT + 1, 1]:
        compiled(ops.full((n,), 1.0))
    assert len(calls) == 2 * (cuda_graph.KEPT + 2)  # the first was given up, the last was not
