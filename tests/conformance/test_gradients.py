"""Every rule of the tape, to second order, and the tape against Torch's own autograd."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from opensora_backends.numpy_ops import NumpyOps
from opensora_backends.torch_ops import TorchOps
from opensora_core.autodiff import Autodiff
from opensora_core.autodiff.fused_rules import FUSED_RULES
from opensora_core.autodiff.rules import RULES
from opensora_core.ops import FUSED
from opensora_core.testing.gradients import check_grads
from opensora_core.testing.running import arrays_in, lay_out, map_arrays
from opensora_core.testing.table import TABLE

RNG = np.random.default_rng(7)
PICK = np.array([2, 0, 2, 1])
MASK = np.array([[True, False, True], [False, False, False]])


def normal(*shape):
    return RNG.standard_normal(shape)


def positive(*shape):
    return RNG.uniform(0.5, 2.0, shape)


ONE_LINE_A_RULE = [
    ("negative", lambda o, x: o.negative(x) * x, normal(2, 3)),
    ("exp", lambda o, x: o.exp(x), normal(2, 3)),
    ("log", lambda o, x: o.log(x), positive(2, 3)),
    ("sqrt", lambda o, x: o.sqrt(x), positive(2, 3)),
    ("sin", lambda o, x: o.sin(x), normal(2, 3)),
    ("cos", lambda o, x: o.cos(x), normal(2, 3)),
    ("tanh", lambda o, x: o.tanh(x), normal(2, 3)),
    ("erf", lambda o, x: o.erf(x), normal(2, 3)),
    ("add", lambda o, a, b: (a + b) * a, normal(2, 1), normal(4, 1, 3)),
    ("subtract", lambda o, a, b: (a - b) * b, normal(3), normal(2, 1)),
    ("multiply", lambda o, a, b: a * b * a, normal(2, 1), normal(3)),
    ("multiply", lambda o, a: 3.0 * a * a, normal(2, 1)),
    ("divide", lambda o, a, b: a / b, normal(2, 3), positive(3)),
    ("divide", lambda o, b: 2.0 / b, positive(2, 1)),
    ("pow", lambda o, a, b: a**b, positive(2, 3), normal(3)),
    ("pow", lambda o, a: a**3 + a**0, normal(2, 3)),
    ("pow", lambda o, b: 2.0**b, normal(2, 3)),
    ("maximum", lambda o, a, b: o.maximum(a, b) * a, normal(2, 3), normal(2, 1)),
    ("where", lambda o, a, b: o.where(o.asarray(MASK), a * b, b * b), normal(2, 3), normal(3)),
    ("astype", lambda o, x: o.astype(x, "float64") * x, normal(2)),
    ("asarray", lambda o, x: o.asarray(x, "float64") * x, normal(2)),
    ("matmul", lambda o, a, b: a @ b, normal(2, 1, 3, 4), normal(5, 4, 2)),
    ("sum", lambda o, x: o.sum(x * x, axis=(0, -1)) * o.sum(x), normal(2, 3, 4)),
    ("sum", lambda o, x: o.sum(x * x, axis=1, keepdims=True) * x, normal(2, 3)),
    ("max", lambda o, x: o.max(x * x, axis=1) * o.max(x, axis=(0, 1), keepdims=True), normal(2, 3)),
    ("reshape", lambda o, x: o.reshape(x * x, (-1, 2)), normal(2, 3)),
    ("permute_dims", lambda o, x: o.permute_dims(x * x, (2, 0, -2)), normal(2, 3, 4)),
    ("broadcast_to", lambda o, x: o.broadcast_to(x * x, (4, 2, 3)), normal(2, 1)),
    ("concat", lambda o, a, b: o.concat([a * b, b, a * a], axis=-1), normal(2, 3), normal(2, 3)),
    ("slice", lambda o, x: (x * x)[1:, None, ::2], normal(3, 4)),
    ("slice", lambda o, x: o.slice(x * x, (0, 2), (3, 2), (1, 1)), normal(3, 4)),
    ("pad", lambda o, x: o.pad(x * x, (1, 0), (0, 2), (2, 1)), normal(3, 2)),
    ("take", lambda o, x: o.take(x * x, o.asarray(PICK), axis=-1), normal(2, 3)),
    ("index_add", lambda o, x, v: o.index_add(x * x, o.asarray(PICK), v * v, axis=1), normal(2, 3), normal(2, 4)),
    ("linear", lambda o, x, w, b: o.linear(x, w, b), normal(2, 3, 4), normal(5, 4), normal(5)),
    ("linear", lambda o, x, w: o.linear(x * x, w), normal(4), normal(5, 4)),
    ("gelu", lambda o, x: o.gelu(x), normal(2, 3)),
    ("gelu", lambda o, x: o.gelu(x, "none"), normal(2, 3)),
    ("softmax", lambda o, x: o.softmax(x, axis=0), normal(3, 2)),
    ("modulate", lambda o, x, a, b: o.modulate(x, a, b), normal(2, 3, 4), normal(2, 1, 4), normal(4)),
    ("gated_residual", lambda o, x, y, a: o.gated_residual(x * y, y, a), normal(2, 3), normal(2, 3), normal(3)),
    ("rms_norm", lambda o, x, w: o.rms_norm(x, w), normal(2, 4), normal(4)),
    ("attention", lambda o, q, k, v: o.attention(q, k, v), normal(2, 3, 4), normal(2, 5, 4), normal(2, 5, 4)),
    ("attention", lambda o, q, k, v: o.attention(q, k, v, o.asarray(MASK), 0.7), normal(2, 4), *normal(2, 3, 4)),
    ("silu", lambda o, x: o.silu(x), normal(2, 3)),
    ("layer_norm", lambda o, x, w, b: o.layer_norm(x, w, b), normal(2, 4), normal(4), normal(4)),
    ("group_norm", lambda o, x, w, b: o.group_norm(x, 2, w, b), normal(2, 4, 3), normal(4), normal(4)),
    ("group_norm_silu", lambda o, x, w, b: o.group_norm_silu(x, 2, w, b), normal(2, 4, 3), normal(4), normal(4)),
    ("rotary", lambda o, x, c, s: o.rotary(x * x, c, s), normal(2, 3, 4), normal(3, 2), normal(3, 2)),
    (
        "rms_norm_rotary",
        lambda o, x, w, c, s: o.rms_norm_rotary(x, w, c, s), normal(2, 3, 4), normal(4), normal(3, 2), normal(3, 2),
    ),
    ("attention_3d", lambda o, x: o.attention_3d(x, "temporal"), normal(1, 3, 2, 3, 1, 2)),
    ("adamw_step", lambda o, p, g, m, v: o.adamw_step(p, g, m, v, 2, 0.1)[0] * m, *normal(2, 2), *positive(2, 2)),
    ("conv", lambda o, x, w, b: o.conv(x, w, b, (2, 1), (1, 0)), normal(2, 2, 3, 4), normal(2, 2, 3, 2), normal(2)),
]  # fmt: skip
IDS = [f"{name}-{i}" for i, (name, *_) in enumerate(ONE_LINE_A_RULE)]


def test_every_rule_and_every_fused_op_has_its_line():
    assert {name for name, *_ in ONE_LINE_A_RULE} == {*RULES, *FUSED} - {"value_and_grad", "compile"}


@pytest.mark.parametrize("backend", [NumpyOps(), TorchOps()], ids=lambda ops: ops.name)
@pytest.mark.parametrize(("name", "fun", "arrays"), [(n, f, a) for n, f, *a in ONE_LINE_A_RULE], ids=IDS)
def test_a_rule_is_right_to_second_order(backend, name, fun, arrays):
    check_grads(backend, fun, *arrays)


@pytest.mark.parametrize("name", FUSED_RULES)
def test_a_fused_rule_agrees_with_the_composition(name):
    for fun, arrays in [(f, a) for n, f, *a in ONE_LINE_A_RULE if n == name]:
        check_grads(NumpyOps(), fun, *arrays, units=())


@np.errstate(over="ignore")  # the slope of a logarithm near zero is beyond float64
def gradients_of(differentiate, ops, name, call):
    """Gradients by every floating argument, of the sum of the result weighted by 1, 2, 3..."""
    host = [lay_out(x, call.layout) if isinstance(x, np.ndarray) else x for x in call.args]
    arrays = host[0] if name == "concat" else host
    floats = {str(i): ops.asarray(x) for i, x in enumerate(arrays) if getattr(x, "dtype", None) == np.float64}

    def fun(o, p):
        args = [p.get(str(i), o.asarray(x) if isinstance(x, np.ndarray) else x) for i, x in enumerate(arrays)]
        result = getattr(o, name)(*([args, *host[1:]] if name == "concat" else args))
        flat = o.reshape(o.astype(result, "float64"), (int(np.prod(result.shape)),))
        return o.sum(flat * (o.arange(flat.shape[0], "float64") + 1.0))

    value, grads = differentiate(fun, floats)
    return [ops.to_numpy(value), *(ops.to_numpy(g) for g in grads.values())]


def shaken(call):
    """The call with every floating element moved by one rounding: what this does to a slope, nobody can do better."""
    rng = np.random.default_rng(0)

    def shake(x):
        return x * (1 + 2.0**-52 * rng.choice([-1.0, 1.0], x.shape)) if x.dtype == np.float64 else x

    return replace(call, args=tuple(map_arrays(shake, arg) for arg in call.args))


@pytest.mark.parametrize(
    "name", [case.name for case in TABLE.values() if case.differentiable and case.name != "astype"]
)
@settings(max_examples=10)
@given(data=st.data())
def test_the_tape_agrees_with_native_autograd(name, data):
    call = data.draw(TABLE[name].calls)
    assume(any(x.dtype == np.float64 for x in arrays_in(list(call.args))))
    native = gradients_of(TorchOps().value_and_grad, TorchOps(), name, call)
    beside = gradients_of(TorchOps().value_and_grad, TorchOps(), name, shaken(call))
    for ops in (NumpyOps(), TorchOps()):
        tape = gradients_of(Autodiff(ops).differentiate, ops, name, call)
        for got, expected, near in zip(tape, native, beside, strict=True):
            finite = np.isfinite(expected) & np.isfinite(near)
            scale = np.max(np.abs(expected), initial=1.0, where=finite)
            conditioning = np.max(np.abs(np.where(finite, near, 0) - np.where(finite, expected, 0)), initial=0.0)
            np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-9 * scale + 64 * conditioning)
