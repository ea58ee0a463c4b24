"""No property holds by itself: each is broken by the faults named beside it."""

from typing import NamedTuple

import numpy as np
import pytest

from opensora_backends.numpy_ops import NumpyOps
from opensora_core.ops import Ops
from opensora_core.schedulers.rectified_flow import Step
from opensora_core.testing.properties import PROPERTIES, model, sampling

FAULTS = []


class Fault(NamedTuple):
    """A function that takes the place of `name` in a module or a backend, and the property that notices."""

    breaks: str
    where: object
    name: str
    function: object


def breaks(*properties, where=NumpyOps, name):
    def enter(function):
        FAULTS.extend(Fault(p, where, name, function) for p in properties)
        return function

    return enter


# ---------------------------------------------------------------------- attention


@breaks("keys_that_are_masked_are_keys_that_are_not_there", name="attention")
@breaks("windows_are_full_attention_under_a_window_mask", name="attention")
@breaks("padding_does_not_matter", name="attention")
def masks_of_batches_are_ignored(self, q, k, v, mask=None, scale=None):
    return Ops.attention(self, q, k, v, mask if mask is not None and mask.ndim == 2 and mask[0].all() else None, scale)


@breaks("keys_may_come_in_any_order", name="attention")
def later_keys_count_less(self, q, k, v, mask=None, scale=None):
    weights = np.linspace(1, 2, k.shape[-2])[:, None].astype(k.dtype)
    return Ops.attention(self, q, k * weights, v, mask, scale)


@breaks("equal_keys_are_attended_equally", name="attention")
def the_weights_sum_to_less_than_one(self, q, k, v, mask=None, scale=None):
    zero = np.zeros_like(k[..., :1, :])
    mask = None if mask is None else np.concatenate([mask, mask[..., :1]], axis=-1)
    return Ops.attention(self, q, np.concatenate([k, zero], -2), np.concatenate([v, zero], -2), mask, scale)


@breaks("equal_keys_are_attended_equally", name="attention")
def rows_without_a_key_attend_evenly(self, q, k, v, mask=None, scale=None):
    return Ops.attention(self, q, k, v, None if mask is None else mask | ~mask.any(-1, keepdims=True), scale)


@breaks("a_smaller_scale_is_a_smaller_query", name="attention")
def the_scale_is_ignored(self, q, k, v, mask=None, scale=None):
    return Ops.attention(self, q, k, v, mask)


@breaks("video_attention_is_full_attention_under_a_block_mask", name="attention_3d")
def without_rope_every_pattern_is_full(self, qkv, pattern, q_norm=None, k_norm=None, cos=None, sin=None):
    return Ops.attention_3d(self, qkv, "full" if cos is None else pattern, q_norm, k_norm, cos, sin)


@breaks("video_attention_is_full_attention_under_a_block_mask", name="attention_3d")
def queries_take_the_weights_of_keys(self, qkv, pattern, q_norm=None, k_norm=None, cos=None, sin=None):
    return Ops.attention_3d(self, qkv, pattern, k_norm, k_norm, cos, sin)


@breaks("rope_sees_only_how_far_apart_tokens_are", name="rotary")
def a_sign_of_the_rotation_is_wrong(self, x, cos, sin):
    even, odd = x[..., 0::2], x[..., 1::2]
    return np.stack([even * cos + odd * sin, odd * cos + even * sin], -1).reshape(x.shape).astype(x.dtype)


@breaks("rope_sees_only_how_far_apart_tokens_are", name="arange")
def positions_are_squared(self, stop, dtype="float32"):
    return NumpyOps.arange(self, stop, dtype) ** 2


# ---------------------------------------------------------------------- sums, norms, activations, convolution


@breaks("softmax_does_not_see_a_shift", name="softmax")
def softmax_takes_the_last_axis(self, x, axis=-1):
    return Ops.softmax(self, x)


@breaks("softmax_does_not_see_a_shift", name="softmax")
def softmax_leaves_room_for_nothing(self, x, axis=-1):
    e = np.exp(x)
    return (e / (1 + e.sum(axis, keepdims=True))).astype(x.dtype)


