"""The tests of norms, activations, rope, convolution and AdamW bite: every seeded fault shows in a few tiny cases."""

import re
from functools import cache

import ml_dtypes
import numpy as np
import pytest

from opensora_kernels.cuda.activations import ActivationKernels
from opensora_kernels.cuda.adamw import AdamWKernels
from opensora_kernels.cuda.conv import ConvKernels
from opensora_kernels.cuda.group_norm_gradients import CHUNK, GroupNormGradients
from opensora_kernels.cuda.launching import SOURCES
from opensora_kernels.cuda.norm_gradients import NormGradients
from opensora_kernels.cuda.norms import PIECE, NormKernels
from opensora_kernels.cuda.rotary import RotaryKernels
from opensora_kernels.emulation import SCHEDULES, GuardedNumPy, LaunchError, guarded, schedule
from tests.kernels.cuda.emulated import Emulated, assert_right

from .faults_rows import (
    ACTIVATIONS,
    ADAMW,
    BACKWARD,
    CONV,
    FAULTS,
    GATED,
    GROUP,
    GROUP_BACKWARD,
    MODULATE,
    ROPE,
    ROWS,
    SOFTMAX,
)

KERNELS = {
    MODULATE: ("modulate<__nv_bfloat16, 1>", "modulate<float, 1>", "modulate_any<float>"),
    GATED: ("gated_residual<float, true>", "gated_residual<float, false>"),
    GROUP: ("group_norm<float>", "group_norm_sums<float>"),
    ACTIVATIONS: ("activate<float>",),
    SOFTMAX: ("softmax<float>",),
    ROPE: ("qk_norm_rope<float, 3>", "qk_norm_rope_any<float>"),
    CONV: ("conv3d<__half>", "conv3d<float>"),
    ADAMW: ("adamw<__half>", "adamw<float>"),
    BACKWARD: ("modulate_backward<float>",),
    GROUP_BACKWARD: ("group_norm_backward_sums<float>", "group_norm_to_x<float>"),
}
SHOWN_BY = {  # where faults of what is shared are looked for
    "axes swapped": MODULATE,
}


def file_of(fault):
    name, where, _, _ = fault
    return SHOWN_BY.get(name, GROUP) if where == ROWS else where


def in_a_namespace(file, name, before="", after=""):
    """The kernel's source with what it shares and may be faulty in it, under a name of its own."""
    shared = {CONV: ("attention.cuh",), ADAMW: (), BACKWARD: ()}.get(file, (ROWS,))
    text = "\n".join((SOURCES / source).read_text() for source in (*shared, file))
    assert before in text, f"{name}: the fault's place is gone: {before!r}"
    lines = text.replace(before, after, 1).splitlines() if before else text.splitlines()
    kept = [line for line in lines if not line.startswith(("#include", "#pragma once"))]
    undefined = [f"#undef {word}" for word in re.findall(r"#define (\w+)", "\n".join(kept))]
    return "\n".join((*undefined, f"namespace {name} {{", *kept, "}"))


@cache
def compiled(file):
    """All faulty variants of a source file, and the sound one, in one module."""
    variants = {"sound": ("", "")}
    variants |= {f"fault_{i}": fault[2:] for i, fault in enumerate(FAULTS) if file_of(fault) == file}
    code = "\n".join(('#include "numbers.cuh"', *(in_a_namespace(file, name, *v) for name, v in variants.items())))
    names = [f"{variant}::{name}" for variant in variants for name in KERNELS[file]]
    return Emulated({file: names}, code={file: code})


def draw(rng, *shape, dtype=np.float32, spread=1.0):
    return guarded((rng.standard_normal(shape) * spread).astype(dtype))


def modulate_cases(get):
    kernels, rng = NormKernels(GuardedNumPy(), get), np.random.default_rng(0)
    for D, dtype in ((36, np.float32), (35, np.float32), (36, ml_dtypes.bfloat16)):
        x, shift, scale = (draw(rng, 3, *axes, D, dtype=dtype) for axes in ((2, 3), (1, 1), (2, 1)))
        yield
        assert_right(kernels.modulate(x, shift, scale), "modulate", x, shift, scale)
        quiet = draw(rng, 1, D, dtype=dtype, spread=1e-3)
        assert_right(kernels.modulate(quiet, shift[0, 0], scale[0, 0]), "modulate", quiet, shift[0, 0], scale[0, 0])
        assert_right(kernels.rms_norm(x, shift[0, 0, 0]), "rms_norm", x, shift[0, 0, 0])


