"""A small network of every kind of layer: three ways to its gradients agree, and Torch compiles it to one graph."""

import warnings

import numpy as np
import pytest

from opensora_backends.numpy_ops import NumpyOps
from opensora_backends.torch_ops import TorchOps
from opensora_core.autodiff import Autodiff
from opensora_core.derived import mean, rearrange, split
from opensora_core.interpose import WHOLE, Interposer, Strict

B, C, T, H, W, D, HEADS = 2, 3, 3, 4, 4, 16, 2
RNG = np.random.default_rng(11)


def normal(*shape):
    return (RNG.standard_normal(shape) * shape[-1] ** -0.5).astype(np.float32)


PARAMS = {
    "patch.weight": normal(D, C, 1, 2, 2), "patch.bias": normal(D),
    "time.weight": normal(6 * D, D), "time.bias": normal(6 * D),
    "qkv.weight": normal(3 * D, D), "qkv.bias": normal(3 * D),
    "q_norm": 1 + normal(D // HEADS), "k_norm": 1 + normal(D // HEADS),
    "proj.weight": normal(D, D), "up.weight": normal(4 * D, D), "down.weight": normal(D, 4 * D), "words": normal(7, D),
    "final.weight": 1 + normal(D), "final.bias": normal(D),
}  # fmt: skip
ANGLES = np.outer(np.arange(T), [1.0, 0.3, 0.1, 0.03]).astype(np.float32)
INPUTS = {
    "video": RNG.standard_normal((B, C, T, H, W)).astype(np.float32), "time": normal(B, D),
    "caption": np.array([3, 1, 3, 6]), "mask": np.array([True, True, True, False]),
    "cos": np.cos(ANGLES), "sin": np.sin(ANGLES),
}  # fmt: skip


def network(ops, p, video, time, caption, mask, cos, sin):
    x = ops.conv(video, p["patch.weight"], p["patch.bias"], stride=(1, 2, 2))  # (B, D, T, H/2, W/2)
    S = H * W // 4
    x = rearrange(ops, x, "b d t h w -> b (t h w) d")
    gates = ops.linear(ops.silu(time), p["time.weight"], p["time.bias"])
    gates = [ops.reshape(g, (B, 1, D)) for g in split(ops, gates, 6, axis=-1)]
    qkv = ops.linear(ops.modulate(x, gates[0], gates[1]), p["qkv.weight"], p["qkv.bias"])
    qkv = ops.reshape(qkv, (B, T, S, 3, HEADS, D // HEADS))
    for pattern, tables in (("spatial", (None, None)), ("temporal", (cos, sin))):
        h = ops.attention_3d(qkv, pattern, p["q_norm"], p["k_norm"], *tables)
        x = x + gates[2] * ops.linear(ops.reshape(h, (B, T * S, D)), p["proj.weight"])
    words = ops.take(p["words"], caption)
    words = ops.broadcast_to(words[None], (B, *words.shape))
    x = x + ops.attention(x, words, words, mask)
    h = ops.linear(ops.gelu(ops.linear(ops.modulate(x, gates[3], gates[4]), p["up.weight"])), p["down.weight"])
    return ops.layer_norm(x + gates[5] * h, p["final.weight"], p["final.bias"])


def loss_and_gradients(differentiate, ops):
    inputs = {name: ops.asarray(x) for name, x in INPUTS.items()}
    params = {name: ops.asarray(x) for name, x in PARAMS.items()}

    def loss(o, p):
        y = network(o, p, **inputs)
        return mean(o, (y - 1.0) ** 2.0)

    value, grads = differentiate(loss, params)
    return float(ops.to_numpy(value)), {name: ops.to_numpy(g) for name, g in grads.items()}


@pytest.fixture(scope="module")
def native():
    ops = TorchOps()
    return loss_and_gradients(ops.value_and_grad, ops)


@pytest.mark.parametrize("ops", [NumpyOps(), TorchOps(), Strict(NumpyOps())], ids=lambda ops: ops.name)
@pytest.mark.parametrize("units", ["fused", "compositions"])
def test_the_tape_agrees_with_native_autograd(native, ops, units):
    tape = Autodiff(ops) if units == "fused" else Autodiff(ops, units=())
    value, grads = loss_and_gradients(tape.differentiate, ops)
    assert value == pytest.approx(native[0], rel=1e-5)
    for name, expected in native[1].items():
        error = np.linalg.norm(grads[name] - expected) / np.linalg.norm(expected)
        assert error < 1e-5, f"{name}: relative error {error:.2g}"


def test_an_interposer_changes_nothing():
    ops = NumpyOps()
    plain = network(ops, PARAMS, **INPUTS)
    watched = Interposer(ops, units=WHOLE)
    np.testing.assert_array_equal(watched.to_numpy(network(watched, PARAMS, **INPUTS)), plain)


def test_torch_compiles_it_to_one_graph_without_breaks():
    ops = TorchOps()
    params = {name: ops.asarray(x) for name, x in PARAMS.items()}
    inputs = {name: ops.asarray(x) for name, x in INPUTS.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer's own imports
        import torch._dynamo

        torch._dynamo.reset()
        report = torch._dynamo.explain(lambda p, i: network(ops, p, **i))(params, inputs)
    assert (report.graph_count, report.graph_break_count) == (1, 0), report.break_reasons
    assert report.op_count > 50