@breaks("norms_do_not_see_size_and_place", name="layer_norm")
def eps_stands_outside_the_root(self, x, weight=None, bias=None, eps=1e-6):
    y = x - x.mean(-1, keepdims=True)
    y = y / (np.sqrt((y * y).mean(-1, keepdims=True)) + np.asarray(eps, x.dtype))
    return y * (1 if weight is None else weight) + (0 if bias is None else bias)


@breaks("eps_counts_like_one_more_channel", name="rms_norm")
def eps_is_not_what_was_asked(self, x, weight, eps=1e-6):
    return Ops.rms_norm(self, x, weight, 1e-6)


@breaks("norms_are_cases_of_each_other", name="group_norm")
def groups_are_counted_the_other_way(self, x, groups, weight=None, bias=None, eps=1e-6):
    return Ops.group_norm(self, x, x.shape[1] // groups, weight, bias, eps)


@breaks("norms_are_cases_of_each_other", name="modulate")
def scale_stands_without_its_one(self, x, shift, scale, eps=1e-6):
    return self.layer_norm(x, eps=eps) * scale + shift


@breaks("a_batch_may_be_split", "the_order_of_a_batch_does_not_matter", name="modulate")
def statistics_of_the_batch(self, x, shift, scale, eps=1e-6):
    return (x - x.mean()) / np.sqrt(x.var() + np.asarray(eps, x.dtype)) * (1 + scale) + shift


@breaks("activations_mirror", name="gelu")
def gelu_leaks(self, x, approximate="tanh"):
    return np.maximum(x, x * np.asarray(0.01, x.dtype))


@breaks("activations_mirror", name="silu")
def silu_does_nothing(self, x):
    return x


@breaks("linear_is_linear", name="linear")
def the_bias_of_one_channel_serves_all(self, x, weight, bias=None):
    return Ops.linear(self, x, weight, None if bias is None else bias[:1] + 0 * bias)


@breaks("linear_is_linear", name="linear")
def the_bias_counts_twice_without_one(self, x, weight, bias=None):
    return Ops.linear(self, x, weight, np.ones(len(weight), x.dtype) if bias is None else bias)


@breaks("convolution_moves_with_its_input", name="conv")
def strides_reach_the_first_axis_only(self, x, weight, bias=None, stride=None, padding=None):
    stride = None if stride is None else (stride[0], *(1 for _ in stride[1:]))
    return Ops.conv(self, x, weight, bias, stride, padding)


@breaks("convolution_moves_with_its_input", name="conv")
def padding_is_on_the_wrong_axis(self, x, weight, bias=None, stride=None, padding=None):
    return Ops.conv(self, x, weight, bias, stride, None if padding is None else padding[::-1])


@breaks("convolution_has_simple_cases", "a_patch_embedding_is_a_convolution_by_its_stride", name="conv")
def channels_come_in_reverse(self, x, weight, bias=None, stride=None, padding=None):
    return Ops.conv(self, x[:, ::-1], weight, bias, stride, padding)


@breaks("sums_are_adjoint", name="index_add")
def repeated_indices_overwrite(self, x, indices, values, axis=0):
    y = np.moveaxis(x, axis, 0).copy()
    y[indices] = np.moveaxis(values, axis, 0)
    return np.moveaxis(y, 0, axis)


@breaks("patches_put_together_are_the_video", name="permute_dims")
def axes_are_permuted_the_other_way(self, x, axes):
    return np.transpose(x, np.argsort(axes))


@breaks("tiles_are_the_whole", name="conv")
def the_field_of_view_is_the_whole_frame(self, x, weight, bias=None, stride=None, padding=None):
    return Ops.conv(self, x, weight, bias, stride, padding) + x.mean()


# ---------------------------------------------------------------------- the path, guidance, samplers


@breaks("the_velocity_undoes_the_noise", where=sampling, name="add_noise")
def time_runs_backwards(ops, x0, noise, t):
    u = ops.reshape(1.0 - t / 1000, (-1, 1, 1, 1, 1))
    return (1.0 - u) * x0 + u * noise


@breaks("the_velocity_undoes_the_noise", where=sampling, name="to_velocity")
def a_sample_is_taken_for_a_velocity(ops, output, z, t, prediction):
    return output[:, : z.shape[1]]


@breaks("guidance_of_1_is_the_conditional_prediction", where=sampling, name="guided")
def guidance_starts_from_the_text(ops, predict, guidance_scale, channels):
    def velocity(z, timestep, mask):
        both = predict(np.concatenate([z, z]), timestep, None)[:, :channels]
        return both[: len(z)] + guidance_scale * (both[: len(z)] - both[len(z) :])

    return velocity


def stepping(step_size):
    """Euler's method with another step: step_size(t, next t)."""

    def sampler(ops, velocity, z, timesteps, mask=None, noise=None):
        for i, t in enumerate(timesteps):
            v = velocity(z, t, None)
            z = z + v * (step_size(t, [*timesteps, 0.0][i + 1]) / 1000)
            yield Step(i, t, z, z)

    return sampler


breaks("a_straight_path_takes_one_step", where=sampling, name="euler")(stepping(lambda t, after: 1.1 * (t - after)))
breaks("a_mask_of_ones_is_no_mask_and_kept_frames_stay", where=sampling, name="euler")(stepping(lambda t, after: t))


@breaks("a_sample_does_not_depend_on_its_batch", where=sampling, name="normal_batch")
def noise_is_drawn_for_the_whole_batch(seed, stream, batch, shape, first=0):
    return np.random.default_rng(seed + first).standard_normal((batch, *shape), dtype=np.float32)


@breaks("a_sample_does_not_depend_on_its_batch", name="sin")
def the_model_looks_at_its_neighbours(self, x):
    return np.sin(x) + x.mean()


# ---------------------------------------------------------------------- files and gradients


@breaks("what_was_saved_is_what_is_loaded", where=model, name="write_safetensors")
def files_hold_fewer_bits(path, tensors, write=model.write_safetensors):
    write(path, {name: (x.astype("f4") * 1.01).astype(x.dtype) for name, x in tensors.items()})


@breaks("the_gradient_of_a_sum_is_the_sum_of_gradients", name="value_and_grad")
def gradients_are_normalised(self, fun, params):
    value, grads = Ops.value_and_grad(self, fun, params)
    return value, {name: g / (1e-6 + np.abs(g).max()) for name, g in grads.items()}


def test_a_sampler_of_another_order_is_noticed(monkeypatch):
    law = PROPERTIES["halving_the_step_divides_the_error_by_two_to_the_order"]
    law(NumpyOps(), np.random.default_rng(0))
    monkeypatch.setattr(sampling, "ORDERS", {stepping(lambda t, after: (t - after) * 1.01): 1})
    with pytest.raises(AssertionError, match="converges with order"):
        law(NumpyOps(), np.random.default_rng(0))
    monkeypatch.setattr(sampling, "ORDERS", {sampling.euler: 2})
    with pytest.raises(AssertionError, match="not 2"):
        law(NumpyOps(), np.random.default_rng(0))


def draw_five_times(law, ops, rng):
    for _ in range(5):
        law(ops, rng)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.breaks}-{fault.function.__name__}")
def test_a_fault_breaks_its_property(fault, monkeypatch):
    ops = NumpyOps()
    if fault.where is NumpyOps:
        ops = type("Faulty", (NumpyOps,), {fault.name: fault.function})()
    else:
        monkeypatch.setattr(fault.where, fault.name, fault.function)
    rng = np.random.default_rng(0)
    with pytest.raises(AssertionError, match=f"{fault.breaks} does not hold on 'numpy' in float32"):
        draw_five_times(PROPERTIES[fault.breaks], ops, rng)


def test_every_property_has_a_fault():
    assert set(PROPERTIES) - {fault.breaks for fault in FAULTS} == {
        "halving_the_step_divides_the_error_by_two_to_the_order"  # tested above
    }
