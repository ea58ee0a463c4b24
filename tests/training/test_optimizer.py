"""AdamW and the moving average against Torch, formulas, and each other."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from opensora_core.registry import get_backend
from opensora_core.training.optimizer import AdamState, AdamW, clip_factor, ema_update, flatten, is_finite, unflatten

SHAPES = {"w": (3, 4), "b": (4,), "s": ()}
BACKENDS = ["numpy", "torch"]


def arrays(seed, dtype="float64", scale=1.0):
    rng = np.random.default_rng(seed)
    return {name: (scale * rng.normal(size=shape)).astype(dtype) for name, shape in SHAPES.items()}


def on(ops, state):
    return {name: ops.asarray(np.array(a)) for name, a in state.items()}


def host(ops, state):
    return {name: ops.to_numpy(a) for name, a in state.items()}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "options",
    [
        {"learning_rate": 1e-2, "betas": (0.9, 0.98), "eps": 1e-8, "weight_decay": 0.1},
        {"learning_rate": 3e-3, "betas": (0.9, 0.999), "eps": 1e-15, "weight_decay": 0.0},
    ],
)
def test_twenty_steps_are_those_of_torch(backend, options):
    ops = get_backend(backend, dtype="float64")
    adam = AdamW(**options, clip_norm=1e9)
    params = on(ops, arrays(0))
    state = adam.init(ops, params)
    theirs = {name: torch.nn.Parameter(torch.tensor(a)) for name, a in arrays(0).items()}
    names = {"lr": "learning_rate", "betas": "betas", "eps": "eps", "weight_decay": "weight_decay"}
    reference = torch.optim.AdamW(theirs.values(), **{ours: options[name] for ours, name in names.items()})
    for step in range(1, 21):
        grads = arrays(step, scale=10.0 ** (step % 5 - 2))
        params, state = adam.update(ops, params, on(ops, grads), state, step)
        for name, p in theirs.items():
            p.grad = torch.tensor(grads[name])
        reference.step()
    for name, p in host(ops, params).items():
        assert p.dtype == np.float64
        np.testing.assert_allclose(p, theirs[name].detach().numpy(), rtol=1e-10)


def test_numpy_and_torch_step_alike_in_float32():
    results = []
    for backend in BACKENDS:
        ops = get_backend(backend)
        params, adam = on(ops, arrays(0, "float32")), AdamW()
        state = adam.init(ops, params)
        for step in range(1, 11):
            params, state = adam.update(ops, params, on(ops, arrays(step, "float32")), state, step, rate=1e-2)
        results.append(host(ops, params))
    for name in SHAPES:
        np.testing.assert_allclose(results[0][name], results[1][name], rtol=1e-5)


def test_the_rate_of_a_step_may_be_given():
    ops = get_backend("numpy")
    params, grads, adam = arrays(0, "float32"), arrays(1, "float32"), AdamW(learning_rate=1.0)
    still, _ = adam.update(ops, params, grads, adam.init(ops, params), 1, rate=0.0)
    moved, _ = adam.update(ops, params, grads, adam.init(ops, params), 1, rate=0.25)
    for name in SHAPES:
        assert np.array_equal(still[name], params[name])
        np.testing.assert_allclose(np.abs(moved[name] - params[name]), 0.25, rtol=1e-4)  # Adam's first step: the sign


@pytest.mark.parametrize("backend", BACKENDS)
def test_long_gradients_are_clipped_as_one_vector_and_short_ones_are_left(backend):
    ops = get_backend(backend, dtype="float64")
    gradient = ops.asarray(np.array([3.0, -4.0, 12.0]))  # of length 13
    assert float(clip_factor(ops, gradient, 1.0)) == pytest.approx(1 / 13)
    assert float(clip_factor(ops, gradient, 13.0)) == 1.0
    assert float(clip_factor(ops, gradient, 50.0)) == 1.0
    assert float(clip_factor(ops, gradient * 0.0, 1.0)) == 1.0
    params, grads = on(ops, arrays(0)), on(ops, arrays(1, scale=100.0))
    norm = math.sqrt(sum((a**2).sum() for a in arrays(1, scale=100.0).values()))
    short = on(ops, {name: a / norm for name, a in arrays(1, scale=100.0).items()})
    clipped, whole = (AdamW().update(ops, params, g, AdamW().init(ops, params), 1)[1] for g in (grads, short))
    np.testing.assert_allclose(ops.to_numpy(clipped.mean), ops.to_numpy(whole.mean), rtol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_parameters_keep_shape_and_dtype(backend, dtype):
    ops = get_backend(backend, dtype=dtype)
    params = {name: ops.asarray(a, dtype) for name, a in arrays(0).items()}
    vector = flatten(ops, params)
    assert (tuple(vector.shape), ops.dtype_name(vector)) == ((17,), "float32")
    back = host(ops, unflatten(ops, vector, params))
    assert {name: (a.shape, str(a.dtype)) for name, a in back.items()} == {n: (s, dtype) for n, s in SHAPES.items()}
    assert all(np.array_equal(back[name], a) for name, a in host(ops, params).items())
    state = AdamW().init(ops, params)
    updated, _ = AdamW().update(ops, params, params, state, 1, rate=0.1)
    assert {ops.dtype_name(a) for a in updated.values()} == {dtype}


def test_gradients_are_taken_by_name_and_only_those_of_the_parameters():
    ops = get_backend("numpy")
    params, grads = arrays(0, "float32"), arrays(1, "float32")
    shuffled = {"frozen": np.zeros(3, "float32"), **{name: grads[name] for name in reversed(SHAPES)}}
    ours, theirs = (AdamW().update(ops, params, g, AdamW().init(ops, params), 1)[0] for g in (grads, shuffled))
    assert all(np.array_equal(ours[name], theirs[name]) for name in SHAPES)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_average_follows_its_formula(backend):
    ops = get_backend(backend)
    ema, params = arrays(0, "float32"), arrays(1, "float32")
    mixed = host(ops, ema_update(ops, {**on(ops, ema), "frozen": None}, on(ops, params), 0.9))
    assert mixed.keys() == params.keys()
    for name in SHAPES:
        np.testing.assert_allclose(mixed[name], 0.9 * ema[name] + 0.1 * params[name], rtol=1e-6, atol=1e-7)
    same = host(ops, ema_update(ops, on(ops, ema), on(ops, params), 0.0))
    assert all(np.array_equal(same[name], params[name]) for name in SHAPES)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_gradient_that_is_not_finite_shows_in_the_moments(backend, bad):
    ops = get_backend(backend)
    params, grads = on(ops, arrays(0, "float32")), arrays(1, "float32")
    state = AdamW().init(ops, params)
    _, good = AdamW().update(ops, params, on(ops, grads), state, 1)
    assert is_finite(ops, good)
    grads["w"][1, 2] = bad
    with np.errstate(invalid="ignore"):
        _, spoiled = AdamW().update(ops, params, on(ops, grads), good, 2)
    assert not is_finite(ops, spoiled)
    assert isinstance(spoiled, AdamState)
