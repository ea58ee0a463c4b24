"""`ops.checkpoint` changes what gradients keep, and no number."""

import gc
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from opensora_backends.numpy_ops import NumpyOps
from opensora_backends.torch_ops import TorchOps
from opensora_core.autodiff import Autodiff
from opensora_core.checkpointed import checkpointed
from opensora_core.dit.config import STDiT3Config
from opensora_core.dit.mmdit import MMDiT
from opensora_core.dit.mmdit_config import MMDiTConfig
from opensora_core.dit.stdit3 import STDiT3
from opensora_core.dit.stdit3_windows import WindowedConfig, WindowedSTDiT3
from opensora_core.errors import InvalidInputError
from opensora_core.interpose import Interposer
from opensora_core.module import rebuild, state_dict
from opensora_core.nn.init import RandomInit
from opensora_core.nn.layers import Mlp

X = np.linspace(-1.0, 1.0, 12).reshape(3, 4)
W = np.cos(np.arange(16.0)).reshape(4, 4)
WAYS = {
    "tape on numpy": (NumpyOps(dtype="float64"), lambda ops: Autodiff(ops).differentiate),
    "tape on torch": (TorchOps(dtype="float64"), lambda ops: Autodiff(ops).differentiate),
    "torch": (TorchOps(dtype="float64"), lambda ops: ops.value_and_grad),
}


@pytest.fixture(params=WAYS)
def way(request):
    """(ops, its way of taking gradients)."""
    ops, take = WAYS[request.param]
    return ops, take(ops)


def gradients(way, fun, **params):
    ops, take = way
    value, grads = take(fun, {name: ops.asarray(np.asarray(a)) for name, a in params.items()})
    return {"value": ops.to_numpy(value), **{name: ops.to_numpy(g) for name, g in grads.items()}}


def assert_same_bits(a, b):
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def layer(ops, x, w):
    return ops.gelu(ops.linear(ops.layer_norm(x), w)) + x


def test_the_same_gradients_come_from_a_function_that_runs_twice(way):
    runs = []

    def network(checkpoint):
        def fun(ops, p):
            def block(x):
                runs.append(checkpoint)
                return layer(ops, x, p["w"])

            x = p["x"] * 2.0
            for _ in range(3):
                x = ops.checkpoint(block, x) if checkpoint else block(x)
            return ops.sum(x * x)

        return fun

    assert_same_bits(*(gradients(way, network(checkpoint), x=X, w=W) for checkpoint in (False, True)))
    assert runs == [False] * 3 + [True] * 6


def test_one_inside_another_and_several_results(way):
    def plain(ops, p):
        return ops.sum(layer(ops, layer(ops, p["x"], p["w"]), p["w"]) * ops.exp(p["x"]))

    def nested(ops, p):
        def inner():
            return ops.checkpoint(lambda: layer(ops, p["x"], p["w"])), ops.exp(p["x"])

        first, second = ops.checkpoint(inner)
        assert first.shape == second.shape == (3, 4)
        return ops.sum(ops.checkpoint(lambda: layer(ops, first, p["w"]) * second))

    expected, found = (gradients(way, fun, x=X, w=W) for fun in (plain, nested))
    for name, g in expected.items():
        np.testing.assert_allclose(found[name], g, rtol=1e-13, atol=1e-14, err_msg=name)


def test_constants_and_what_is_handed_through(way):
    def fun(ops, p):
        constant = ops.checkpoint(lambda: ops.exp(ops.stop_gradient(p["x"])))
        same = ops.checkpoint(lambda: p["w"])
        stopped = ops.checkpoint(lambda: ops.stop_gradient(p["w"] * 3.0))
        return ops.sum(constant) + ops.sum(same * stopped)

    found = gradients(way, fun, x=X, w=W)
    np.testing.assert_array_equal(found["x"], np.zeros_like(X))
    np.testing.assert_allclose(found["w"], 3 * W, rtol=1e-15)


def test_second_derivatives_pass_through(way):
    def slope(ops, p, checkpoint):
        def energy(inner, q):
            def block():
                return layer(inner, q["x"], p["w"])

            h = inner.checkpoint(block) if checkpoint else block()
            return inner.sum(h * h * h)

        return ops.value_and_grad(energy, {"x": p["x"]})[1]["x"]

    plain, found = (gradients(way, lambda o, p, c=c: o.sum(slope(o, p, c) ** 2), x=X, w=W) for c in (False, True))
    assert min(np.abs(g).max() for g in plain.values()) > 1
    for name, g in plain.items():
        np.testing.assert_allclose(found[name], g, rtol=1e-10, atol=1e-12, err_msg=name)


