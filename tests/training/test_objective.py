"""The objective: the same on every backend, blind to what was given, and to captions that were dropped."""

from __future__ import annotations

import numpy as np
import pytest

from opensora_core.module import rebuild, state_dict
from opensora_core.registry import get_backend
from opensora_core.schedulers.parametrization import SMALLEST_TIME
from opensora_core.training.objective import sample_losses, training_loss
from tests.pipelines.models import NANO, make

SIZE = {"height": 16.0, "width": 16.0}
B, T = 3, 4


def batch(dtype="float32", **changes):
    """A batch on the host; two captions of three tokens, one of all."""
    rng = np.random.default_rng(0)
    values = {
        "latents": rng.normal(size=(B, 4, T, 2, 2)),
        "noise": rng.normal(size=(B, 4, T, 2, 2)),
        "t": np.array([100.0, 400.0, 900.0]),
        "text": rng.normal(size=(B, 12, 16)),
        "fps": np.array([8.0, 4.0, 2.0]),
    }
    values = {name: a.astype(dtype) for name, a in values.items()}
    mask = np.arange(12)[None] < np.array([[3], [12], [3]])
    return {**values, "text_mask": mask, "drop": np.array([False, False, True]), **changes}


def losses(model, host, **options):
    ops = model.ops
    arrays = {name: ops.asarray(a) for name, a in host.items()}
    return ops.to_numpy(sample_losses(ops, model._parts.denoiser, arrays, **SIZE, **options))


X_MASK = np.array([[False, True, True, True], [True, False, True, False], [True] * 4])


@pytest.mark.parametrize("prediction", ["velocity", "sample"])
@pytest.mark.parametrize("masked", [False, True])
def test_numpy_and_torch_agree(prediction, masked):
    for dtype, tolerance in (("float32", 1e-5), ("float64", 1e-12)):
        host = batch(dtype, **({"x_mask": X_MASK} if masked else {}))
        ours, theirs = (losses(make(b, dtype), host, prediction=prediction) for b in ("numpy", "torch"))
        assert ours.shape == (B,)
        np.testing.assert_allclose(ours, theirs, rtol=tolerance)
        assert (ours > 0).all()


def test_the_loss_of_a_batch_is_the_mean_of_its_samples():
    model, host = make(), batch()
    ops = model.ops
    loss = training_loss(ops, model._parts.denoiser, host, **SIZE)
    np.testing.assert_allclose(loss, losses(model, host).mean(), rtol=1e-6)
    for i in range(B):
        one = {name: a[i : i + 1] for name, a in host.items()}
        np.testing.assert_allclose(losses(model, one), losses(model, host)[i : i + 1], rtol=1e-5)


def test_the_target_is_the_way_from_noise_to_data():
    host = batch(drop=np.zeros(B, bool))
    seen = []

    class Perfect:
        """Knows the answer; notes what it is shown."""

        y_embedder = make()._parts.denoiser.y_embedder

        def __call__(self, ops, z, *args):
            seen.append(z)
            return host["latents"] - host["noise"] + np.float32(0.5)

    ops = get_backend("numpy")
    np.testing.assert_allclose(sample_losses(ops, Perfect(), host, **SIZE), 0.25, rtol=1e-5)
    u = host["t"].reshape(B, 1, 1, 1, 1) / 1000
    np.testing.assert_allclose(seen[0], (1 - u) * host["latents"] + u * host["noise"], rtol=1e-5, atol=1e-6)


def test_given_frames_are_shown_as_they_are_and_do_not_count():
    model, host = make(), batch(x_mask=X_MASK)
    plain = losses(model, host)
    noise = host["noise"].copy()
    noise[~X_MASK.repeat(4, 0).reshape(B, 4, T)] += 100  # the noise of frames that are given
    np.testing.assert_array_equal(losses(model, {**host, "noise": noise}), plain)
    assert (losses(model, batch())[:2] != plain[:2]).all()
    latents = host["latents"].copy()
    latents[0, :, 0] += 1  # of a given frame, which the others see
    assert losses(model, {**host, "latents": latents})[0] != plain[0]


def test_only_frames_to_be_made_are_averaged():
    host = batch(x_mask=X_MASK, drop=np.zeros(B, bool))
    off = np.zeros((B, 4, T, 2, 2), np.float32)
    off[0, :, 0], off[0, :, 1] = 50.0, 3.0  # wrong by 50 where it is given and by 3 in one of three others

    class Off:
        y_embedder = make()._parts.denoiser.y_embedder

        def __call__(self, ops, z, *args):
            return host["latents"] - host["noise"] + off

    loss = sample_losses(get_backend("numpy"), Off(), host, **SIZE)
    np.testing.assert_allclose(loss, [3.0, 0.0, 0.0], rtol=1e-5, atol=1e-10)


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_a_network_that_puts_out_the_sample_has_the_loss_of_the_velocity_it_implies(backend):
    model, host = make(backend, "float64"), batch("float64")
    ops, times = model.ops, host["t"].reshape(B, 1, 1, 1, 1) / 1000
    assert times.min() > SMALLEST_TIME

    class Sample:
        """Puts out z + u·v where the network itself puts out v."""

        y_embedder = model._parts.denoiser.y_embedder

        def __call__(self, ops, z, *args):
            return z + ops.asarray(times) * model._parts.denoiser(ops, z, *args)

    arrays = {name: ops.asarray(a) for name, a in host.items()}
    implied = ops.to_numpy(sample_losses(ops, Sample(), arrays, **SIZE, prediction="sample"))
    np.testing.assert_allclose(implied, losses(model, host), rtol=1e-12)


def test_near_the_data_the_loss_of_a_predicted_sample_grows_no_further():
    model = make(dtype="float64")
    at, below = (losses(model, batch("float64", t=np.full(B, t)), prediction="sample") for t in (50.0, 1e-6))
    assert np.isfinite(below).all()
    assert (below < 4 * at + 50).all()


def test_a_dropped_caption_is_the_null_caption_under_its_own_mask():
    model, host = make(), batch()
    null = model.state_dict()["denoiser.y_embedder.y_embedding"]
    text = host["text"].copy()
    text[2] = 7.0  # is dropped
    np.testing.assert_array_equal(losses(model, {**host, "text": text}), losses(model, host))
    text[2] = null
    np.testing.assert_array_equal(losses(model, {**host, "text": text, "drop": np.zeros(B, bool)}), losses(model, host))
    masked = host["text_mask"].copy()
    masked[2] = True
    changed = losses(model, {**host, "text_mask": masked}) != losses(model, host)
    assert changed.tolist() == [False, False, True]


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_only_a_dropped_caption_teaches_the_null_caption(backend):
    model = make(backend)
    ops, template = model.ops, model._parts.denoiser
    for drop in (False, True):
        host = batch(drop=np.full(B, drop))
        arrays = {name: ops.asarray(a) for name, a in host.items()}

        def objective(ops, params, arrays=arrays):
            return training_loss(ops, rebuild(template, params), arrays, **SIZE)

        _, grads = ops.value_and_grad(objective, state_dict(template))
        null = ops.to_numpy(grads["y_embedder.y_embedding"])
        assert null.any() == drop
        assert NANO.denoiser.model_max_length == len(null)


def test_the_loss_can_be_weighted_by_the_share_of_noise():
    model, host = make(), batch()
    share = host["t"] / 1000
    plain = losses(model, host, prediction="sample")
    for power in (1.0, 2.0):
        weighted = losses(model, host, prediction="sample", time_weighting=power)
        np.testing.assert_allclose(weighted, plain * share**power, rtol=1e-5)
