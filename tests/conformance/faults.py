"""A NumPy backend with one fault at a time: what people get wrong when they write one, and the check that sees it.

Every fault is a subclass of the NumPy backend with one method replaced; FAULTS says which check of the suite must fail.
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from opensora_backends.numpy_ops import NumpyOps
from opensora_core.ops import FUSED, PRIMITIVES, Ops


class Fault(NamedTuple):
    """A seeded fault. caught_by: a check that must fail; aspects: of the op's checks, exactly those that may fail."""

    backend: type[NumpyOps]
    caught_by: str
    aspects: frozenset[str]


FAULTS: dict[str, Fault] = {}


def fault(caught_by: str, *more: str) -> Any:
    """Register the method below, under its own name, as a faulty version of the op with whose name that begins."""

    def register(method: Any) -> Any:
        title = method.__name__
        op = max((name for name in (*PRIMITIVES, *FUSED) if title.startswith(f"{name}_")), key=len)
        backend = type("Buggy_" + title, (NumpyOps,), {op: method, "__module__": __name__})
        assert title not in FAULTS
        FAULTS[title] = Fault(backend, caught_by, frozenset({caught_by.split("/")[-1], *more}))
        return method

    return register


# ---------------------------------------------------------------------- axes, shapes and places


@fault("ops/softmax/float32/values")
def softmax_always_over_the_last_axis(self, x, axis=-1):
    return NumpyOps.softmax(self, x, -1)


@fault("ops/max/float32/values")
def max_forgets_keepdims(self, x, axis=None, keepdims=False):
    return NumpyOps.max(self, x, axis)


@fault("ops/permute_dims/float32/values")
def permute_dims_by_the_inverse(self, x, axes):
    return np.transpose(x, np.argsort(axes))


@fault("ops/reshape/float32/values")
def reshape_in_column_major_order(self, x, shape):
    return np.reshape(x, tuple(shape), order="F")


@fault("ops/take/float32/values")
def take_counts_from_one(self, x, indices, axis=0):
    return np.take(x, indices - 1, axis=axis)


@fault("ops/slice/float32/values")
def slice_forgets_the_step_of_the_last_axis(self, x, start, stop, step):
    step = (*step[:-1], 1) if len(step) else step
    return NumpyOps.slice(self, x, start, stop, step)


@fault("ops/pad/float32/values")
def pad_puts_interior_zeros_after_the_last_too(self, x, low, high, interior):
    high = [b + (gap if n else 0) for b, gap, n in zip(high, interior, x.shape, strict=True)]
    return NumpyOps.pad(self, x, low, high, interior)


@fault("ops/concat/float32/values")
def concat_backwards(self, arrays, axis=0):
    return np.concatenate(list(arrays)[::-1], axis=axis)


@fault("ops/index_add/float32/values")
def index_add_overwrites_repeated_indices(self, x, indices, values, axis=0):
    out = np.moveaxis(np.array(x), axis, 0)
    out[indices] = out[indices] + np.moveaxis(values, axis, 0)
    return np.moveaxis(out, 0, axis)


@fault("ops/conv/float32/values")
def conv_pads_one_side_only(self, x, weight, bias=None, stride=None, padding=None):
    padding = tuple(padding or (0,) * (x.ndim - 2))
    low = (0, 0, *(2 * p for p in padding))
    return NumpyOps.conv(self, self.pad(x, low, (0,) * x.ndim, (0,) * x.ndim), weight, bias, stride)


@fault("ops/conv/float32/values")
def conv_flips_the_kernel(self, x, weight, bias=None, stride=None, padding=None):
    flipped = weight[(slice(None), slice(None), *(slice(None, None, -1),) * (weight.ndim - 2))]
    return NumpyOps.conv(self, x, np.ascontiguousarray(flipped), bias, stride, padding)


