"""Gradients of a loaded model by its weights and by what goes in, and its weights as one vector."""

from __future__ import annotations

import numpy as np
import pytest

from opensora_core.errors import InvalidInputError, NonFiniteError, WeightsError
from opensora_core.pipelines import trainable
from opensora_core.pipelines.opensora import OpenSora
from tests.pipelines.models import NANO, PROMPT, clip, distance, make

CAPTIONS = [PROMPT, "a large green star"]


def batch(model):
    return model.encode(np.stack([clip(), clip(seed=1)]))


def test_a_training_step_is_gradients_and_their_application():
    one, two = make(), make()
    assert one.supports_training
    z = batch(one)
    for seed in (0, 1):
        loss, grads = two.compute_gradients(z, CAPTIONS, seed=seed)
        two.apply_gradients(grads, 1e-3)
        assert loss == one.train_step(z, CAPTIONS, seed=seed, learning_rate=1e-3)
    assert one.to_bytes() == two.to_bytes()


def test_gradients_are_slopes_of_the_loss():
    model = make(dtype="float64")
    z, rng, h = batch(model), np.random.default_rng(0), 1e-5
    _, grads = model.compute_gradients(z, CAPTIONS, seed=0)
    state = model.state_dict()
    assert grads.keys() == {name for name in state if name.startswith("denoiser.")} - {"denoiser.rope.freqs"}
    way = {name: rng.standard_normal(g.shape) for name, g in grads.items()}
    losses = []
    for sign in (1, -1):
        model.load_state_dict({**state, **{name: state[name] + sign * h * way[name] for name in way}})
        losses.append(model.compute_gradients(z, CAPTIONS, seed=0)[0])
    slope = sum(float((grads[name] * way[name]).sum()) for name in way)
    assert (losses[0] - losses[1]) / (2 * h) == pytest.approx(slope, rel=1e-6)


def test_backends_agree_on_gradients():
    ours, theirs = make("numpy", "float64"), make("torch", "float64")
    z = batch(ours)
    (a, first), (b, second) = (model.compute_gradients(z, CAPTIONS, seed=1) for model in (ours, theirs))
    assert a == pytest.approx(b, rel=1e-10)
    inputs, theirs = (model.input_gradients(z, CAPTIONS, seed=1) for model in (ours, theirs))
    for found, expected in ((first, second), (inputs, theirs)):
        assert found.keys() == expected.keys()
        assert all(np.linalg.norm(found[n] - e) <= 1e-9 * np.linalg.norm(e) for n, e in expected.items())


def test_gradients_that_do_not_fit_or_are_no_numbers_change_nothing():
    model = make()
    before = model.to_bytes()
    _, grads = model.compute_gradients(batch(model), CAPTIONS, seed=0)
    name = next(iter(grads))
    with pytest.raises(WeightsError, match=name):
        model.apply_gradients({n: g for n, g in grads.items() if n != name})
    with pytest.raises(NonFiniteError, match="a gradient is not finite"):
        model.apply_gradients({**grads, name: grads[name] * np.nan})
    assert model.to_bytes() == before


def test_input_gradients_are_slopes_too(monkeypatch):
    model = make(dtype="float64")
    z, captions, h = batch(model)[:1], CAPTIONS[:1], 2.0**-8
    monkeypatch.setattr(trainable, "CAPTION_DROPOUT", 0.0)
    grads = model.input_gradients(z, captions, seed=0)
    features, mask = model.encode_prompt(captions[0])
    assert grads["latents"].shape == z.shape
    assert grads["prompt_embeds"].shape == features.shape
    assert np.abs(grads["prompt_embeds"][mask]).min() > 0
    assert not grads["prompt_embeds"][~mask].any(), "padding moves nothing"
    assert list(model.input_gradients(z, captions, seed=0, wrt=["latents"])) == ["latents"]
    way = np.random.default_rng(1).standard_normal(z.shape)
    ends = [(z + sign * h * way).astype("float32") for sign in (1, -1)]  # as latents are
    losses = [model.compute_gradients(end, captions, seed=0)[0] for end in ends]
    slope = float((grads["latents"] * (ends[0].astype(float) - ends[1])).sum())
    assert losses[0] - losses[1] == pytest.approx(slope, rel=1e-3)


