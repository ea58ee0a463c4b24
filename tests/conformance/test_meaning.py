"""What the fused ops mean, against formulas that share no line with their default compositions."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from opensora_backends.numpy_ops import NumpyOps
from opensora_backends.torch_ops import TorchOps
from opensora_core.errors import InvalidInputError
from opensora_core.interpose import Strict
from opensora_core.testing.running import vanilla

RNG = np.random.default_rng(3)
BACKENDS = {"numpy": NumpyOps(), "vanilla": vanilla(NumpyOps)(), "torch": TorchOps()}


def normal(*shape):
    return RNG.standard_normal(shape)


def run(backend, name, *args):
    ops = BACKENDS[backend]
    return ops.to_numpy(getattr(ops, name)(*(ops.asarray(a) if isinstance(a, np.ndarray) else a for a in args)))


def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


@pytest.fixture(params=BACKENDS)
def backend(request):
    return request.param


def test_rms_norm(backend):
    x, w = normal(3, 5), normal(5)
    expected = F.rms_norm(torch.tensor(x), (5,), torch.tensor(w), 1e-5).numpy()
    np.testing.assert_allclose(run(backend, "rms_norm", x, w, 1e-5), expected, rtol=1e-12)


def test_modulate_is_adaptive_layer_norm(backend):
    x, shift, scale = normal(2, 3, 4), normal(2, 1, 4), normal(2, 1, 4)
    y = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
    np.testing.assert_allclose(run(backend, "modulate", x, shift, scale), y * (1 + scale) + shift, rtol=1e-10)


def test_group_norm_silu_is_silu_of_the_group_norm(backend):
    x, w, b = normal(2, 4, 3), normal(4), normal(4)
    y = run(backend, "group_norm", x, 2, w, b)
    np.testing.assert_allclose(run(backend, "group_norm_silu", x, 2, w, b), y / (1 + np.exp(-y)), rtol=1e-9)


def test_the_first_step_of_adamw_goes_the_rate_against_the_sign(backend):
    param, grad, none = normal(2, 3), normal(2, 3), np.zeros((2, 3))
    ops = BACKENDS[backend]
    new, mean, square = ops.adamw_step(*map(ops.asarray, (param, grad, none, none)), 1, 0.1, weight_decay=0.5)
    np.testing.assert_allclose(ops.to_numpy(new), param * 0.95 - 0.1 * np.sign(grad), rtol=1e-6)
    np.testing.assert_allclose(ops.to_numpy(mean), 0.1 * grad, rtol=1e-9)
    np.testing.assert_allclose(ops.to_numpy(square), 0.001 * grad**2, rtol=1e-9)


def test_queries_are_normed_and_then_turned(backend):
    x, weight, angle = normal(2, 3, 6), normal(6), normal(3, 3)
    y = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * weight
    turned = (y[..., 0::2] + 1j * y[..., 1::2]) * np.exp(1j * angle)
    got = run(backend, "rms_norm_rotary", x, weight, np.cos(angle), np.sin(angle))
    np.testing.assert_allclose(got[..., 0::2] + 1j * got[..., 1::2], turned, rtol=1e-9)


def test_a_gated_residual_lets_the_branch_in_by_its_gate(backend):
    x, branch, gate = normal(2, 3, 4), normal(2, 3, 4), normal(2, 1, 4)
    np.testing.assert_allclose(run(backend, "gated_residual", x, branch, gate), x + gate * branch, rtol=1e-12)


def test_rotary_turns_complex_numbers(backend):
    x, angle = normal(2, 3, 6), normal(3, 3)
    turned = (x[..., 0::2] + 1j * x[..., 1::2]) * np.exp(1j * angle)
    expected = np.stack([turned.real, turned.imag], -1).reshape(x.shape)
    np.testing.assert_allclose(run(backend, "rotary", x, np.cos(angle), np.sin(angle)), expected, rtol=1e-12)


def test_attention_written_out_row_by_row(backend):
    q, k, v, mask = normal(3, 4), normal(5, 4), normal(5, 2), RNG.random((3, 5)) > 0.4
    mask[1] = False
    rows = [softmax(k[m] @ r / 2.0) @ v[m] if m.any() else np.zeros(2) for r, m in zip(q, mask, strict=True)]
    np.testing.assert_allclose(run(backend, "attention", q, k, v, mask), rows, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("pattern", ["spatial", "temporal", "full"])
def test_attention_3d_is_full_attention_under_a_mask(backend, pattern):
    T, S, D = 3, 4, 6
    qkv, w = normal(2, T, S, 3, 2, D), normal(2, D)
    frame, place = np.divmod(np.arange(T * S), S)
    of = {"spatial": (frame, place), "temporal": (place, frame), "full": (0 * frame, np.arange(T * S))}
    group, position = of[pattern]
    angle = np.outer(np.arange(T * S), [1.0, 0.1, 0.01])[: position.max() + 1]

    def prepare(x, weight):
        x = x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-6) * weight
        z = (x[..., 0::2] + 1j * x[..., 1::2]) * np.exp(1j * angle[position])
        return np.stack([z.real, z.imag], -1).reshape(x.shape)

    q, k, v = qkv.reshape(2, T * S, 3, 2, D).transpose(2, 0, 3, 1, 4)
    logits = prepare(q, w[0]) @ prepare(k, w[1]).swapaxes(-1, -2) / np.sqrt(D)
    expected = softmax(np.where(group[:, None] == group, logits, -np.inf)) @ v
    got = run(backend, "attention_3d", qkv, pattern, w[0], w[1], np.cos(angle), np.sin(angle))
    np.testing.assert_allclose(got, expected.transpose(0, 2, 1, 3).reshape(2, T, S, 2, D), rtol=1e-9, atol=1e-12)


def test_conv_written_out_as_sums(backend):
    x, w, b = normal(1, 2, 5, 4), normal(3, 2, 3, 2), normal(3)
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (0, 0)))
    expected = np.empty((1, 3, 3, 3))
    for o, i, j in np.ndindex(3, 3, 3):
        expected[0, o, i, j] = np.sum(padded[0, :, 2 * i : 2 * i + 3, j : j + 2] * w[o]) + b[o]
    np.testing.assert_allclose(run(backend, "conv", x, w, b, (2, 1), (1, 0)), expected, rtol=1e-10)


def test_group_norm_normalises_runs_of_channels(backend):
    x, w, b = normal(2, 6, 3), normal(6), normal(6)
    rows = x.reshape(2, 2, 9)
    y = ((rows - rows.mean(-1, keepdims=True)) / np.sqrt(rows.var(-1, keepdims=True) + 1e-6)).reshape(x.shape)
    np.testing.assert_allclose(run(backend, "group_norm", x, 2, w, b), y * w[:, None] + b[:, None], rtol=1e-9)


def test_slice_and_pad_are_adjoint(backend):
    x, y = normal(7, 4), normal(3, 2)
    cut = run(backend, "slice", x, (1, 0), (6, 4), (2, 3))
    padded = run(backend, "pad", y, (1, 0), (1, 0), (1, 2))
    assert padded.shape == x.shape
    np.testing.assert_allclose(np.sum(cut * y), np.sum(x * padded))


def test_take_and_index_add_are_adjoint(backend):
    x, y, at = normal(2, 5), normal(2, 4), np.array([4, 0, 4, 2])
    taken = run(backend, "take", x, at, 1)
    added = run(backend, "index_add", np.zeros((2, 5)), at, y, 1)
    np.testing.assert_allclose(np.sum(taken * y), np.sum(x * added))


@pytest.mark.parametrize("name", ["numpy", "vanilla"])
def test_what_an_op_cannot_do_is_said(name):
    with pytest.raises(InvalidInputError, match="'windowed' is not one of spatial, temporal, full"):
        run(name, "attention_3d", normal(1, 1, 1, 3, 1, 2), "windowed")
    with pytest.raises(InvalidInputError, match=r"kernel \[3\] does not fit an input that is \[2\]"):
        run(name, "conv", normal(1, 1, 2), normal(1, 1, 3))


def test_strides_are_one_for_each_axis():
    with pytest.raises(ValueError, match=r"shorter|longer"):
        run("vanilla", "conv", normal(1, 1, 4), normal(1, 1, 2), None, (1, 2))


def test_a_vector_is_a_row_to_a_linear_map():
    ops, x, weight = Strict(NumpyOps()), normal(3), normal(2, 3)  # which refuses products of vectors
    np.testing.assert_allclose(ops.to_numpy(ops.linear(ops.asarray(x), ops.asarray(weight))), weight @ x)