def gated_cases(get):
    kernels, rng = NormKernels(GuardedNumPy(), get), np.random.default_rng(0)
    for D in (132, 35):
        x, branch, gate = (draw(rng, *shape, D) for shape in ((2, 3, 1), (2, 3, 1), (2, 1, 1)))
        yield
        assert_right(kernels.gated_residual(x, branch, gate), "gated_residual", x, branch, gate)


def group_cases(get):
    kernels, rng = NormKernels(GuardedNumPy(), get), np.random.default_rng(1)
    weight, bias = draw(rng, 4), draw(rng, 4)
    for x, groups in ((draw(rng, 2, 4, 3), 2), (draw(rng, 1, 4, PIECE // 2), 1), (draw(rng, 1, 4, 5, 5, 3), 2)):
        yield
        x = guarded(x + np.arange(4, dtype=np.float32).reshape(1, 4, *[1] * (x.ndim - 2)) * 5)
        assert_right(kernels.group_norm(x, groups, weight, bias), "group_norm", x, groups, weight, bias)
    x = guarded(np.sort(draw(rng, 1, 1, 3 * PIECE + 5)))  # pieces and chunks of different means
    yield
    assert_right(kernels.group_norm(x, 1), "group_norm", x, 1)


def activation_cases(get):
    kernels, rng = ActivationKernels(GuardedNumPy(), get), np.random.default_rng(2)
    for n in (5, 4, 1027):
        x = draw(rng, n, spread=3)
        yield
        assert_right(kernels.silu(x), "silu", x)
        for form in ("tanh", "none"):
            assert_right(kernels.gelu(x, form), "gelu", x, form)


def softmax_cases(get):
    kernels, rng = ActivationKernels(GuardedNumPy(), get), np.random.default_rng(3)
    for n in (7, 32, 40):
        x = draw(rng, 5, n, spread=100)
        yield
        assert_right(kernels.softmax(x), "softmax", x)


def rope_cases(get):
    kernels, rng = RotaryKernels(GuardedNumPy(), get), np.random.default_rng(4)
    for D in (36, 34):
        keys, weight, angles = draw(rng, 3, 2, 3, 3, D)[:, :, 1], draw(rng, D), rng.uniform(-3, 3, (2, 1, D // 2))
        cos, sin = (guarded(t.astype(np.float32)) for t in (np.cos(angles), np.sin(angles)))
        yield
        assert_right(kernels.rms_norm_rotary(keys, weight, cos, sin), "rms_norm_rotary", keys, weight, cos, sin)


def conv_cases(get):
    kernels, rng = ConvKernels(GuardedNumPy(), get), np.random.default_rng(5)
    for dtype in (np.float16, np.float32):
        for shape, out, kernel, stride, padding in (
            ((2, 2, 3, 5, 4), 3, (2, 3, 2), (1, 1, 2), (1, 1, 1)),
            ((1, 5, 2, 9, 9), 66, (2, 2, 2), (1, 1, 1), (1, 1, 0)),
        ):
            arrays = [draw(rng, *s, dtype=dtype) for s in (shape, (out, shape[1], *kernel), (out,))]
            yield
            assert_right(kernels.conv(*arrays, stride, padding), "conv", *arrays, stride, padding)


def adamw_cases(get):
    rng = np.random.default_rng(6)
    for dtype in (np.float16, np.float32):
        start = rng.standard_normal(600).astype(dtype)
        weights, m, v = guarded(start), 0.0, 0.0
        mean, square = (guarded(np.zeros(600, np.float32)) for _ in range(2))
        yield
        for step in (1, 2):
            gradients = guarded((rng.standard_normal(600) * 1e-2).astype(dtype))
            p, g = np.float64(weights), np.float64(gradients) * 0.5
            weights, mean, square = AdamWKernels(GuardedNumPy(), get).step(
                weights, gradients, mean, square, step, 0.1, (0.9, 0.98), 1e-3, 0.3, np.array([0.5], np.float32)
            )
            m, v = 0.9 * m + 0.1 * g, 0.98 * v + 0.02 * g * g
            p = p * (1 - 0.03) - 0.1 * (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.98**step)) + 1e-3)
            np.testing.assert_allclose(weights, p, rtol=1e-3 if dtype == np.float16 else 1e-4, atol=1e-5)
            for got, want in ((mean, m), (square, v)):
                np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def backward_cases(get):
    gradients, rng = NormGradients(GuardedNumPy(), get), np.random.default_rng(7)
    x, grad, scale = draw(rng, 5, 3, 9), draw(rng, 5, 3, 9), draw(rng, 5, 1, 9)
    yield
    to_x, to_scale, to_shift = gradients.modulate(x, grad + np.float32(1), scale)
    wide, g = np.float64(x), np.float64(grad + np.float32(1))
    deviation = np.sqrt(wide.var(-1, keepdims=True) + 1e-6)
    y, flow = (wide - wide.mean(-1, keepdims=True)) / deviation, g * (1 + np.float64(scale))
    truth = (flow - flow.mean(-1, keepdims=True) - y * (flow * y).mean(-1, keepdims=True)) / deviation
    for got, want in ((to_x, truth), (to_scale, (g * y).sum(1, keepdims=True)), (to_shift, g.sum(1, keepdims=True))):
        np.testing.assert_allclose(got, want, atol=1e-5)


def group_backward_cases(get):
    sums = Emulated({GROUP: ("group_norm_sums<float>",)})

    def either(source, name):
        return sums(source, name) if source == GROUP else get(source, name)

    rng = np.random.default_rng(8)
    x, grad, weight, bias = draw(rng, 1, 4, CHUNK + 5), draw(rng, 1, 4, CHUNK + 5), draw(rng, 4), draw(rng, 4)
    grad = guarded(grad + np.float32(1))
    yield
    found = GroupNormGradients(GuardedNumPy(), either).gradients(x, grad, 2, weight, bias, silu=True)
    wide = np.float64(x).reshape(1, 2, -1)
    deviation = np.sqrt(wide.var(-1, keepdims=True) + 1e-6)
    y = ((wide - wide.mean(-1, keepdims=True)) / deviation).reshape(x.shape)
    u = y * weight[:, None] + bias[:, None]
    s = 1 / (1 + np.exp(-u))
    g = grad * s * (1 + u * (1 - s))
    flow, rows = (g * weight[:, None]).reshape(wide.shape), y.reshape(wide.shape)
    truth = (flow - flow.mean(-1, keepdims=True) - rows * (flow * rows).mean(-1, keepdims=True)) / deviation
    for got, want in zip(found, (truth.reshape(x.shape), (g * y).sum((0, 2)), g.sum((0, 2))), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-3 if got.ndim == 1 else 1e-5)


CASES = {
    **{MODULATE: modulate_cases, GATED: gated_cases, GROUP: group_cases, GROUP_BACKWARD: group_backward_cases},
    **{ACTIVATIONS: activation_cases, SOFTMAX: softmax_cases, ROPE: rope_cases, CONV: conv_cases},
    **{ADAMW: adamw_cases, BACKWARD: backward_cases},
}


def run(file, variant):
    """All cases in all orders; stops at the first that shows the fault."""
    emulated = compiled(file)
    for order in SCHEDULES:
        with schedule(order):
            for _ in CASES[file](lambda source, name: emulated(source, f"{variant}::{name}")):
                pass


@pytest.fixture(autouse=True)
def small_grids(monkeypatch):
    monkeypatch.setattr("opensora_kernels.cuda.norms.MOST_CHUNKS", 2)
    monkeypatch.setattr("opensora_kernels.cuda.adamw.MOST_BLOCKS", 1)


@pytest.mark.parametrize("file", KERNELS)
def test_the_sound_kernels_pass(file):
    run(file, "sound")


@pytest.mark.filterwarnings("ignore:::numpy", "ignore::RuntimeWarning")  # NaN in what is faulty
@pytest.mark.parametrize("number", range(len(FAULTS)), ids=[fault[0].replace(" ", "-") for fault in FAULTS])
def test_a_seeded_fault_shows(number):
    with pytest.raises((LaunchError, AssertionError)):
        run(file_of(FAULTS[number]), f"fault_{number}")