def test_what_gradients_are_asked_for_must_be_an_input():
    model = make()
    with pytest.raises(InvalidInputError, match="wrt='pixels' is not one of latents, prompt_embeds"):
        model.input_gradients(batch(model), CAPTIONS, seed=0, wrt=["pixels"])


# ---------------------------------------------------------------------- one vector


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_weights_go_through_a_vector_bit_for_bit(dtype):
    model, other = make(dtype=dtype), OpenSora.from_config(NANO, backend="numpy", dtype=dtype, seed=5)
    vector = model.flatten()
    assert vector.shape == (model.num_parameters,)
    assert vector.dtype == ("float64" if dtype == "float64" else "float32")
    assert other.to_bytes() != model.to_bytes()
    other.update_parameters(vector)
    assert other.to_bytes() == model.to_bytes()
    assert [name for name, _ in model.iter_state()] == list(model.state_dict())


def test_a_vector_must_have_the_length_and_hold_numbers():
    model = make()
    before, vector = model.to_bytes(), model.flatten()
    with pytest.raises(InvalidInputError, match=rf"must have shape \({len(vector)},\)"):
        model.update_parameters(vector[:-1])
    vector[7] = np.nan
    with pytest.raises(NonFiniteError, match="first at index 7"):
        model.update_parameters(vector)
    assert model.to_bytes() == before


# ---------------------------------------------------------------------- checkpoints


@pytest.mark.parametrize(("backend", "dtype"), [("numpy", "float32"), ("numpy", "bfloat16"), ("torch", "float32")])
def test_training_goes_on_from_a_checkpoint_bit_for_bit(tmp_path, backend, dtype):
    model, again = make(backend, dtype), make(backend, dtype)
    z = batch(model)
    model.train_step(z, CAPTIONS, seed=0, learning_rate=1e-3)
    again.load_checkpoint(model.save_checkpoint(tmp_path / "kept"))
    losses = [[m.train_step(z, CAPTIONS, seed=s, learning_rate=1e-3) for s in (1, 2)] for m in (model, again)]
    assert losses[0] == losses[1]
    assert again.to_bytes() == model.to_bytes()


def test_training_goes_on_with_another_backend(tmp_path):
    ours, theirs = make("torch"), make("numpy")
    z = batch(ours)
    ours.train_step(z, CAPTIONS, seed=0, learning_rate=1e-3)
    theirs.load_checkpoint(ours.save_checkpoint(tmp_path / "kept"))
    for seed in (1, 2):
        ours.train_step(z, CAPTIONS, seed=seed, learning_rate=1e-3)
        theirs.train_step(z, CAPTIONS, seed=seed, learning_rate=1e-3)
    assert distance(theirs.flatten(), ours.flatten()) < 1e-4


def test_a_checkpoint_of_something_else_is_refused_and_changes_nothing(tmp_path):
    model = make()
    before = model.to_bytes()
    make(guidance_scale=2.0).save_checkpoint(tmp_path / "other")
    with pytest.raises(InvalidInputError, match=r"of another configuration: guidance_scale=2\.0 there, 7\.5 here"):
        model.load_checkpoint(tmp_path / "other")
    model.save(tmp_path / "model")
    with pytest.raises(InvalidInputError, match="load a saved model with from_pretrained"):
        model.load_checkpoint(tmp_path / "model")
    assert model.to_bytes() == before


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_gradient_checkpointing_changes_no_gradient(backend):
    model = make(backend)
    z = batch(model)
    plain, again = (
        {**model.compute_gradients(z, CAPTIONS, seed=0, **way)[1], **model.input_gradients(z, CAPTIONS, seed=0, **way)}
        for way in ({}, {"gradient_checkpointing": True})
    )
    assert max(distance(again[name], g) for name, g in plain.items() if g.any()) < 1e-5
    loss = model.compute_gradients(z, CAPTIONS, seed=0)[0]
    assert model.train_step(z, CAPTIONS, seed=0, gradient_checkpointing=True) == loss