def test_without_gradients_a_function_runs_once():
    for ops in (NumpyOps(), TorchOps(), Interposer(NumpyOps())):
        runs = []
        result = ops.checkpoint(lambda ops=ops, runs=runs: runs.append(1) or ops.asarray(X) * 2.0)
        np.testing.assert_array_equal(ops.to_numpy(result), 2 * X)
        assert len(runs) == 1


def test_the_tape_keeps_one_block_at_a_time():
    ops, x = NumpyOps(), np.linspace(0.1, 0.2, 20_000)

    def chain(checkpoint):
        def fun(ops, p):
            def block(x):
                for _ in range(10):
                    x = ops.exp(-x)
                return x

            x = p["x"]
            for _ in range(10):
                x = ops.checkpoint(block, x) if checkpoint else block(x)
            return ops.sum(x)

        return fun

    def peak(checkpoint):
        gc.collect()
        tracemalloc.start()
        ops.value_and_grad(chain(checkpoint), {"x": x})
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most / x.nbytes

    assert peak(False) > 95
    assert peak(True) < 40


# ---------------------------------------------------------------------- models


def stdit3(create=STDiT3.create, config=STDiT3Config, **fields):
    sizes = {"hidden_size": 24, "depth": 2, "num_heads": 2, "caption_channels": 8, "model_max_length": 5}
    return create(config(**sizes, **fields), RandomInit(0))


def noise(*shape):
    return np.random.default_rng(len(shape)).standard_normal(shape)


TIME, TEXT, FPS = np.array([300.0, 700.0]), noise(2, 5, 8), np.array([8.0])


def windowed(ops, model):
    text = model.encode_text(ops, ops.asarray(TEXT))
    z, t, fps = (ops.asarray(a) for a in (noise(2, 16, 2, 4, 4), TIME, FPS))
    return model.denoise(ops, z, t, text, None, fps, 32.0, 32.0)


def plain(ops, model):
    z, t, text, fps = (ops.asarray(a) for a in (noise(2, 4, 3, 4, 4), TIME, TEXT, FPS))
    return model(ops, z, t, text, fps=fps, height=32.0, width=32.0)


def streams(ops, model):
    given = (noise(2, 4, 8), TIME / 1000, noise(2, 3, 8), noise(2, 6), noise(2, 4, 12))
    return model(ops, *map(ops.asarray, given), (1, 2, 2))


MMDIT = MMDiTConfig(8, 6, 8, 16, num_heads=2, depth=1, depth_single_blocks=2, axes_dim=(2, 2, 4))
MODELS = {
    "STDiT3": (stdit3, plain),
    "WindowedSTDiT3": (lambda: stdit3(WindowedSTDiT3.create, WindowedConfig, kernel_size=(2, 1, -1)), windowed),
    "MMDiT": (lambda: MMDiT.create(MMDIT, RandomInit(0)), streams),
}


@pytest.mark.parametrize("name", MODELS)
def test_checkpointed_models_have_the_gradients_of_the_models(way, name):
    make, run = MODELS[name]
    model = make()
    params = {key: np.asarray(p + 0.05 * noise(*p.shape), "f8") for key, p in state_dict(model).items()}

    def loss(change):
        def fun(ops, p):
            out = run(ops, change(rebuild(model, p)))
            return ops.sum(out * out)

        return fun

    expected, found = (gradients(way, loss(change), **params) for change in (lambda m: m, checkpointed))
    assert_same_bits({"value": expected["value"]}, {"value": found["value"]})
    for key, g in expected.items():  # gradients of a weight that several blocks use are added up in another order
        np.testing.assert_allclose(found[key], g, rtol=1e-10, atol=1e-12 * np.abs(g).max(), err_msg=key)


def test_a_model_without_blocks_is_refused():
    with pytest.raises(InvalidInputError, match="Mlp has no field named"):
        checkpointed(Mlp.create(RandomInit(0), 2, 2, 2))


def test_the_checkpointed_model_lends_the_blocks_attributes():
    model = stdit3()
    assert checkpointed(model).spatial_blocks[1].mlp is model.spatial_blocks[1].mlp
    assert checkpointed(replace(model, spatial_blocks=())).spatial_blocks == ()
