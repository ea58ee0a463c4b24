"""The tests of the kernels in Python bite: every seeded fault shows in a few tiny cases, in some order of threads."""

import importlib
import types
from pathlib import Path

import numpy as np
import pytest

import opensora_kernels.numba_cuda.simulator as simulator  # first, so that kernels are simulated
from opensora_kernels.numba_cuda import (
    adamw,
    attention,
    conv,
    norm_kernel,
    norms,
    rotary,
    rotary_kernel,
    temporal_kernel,
)
from tests.kernels.cuda.emulated import assert_right, tables, video
from tests.kernels.cuda.emulated import norms as weights_of_norms
from tests.kernels.numba_cuda.faults import FAULTS

F32 = np.dtype(np.float32)
USERS = {  # who calls what
    **dict.fromkeys(("normalise", "gated_residual", "group_norm_silu"), (norms,)),
    **dict.fromkeys(("flash_attention", "temporal_attention"), (attention,)),
    **{"qk_norm_rope": (rotary,), "conv3d": (conv,), "adamw": (adamw,), "warp_max": (temporal_kernel,)},
    "warp_sum": (norm_kernel, temporal_kernel, rotary_kernel),
}


def nothing_else(file, name):
    raise AssertionError(f"{name} was asked for")


def draw(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(F32)


def along_time():
    rng = np.random.default_rng(0)
    qkv, kernels = video(rng, 1, 3, 1, 1, 38, F32), attention.NumbaAttention(np, nothing_else)
    assert_right(kernels.attention_3d(qkv, "temporal"), "attention_3d", qkv, "temporal")
    given = (*weights_of_norms(rng, 38, F32), *tables(rng, 3, 38))
    assert_right(kernels.attention_3d(qkv, "temporal", *given), "attention_3d", qkv, "temporal", *given)


def flash():
    q, k = draw(1, 3, 4), draw(1, 33, 4) * 3
    assert_right(attention.NumbaAttention(np, nothing_else).attention(q, k, k[:, ::-1]), "attention", q, k, k[:, ::-1])


def rows():
    kernels, x = norms.NumbaNorms(np, nothing_else), draw(2, 35) * 1e-3 + 0.01
    assert_right(kernels.layer_norm(x), "layer_norm", x)
    assert_right(kernels.gated_residual(x, x, x[:1]), "gated_residual", x, x, x[:1])
    x = draw(1, 6, 5)
    assert_right(kernels.group_norm(x, 2, x[0, :, 0], x[0, :, 1]), "group_norm", x, 2, x[0, :, 0], x[0, :, 1])


def rope():
    kernels, x, (cos, sin) = rotary.NumbaRotary(np, nothing_else), draw(6, 4), tables(np.random.default_rng(0), 6, 4)
    assert_right(kernels.rotary(x, cos, sin), "rotary", x, cos, sin)
    assert_right(kernels.rms_norm_rotary(x, x[0], cos, sin), "rms_norm_rotary", x, x[0], cos, sin)


def convolution():
    x, weight, options = draw(1, 2, 5, 4), draw(1, 2, 2, 3), ((2, 1), (0, 1))
    assert_right(conv.NumbaConv(np, nothing_else).conv(x, weight, None, *options), "conv", x, weight, None, *options)


def optimizer():
    """Of a first step from zero moments: the sign of the gradient, and decay."""
    w, g, factor = np.ones(3, F32), np.float32([2, -1, 3]), np.full(1, 0.25, F32)
    step = adamw.NumbaAdamW(np, nothing_else).step
    w, mean, _ = step(w, g, *np.zeros((2, 3), F32), 1, rate=0.1, weight_decay=0.5, factor=factor)
    np.testing.assert_allclose(w, 0.95 - 0.1 * np.sign(g), rtol=1e-5)
    np.testing.assert_allclose(mean, 0.1 * 0.25 * g, rtol=1e-5)


CASES = {"temporal_kernel": along_time, "flash_kernel": flash, "norm_kernel": rows, "rotary_kernel": rope}
CASES |= {"conv_kernel": convolution, "adamw_kernel": optimizer, "warp": along_time}


def shows(case):
    """Whether a case fails in some order of threads."""
    for name in simulator.ORDERS:
        try:
            with simulator.order(name):
                case()
        except (AssertionError, ArithmeticError, IndexError, RuntimeWarning, simulator.SimulationError):
            return True
    return False


def test_sound_kernels_pass():
    assert not any(shows(case) for case in CASES.values())


@pytest.mark.parametrize(("module", "before", "after"), [fault[1:] for fault in FAULTS], ids=[f[0] for f in FAULTS])
def test_a_fault_shows(monkeypatch, module, before, after):
    sound = importlib.import_module(f"opensora_kernels.numba_cuda.{module}")
    text = Path(sound.__file__).read_text()
    assert before in text, "the fault's place is gone"
    faulty = types.ModuleType(sound.__name__)
    faulty.__package__ = sound.__package__
    exec(compile(text.replace(before, after, 1), sound.__file__, "exec"), vars(faulty))
    for name in USERS.keys() & vars(faulty).keys():
        if getattr(vars(faulty)[name], "__module__", "") == sound.__name__:
            for user in USERS[name]:
                monkeypatch.setattr(user, name, vars(faulty)[name])
    assert shows(CASES[module])
