"""The tape's gradient of attention comes from our backward kernels, and is NumPy's."""

from __future__ import annotations

import numpy as np
import pytest

from opensora_core.autodiff import Autodiff
from opensora_kernels.cupy_on_cpu import STATE
from tests.backends.cuda.fake import NUMPY

GROUP_BACKWARD = ["group_norm_sums", "group_norm_backward_sums", "group_norm_to_x"]


def loss(mask=None, scale=None):
    def fun(o, p):
        out = o.attention(p["q"], p["k"], p["v"], mask=None if mask is None else o.asarray(mask), scale=scale)
        return o.sum(o.widen(out) * o.widen(out) * o.asarray(np.linspace(-1, 1, out.shape[-1], dtype=np.float32)))

    return fun


def params(dtype, *shapes):
    rng = np.random.default_rng(0)
    return {name: rng.standard_normal(s).astype(np.dtype(dtype)) for name, s in zip("qkv", shapes, strict=True)}


def gradients(ops, host, fun):
    value, grads = ops.value_and_grad(fun, {name: ops.asarray(x) for name, x in host.items()})
    return [np.asarray(ops.to_numpy(x)).astype(np.float64) for x in (value, *grads.values())]


@pytest.mark.parametrize(
    ("dtype", "D", "kernel", "tolerance"),
    [
        ("float32", 6, "attention_backward_plain<float, 1, ", 1e-5),
        ("bfloat16", 8, "attention_backward<__nv_bfloat16, 8, ", 8e-2),
    ],
)
def test_a_gradient_is_numpys(ops, dtype, D, kernel, tolerance):
    host = params(dtype, (2, 2, 5, D), (2, 2, 7, D), (2, 2, 7, D))
    mask = np.arange(7) < np.array([3, 0])[:, None, None, None]  # the second attends to nothing
    for fun in (loss(), loss(mask, 0.3)):
        STATE.launches.clear()
        got = gradients(ops, host, fun)
        assert sum(name.startswith(kernel) for name in STATE.launches) == 2  # for queries, and for keys and values
        want = gradients(NUMPY, {name: x.astype(np.float64) for name, x in host.items()}, fun)
        for x, y in zip(got, want, strict=True):
            np.testing.assert_allclose(x, y, rtol=0, atol=tolerance * max(1, np.abs(y).max()))


def test_what_was_broadcast_gets_the_sum(ops):
    host = params("float32", (2, 3, 4, 6), (1, 3, 5, 6), (5, 6))
    got = gradients(ops, host, loss())
    want = gradients(NUMPY, {name: x.astype(np.float64) for name, x in host.items()}, loss())
    assert [x.shape for x in got] == [(), *(x.shape for x in host.values())]
    for x, y in zip(got, want, strict=True):
        np.testing.assert_allclose(x, y, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("dtype", "D"), [("float64", 6), ("float32", 300)])
def test_what_no_kernel_takes_goes_by_the_rule(ops, dtype, D):
    STATE.launches.clear()
    host = params(dtype, (1, 3, D), (1, 4, D), (1, 4, D))
    got, want = gradients(ops, host, loss()), gradients(NUMPY, host, loss())
    for x, y in zip(got, want, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-4)
    assert not any("attention" in name for name in STATE.launches)


def test_second_derivatives_pass_through(ops):
    host = params("float32", (1, 3, 6), (1, 4, 6), (1, 4, 6))

    def sum_of_gradients(o, p):
        _, grads = Autodiff(o).differentiate(loss(), p)
        return o.sum(grads["q"] * grads["q"])

    got, want = (gradients(o, host, sum_of_gradients) for o in (ops, NUMPY))
    for x, y in zip(got, want, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-3)


def test_the_same_gradient_has_the_same_bits(ops):
    host = params("float32", (1, 2, 40, 6), (1, 2, 35, 6), (1, 2, 35, 6))
    first, second = (gradients(ops, host, loss()) for _ in range(2))
    for x, y in zip(first, second, strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize(
    ("op", "args", "forward", "backward"),
    [
        ("layer_norm", "xwb", "modulate", ["modulate_backward"]),
        ("layer_norm", "x", "modulate", ["modulate_backward"]),
        ("rotary", "xcs", "qk_norm_rope", ["qk_norm_rope"]),
        ("group_norm", "xwb", "group_norm", GROUP_BACKWARD),
        ("group_norm_silu", "xwb", "group_norm", GROUP_BACKWARD),
    ],
)
def test_gradients_of_norms_and_rope_are_by_kernels(ops, op, args, forward, backward):
    rng = np.random.default_rng(1)
    channels = (6,) if op.startswith("group") else (8,)
    shapes = {"x": (2, 6, 8), "w": channels, "b": channels, "c": (6, 4), "s": (6, 4)}
    host = {name: rng.standard_normal(shapes[name]).astype(np.float32) for name in args}

    def fun(o, p):
        x, *others = (p[name] if name in p else o.asarray(host[name]) for name in args)
        out = getattr(o, op)(x, *([3] if op.startswith("group") else []), *others)
        return o.sum(out * out * out)

    tracked = {name: x for name, x in host.items() if name not in "cs"}
    STATE.launches.clear()
    got, want = gradients(ops, tracked, fun), gradients(NUMPY, tracked, fun)
    for x, y in zip(got, want, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-3)
    assert [name.partition("<")[0] for name in STATE.launches] == [forward, *backward]


@pytest.mark.parametrize("op", ["rms_norm", "modulate"])
def test_gradients_of_norms_are_numpys(ops, op):
    """In one launch for the result and one for all gradients; shift has another shape than scale."""
    shapes = {"x": (2, 3, 5, 8), "scale": (2, 1, 1, 8) if op == "modulate" else (8,), "shift": (1, 3, 1, 8)}
    names = ["x", "shift", "scale"] if op == "modulate" else ["x", "scale"]
    rng = np.random.default_rng(0)
    host = {name: rng.standard_normal(shapes[name]).astype(np.float32) for name in names}

    def fun(o, p):
        out = getattr(o, op)(*(p[name] for name in names))
        return o.sum(out * out * out)

    STATE.launches.clear()
    got, want = gradients(ops, host, fun), gradients(NUMPY, host, fun)
    assert [x.shape for x in got[1:]] == [shapes[name] for name in names]
    for x, y in zip(got, want, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-3)
    assert [name.partition("<")[0] for name in STATE.launches] == ["modulate", "modulate_backward"]