@fault("ops/group_norm/float32/values")
def group_norm_deals_channels_to_groups_in_turn(self, x, groups, weight=None, bias=None, eps=1e-6):
    C = x.shape[1]
    dealt = np.arange(C).reshape(C // groups, groups).T.reshape(-1)  # channel c goes to group c % groups
    back = np.argsort(dealt)
    y = NumpyOps.group_norm(self, x[:, dealt], groups, eps=eps)[:, back]
    shape = (C,) + (1,) * (x.ndim - 2)
    y = y if weight is None else y * weight.reshape(shape)
    return y if bias is None else y + bias.reshape(shape)


@fault("ops/group_norm_silu/float32/values")
def group_norm_silu_forgets_the_silu(self, x, groups, weight=None, bias=None, eps=1e-6):
    return self.group_norm(x, groups, weight, bias, eps)


@fault("ops/attention_3d/float32/values")
def attention_3d_takes_time_for_space(self, qkv, pattern, q_norm=None, k_norm=None, cos=None, sin=None):
    if cos is None:
        pattern = {"spatial": "temporal", "temporal": "spatial"}.get(pattern, pattern)
    return NumpyOps.attention_3d(self, qkv, pattern, q_norm, k_norm, cos, sin)


# ---------------------------------------------------------------------- formulas


@fault("ops/layer_norm/float64/values")
def layer_norm_adds_eps_outside_the_root(self, x, weight=None, bias=None, eps=1e-6):
    w = self.widen(x)
    centred = w - w.mean(-1, keepdims=True)
    y = (centred / (np.sqrt((centred * centred).mean(-1, keepdims=True)) + w.dtype.type(eps))).astype(x.dtype)
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


@fault("ops/layer_norm/float32/values")
def layer_norm_divides_by_one_less(self, x, weight=None, bias=None, eps=1e-6):
    w, n = self.widen(x), x.shape[-1]
    variance = w.var(-1, keepdims=True) * w.dtype.type(n / max(n - 1, 1))
    y = ((w - w.mean(-1, keepdims=True)) / np.sqrt(variance + w.dtype.type(eps))).astype(x.dtype)
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


@fault("ops/rms_norm/float64/values")
def rms_norm_adds_eps_inside_the_mean(self, x, weight, eps=1e-6):
    w = self.widen(x)
    return (w / np.sqrt((w * w + w.dtype.type(eps / x.shape[-1])).mean(-1, keepdims=True))).astype(x.dtype) * weight


@fault("ops/modulate/float32/values")
def modulate_scales_without_the_one(self, x, shift, scale, eps=1e-6):
    return NumpyOps.modulate(self, x, shift, np.asarray(scale - x.dtype.type(1)), eps)


@fault("ops/gated_residual/float32/values")
def gated_residual_gates_both(self, x, branch, gate):
    return gate * (x + branch)


@fault("ops/gelu/float32/values")
def gelu_takes_tanh_for_erf(self, x, approximate="tanh"):
    return NumpyOps.gelu(self, x, "tanh")


@fault("ops/erf/float64/values")
def erf_of_a_handbook(self, x):
    w = np.abs(np.asarray(x, np.float64))  # Abramowitz & Stegun 7.1.26, good to 1.5e-7
    t = 1 / (1 + 0.3275911 * w)
    series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    return np.asarray(np.sign(x) * (1 - series * np.exp(-w * w))).astype(x.dtype)


@fault("ops/rotary/float32/values")
def rotary_swaps_the_pair(self, x, cos, sin):
    return NumpyOps.rotary(self, x, cos, -sin)


@fault("ops/rotary/float32/values")
def rotary_pairs_halves(self, x, cos, sin):
    w, half = self.widen(x), x.shape[-1] // 2
    first, second = w[..., :half], w[..., half:]
    return np.concatenate([first * cos - second * sin, second * cos + first * sin], -1).astype(x.dtype)


@fault("ops/rms_norm_rotary/float32/values")
def rms_norm_rotary_turns_before_the_weight(self, x, weight, cos, sin, eps=1e-6):
    return self.rms_norm(self.rotary(x, cos, sin), weight, eps)


@fault("ops/attention/float32/values")
def attention_forgets_the_scale(self, q, k, v, mask=None, scale=None):
    return Ops.attention(self, q, k, v, mask, 1.0 if scale is None else scale)


@fault("ops/attention/float32/values")
def attention_shifts_the_mask_by_one_key(self, q, k, v, mask=None, scale=None):
    return Ops.attention(self, q, k, v, None if mask is None else np.roll(mask, 1, -1), scale)


@fault("ops/attention/float32/nan")
def attention_of_rows_without_a_key_is_nan(self, q, k, v, mask=None, scale=None):
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    logits = np.asarray(self.widen(q) @ np.swapaxes(self.widen(k), -1, -2)) * scale
    logits = logits if mask is None else np.where(mask, logits, -np.inf)
    e = np.exp(logits - logits.max(-1, keepdims=True))
    weights = (e / e.sum(-1, keepdims=True)).astype(v.dtype)
    return self.matmul(weights, v)


@fault("ops/attention_3d/float32/values")
def attention_3d_rotates_before_the_norm(self, qkv, pattern, q_norm=None, k_norm=None, cos=None, sin=None):
    if cos is None or q_norm is None:
        return NumpyOps.attention_3d(self, qkv, pattern, q_norm, k_norm, cos, sin)
    axis = {"spatial": 2, "temporal": 1, "full": None}[pattern]
    shape = [1] * 5
    if axis is None:
        cos, sin = (t.reshape(1, *qkv.shape[1:3], 1, -1) for t in (cos, sin))
    else:
        shape[axis], shape[4] = cos.shape
        cos, sin = cos.reshape(shape), sin.reshape(shape)
    parts = [qkv[:, :, :, i] for i in range(3)]
    parts[:2] = [self.rotary(p, cos, sin) for p in parts[:2]]
    return NumpyOps.attention_3d(self, np.stack(parts, 3), pattern, q_norm, k_norm)


@fault("ops/linear/float32/values")
def linear_drops_the_bias(self, x, weight, bias=None):
    return NumpyOps.linear(self, x, weight)


@fault("ops/less/float32/values")
def less_means_at_most(self, a, b):
    return np.less_equal(a, b)


@fault("ops/adamw_step/float32/values")
def adamw_step_decays_the_gradient(self, param, grad, mean, square, step, rate, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, factor=None):  # noqa: E501 # fmt: skip
    grad = (grad + weight_decay * self.widen(param)).astype(grad.dtype)
    return NumpyOps.adamw_step(self, param, grad, mean, square, step, rate, betas, eps, 0.0, factor)


@fault("ops/value_and_grad/float32/values")
def value_and_grad_forgets_half(self, fun, params):
    value, grads = NumpyOps.value_and_grad(self, fun, params)
    return value, {name: g * 0.5 for name, g in grads.items()}


# ---------------------------------------------------------------------- precision


@fault("ops/matmul/float16/values")
def matmul_accumulates_in_half(self, a, b):
    if a.dtype.name not in ("float16", "bfloat16"):
        return np.matmul(a, b)
    total = np.zeros(np.broadcast_shapes((*a.shape[:-1], 1), (*b.shape[:-2], 1, b.shape[-1])), a.dtype)
    for k in range(a.shape[-1]):
        total = (total + a[..., :, k : k + 1] * b[..., k : k + 1, :]).astype(a.dtype)
    return total


@fault("ops/sum/float16/values")
def sum_accumulates_in_half(self, x, axis=None, keepdims=False):
    if x.dtype.name not in ("float16", "bfloat16"):
        return NumpyOps.sum(self, x, axis, keepdims)
    axes = range(x.ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
    for a in axes:
        total = np.zeros((*x.shape[: a % x.ndim], 1, *x.shape[a % x.ndim + 1 :]), x.dtype)
        for i in range(x.shape[a]):
            total = (total + np.take(x, [i], a)).astype(x.dtype)
        x = total
    return np.array(x) if keepdims else np.squeeze(np.array(x), tuple(axes))


@fault("ops/softmax/float32/nan", "values")
def softmax_does_not_shift_by_the_maximum(self, x, axis=-1):
    e = np.exp(self.widen(x))
    return np.asarray(e / e.sum(axis=axis, keepdims=True)).astype(x.dtype)


@fault("ops/host_noise/bits")
def asarray_cuts_bits_off(self, x, dtype=None):
    if dtype != "bfloat16" or np.asarray(x).dtype != np.float32:
        return NumpyOps.asarray(self, x, dtype)
    bits = np.ascontiguousarray(x).view(np.uint32) & np.uint32(0xFFFF0000)
    return bits.view(np.float32).astype(ml_dtypes.bfloat16)


# ---------------------------------------------------------------------- dtypes, memory, manners


@fault("ops/sum/float16/dtype")
def sum_stays_wide(self, x, axis=None, keepdims=False):
    return np.sum(self.widen(x), axis=axis, keepdims=keepdims)


@fault("ops/where/float32/dtype")
def where_promotes_numbers(self, condition, a, b):
    return np.where(condition, *(np.float64(v) if isinstance(v, float) else v for v in (a, b)))


@fault("ops/exp/float64/dtype", "values")
def exp_computes_in_single(self, x):
    return np.exp(np.asarray(x, np.float32))


@fault("ops/concat/float32/alias")
def concat_of_one_array_is_that_array(self, arrays, axis=0):
    return arrays[0] if len(arrays) == 1 else np.concatenate(list(arrays), axis=axis)


@fault("ops/pad/float32/alias")
def pad_by_nothing_is_the_argument(self, x, low, high, interior):
    return NumpyOps.pad(self, x, low, high, interior) if any((*low, *high, *interior)) else x


@fault("ops/silu/float32/inputs")
def silu_in_place(self, x):
    x *= 0.5 * (1.0 + np.tanh(0.5 * x))
    return x


@fault("ops/layer_norm/float32/inputs", "repeat")
def layer_norm_centres_the_argument(self, x, weight=None, bias=None, eps=1e-6):
    x.flags.writeable = True  # forces its way past a read-only array
    x -= x.mean(-1, keepdims=True).astype(x.dtype)
    return NumpyOps.layer_norm(self, x, weight, bias, eps)


_CALLS = itertools.count()


@fault("ops/tanh/float32/repeat", "values")
def tanh_is_never_the_same(self, x):
    return np.asarray(np.tanh(np.asarray(x, np.float64)) + 0.1 * (1 + next(_CALLS) % 2)).astype(x.dtype)


_BUFFERS: dict[Any, Any] = {}


@fault("ops/negative/float32/alias")
def negative_returns_the_same_buffer(self, x):
    return np.negative(x, out=_BUFFERS.setdefault((x.shape, x.dtype), np.empty(x.shape, x.dtype)))


@fault("ops/gelu/signature")
def gelu_with_another_default(self, x, approximate="none"):
    return NumpyOps.gelu(self, x, approximate)


@fault("ops/take/signature", "runs")
def take_without_the_axis(self, x, indices):
    return np.take(x, indices, axis=0)


FAULTS["erf_is_missing"] = Fault(
    type("Buggy_erf_is_missing", (NumpyOps,), {"erf": Ops.erf, "__module__": __name__}),
    "ops/erf/signature",
    frozenset({"signature"}),
)


@fault("ops/log/float32/runs")
def log_refuses_numbers_without_axes(self, x):
    return NumpyOps.log(self, x[:])


@fault("ops/max/float32/runs")
def max_of_everything_is_a_python_number(self, x, axis=None, keepdims=False):
    found = NumpyOps.max(self, x, axis, keepdims)
    return found if np.ndim(found) else float(found)


@fault("ops/full/float32/dtype", "values")
def full_ignores_the_dtype(self, shape, value, dtype="float32"):
    return np.full(tuple(shape), value)


@fault("ops/linear/float32/device")
def linear_returns_another_kind_of_array(self, x, weight, bias=None):
    y = NumpyOps.linear(self, x, weight, bias)
    return y if x.ndim == 1 else Foreign(y)


class Foreign:
    """An array of another library, which converts to NumPy's."""

    def __init__(self, value: Any) -> None:
        self.value, self.shape, self.ndim, self.dtype = value, value.shape, value.ndim, value.dtype

    def __getitem__(self, key: Any) -> Any:
        return self.value[key]

    def __array__(self, *_: Any, **__: Any) -> Any:
        return self.value


# ---------------------------------------------------------------------- what no op shows on its own


@fault("blocks/attention_full/float32/values")
def attention_of_many_keys_forgets_those_after_the_64th(self, q, k, v, mask=None, scale=None):
    return Ops.attention(self, q, k[..., :64, :], v[..., :64, :], None if mask is None else mask[..., :64], scale)


@fault("train/gradients/float32/values")
def value_and_grad_leaves_out_what_comes_late(self, fun, params):
    value, grads = NumpyOps.value_and_grad(self, fun, params)
    return value, {name: g if i < 20 else np.zeros_like(g) for i, (name, g) in enumerate(grads.items())}
