"""Norms, activations, rope and convolution reach our kernels; what they do not take is composed."""

from __future__ import annotations

import numpy as np
import pytest

from opensora_core.dit.blocks import STDiT3Block
from opensora_core.dit.config import STDiT3Config
from opensora_core.errors import InvalidInputError
from opensora_core.module import to_backend
from opensora_core.nn.init import RandomInit
from opensora_core.training.optimizer import AdamW
from tests.backends.cuda.fake import NUMPY, close, random


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("op", ["layer_norm", "rms_norm", "modulate"])
def test_norms_are_one_launch(ops, launches, dtype, op):
    x, x64 = random(ops, dtype, 2, 3, 5, 8)
    a, a64 = random(ops, dtype, *((2, 1, 1) if op == "modulate" else ()), 8, seed=1)
    b, b64 = (a, a64) if op != "rms_norm" else (None, None)
    args, args64 = ([v for v in (x, a, b) if v is not None], [v for v in (x64, a64, b64) if v is not None])
    close(ops, getattr(ops, op)(*args), getattr(NUMPY, op)(*args64), dtype)
    assert [name.partition("<")[0] for name in launches] == ["modulate"]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("op", "options", "kernel"),
    [
        ("gelu", (), "activate"),
        ("gelu", ("none",), "activate"),
        ("silu", (), "activate"),
        ("softmax", (), "softmax"),
        ("softmax", (2,), "softmax"),
        ("group_norm", (3,), "group_norm"),
        ("group_norm_silu", (3,), "group_norm"),
    ],
)
def test_activations_softmax_and_group_norm_are_one_launch(ops, launches, dtype, op, options, kernel):
    x, x64 = random(ops, dtype, 2, 6, 5)
    close(ops, getattr(ops, op)(x, *options), getattr(NUMPY, op)(x64, *options), dtype)
    assert [name.partition("<")[0] for name in launches] == [kernel]


def test_rope_is_one_launch_whatever_the_tables_dtype(ops, launches):
    x, x64 = random(ops, "bfloat16", 2, 3, 5, 8)
    angles = np.arange(5)[:, None] * np.ones(4)
    cos, sin = np.cos(angles), np.sin(angles)
    got = ops.rotary(x, ops.asarray(cos), ops.asarray(sin.astype(np.float32)))
    close(ops, got, NUMPY.rotary(x64, cos, sin), "bfloat16")
    weight, weight64 = random(ops, "bfloat16", 8, seed=1)
    got = ops.rms_norm_rotary(x, weight * 0.5, ops.asarray(cos), ops.asarray(sin))
    close(ops, got, NUMPY.rms_norm_rotary(x64, weight64 * 0.5, cos, sin), "bfloat16")
    assert [name.partition("<")[0] for name in launches] == ["qk_norm_rope"] * 2


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_convolution_is_one_launch(ops, launches, dtype):
    (x, x64), (weight, weight64) = random(ops, dtype, 2, 3, 4, 5, 6), random(ops, dtype, 2, 3, 3, 1, 2)
    bias, bias64 = random(ops, dtype, 2)
    for options in ({}, {"stride": (2, 1, 3), "padding": (1, 0, 1)}):
        got = ops.conv(x, weight * 0.25, bias, **options)
        close(ops, got, NUMPY.conv(x64, weight64 * 0.25, bias64, **options), dtype)
    assert [name.partition("<")[0] for name in launches] == ["conv3d"] * 2


def test_a_kernel_too_large_for_its_input_is_refused_as_by_every_backend(ops):
    with pytest.raises(InvalidInputError, match=r"a kernel \[5\] does not fit an input that is \[3\]"):
        ops.conv(ops.full((1, 1, 3), 1.0), ops.full((1, 1, 5), 1.0))


def test_softmax_along_another_axis_is_composed(ops, launches):
    x, x64 = random(ops, "float32", 3, 4, 5)
    close(ops, ops.softmax(x, axis=1), NUMPY.softmax(x64, axis=1), "float32")
    assert launches == []


def test_what_no_kernel_takes_is_composed(ops, launches):
    x, x64 = random(ops, "float64", 3, 8)
    np.testing.assert_allclose(ops.to_numpy(ops.layer_norm(x)), NUMPY.layer_norm(x64), rtol=1e-12)
    x, x64 = random(ops, "float32", 3, 8)
    weight, weight64 = random(ops, "bfloat16", 8)
    close(ops, ops.rms_norm(x, weight), NUMPY.rms_norm(x64, weight64), "bfloat16")
    assert launches == []
    close(ops, ops.modulate(x, x[:, :1], x), NUMPY.modulate(x64, x64[:, :1], x64), "float32")
    assert len(launches) == 1  # of the layer norm inside


def test_an_array_of_the_host_is_refused(ops):
    with pytest.raises(InvalidInputError, match="layer_norm got a ndarray, which is not on the GPU"):
        ops.layer_norm(np.zeros((2, 3), np.float32))


def test_a_block_of_the_model_launches_the_gated_residual(ops, launches):
    config = STDiT3Config(hidden_size=8, num_heads=2, depth=1, caption_channels=8)
    block = to_backend(ops, STDiT3Block.create(RandomInit(0), config, temporal=False))
    x, _ = random(ops, "float32", 1, 2, 3, 8)
    modulation, _ = random(ops, "float32", 1, 1, 6, 8)
    text = block.cross_attn.project_text(ops, x[:, 0])
    block(ops, x, modulation, text, None, None)
    ours = [name for name in launches if name.startswith(("modulate<", "gated_residual<"))]
    assert ours == ["modulate<float, 1>", "gated_residual<float, true>"] * 2
    launches.clear()
    gated, again = ops.gated_residual(x, x, modulation[:, :, 0]), x + modulation[:, :, 0] * x
    close(ops, gated, ops.to_numpy(again), "float32")
    assert launches == ["gated_residual<float, true>"]


def test_a_step_of_the_optimizer_is_one_launch(ops, launches):
    (p, p64), (g, g64) = random(ops, "float32", 3, 5), random(ops, "float32", 3, 5, seed=1)
    params, wide, adam = {"w": p}, {"w": p64}, AdamW(weight_decay=0.1)
    state, wide_state = adam.init(ops, params), adam.init(NUMPY, wide)
    for step in (1, 2):
        params, state = adam.update(ops, params, {"w": g}, state, step, rate=0.1)
        wide, wide_state = adam.update(NUMPY, wide, {"w": g64}, wide_state, step, rate=0.1)
    close(ops, params["w"], wide["w"], "float32")
    assert launches == ["adamw<float>"] * 2
    close(ops, p, p64, "float32")  # is what it was
    half, _ = random(ops, "bfloat16", 7)
    new, _, _ = ops.adamw_step(half, half, *(ops.full((7,), 0.0),) * 2, 1, 0.0)
    assert launches[2:] == ["adamw<__nv_bfloat16>"]
    np.testing.assert_array_equal(ops.to_numpy(new), ops.to_numpy(half))


def test_a_recorded_norm_is_replayed(ops):
    compiled = ops.compile(lambda x, shift, scale: ops.modulate(x, shift, scale))
    for seed in range(3):
        (x, x64), (shift, shift64), (scale, scale64) = (random(ops, "float32", n, 8, seed=seed + n) for n in (5, 1, 1))
        close(ops, compiled(x, shift, scale), NUMPY.modulate(x64, shift64, scale64), "float32")
