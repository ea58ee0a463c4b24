"""What becomes of text: prompts, negative prompts, embeddings, guidance, and none at all."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from opensora_core.capture import capture
from opensora_core.errors import InvalidInputError, NonFiniteError
from opensora_core.pipelines.inputs import MAX_PROMPT
from opensora_core.text.warning import PromptWarning
from tests.pipelines.models import NANO, PROMPT, clip, distance, latents, make

OTHER = "a large green star on a yellow background"


def watched(*parts, backend="numpy", **changes):
    """A model, and the calls of parts of its denoiser."""
    model = make(backend, **changes)
    denoiser, calls = capture(model._parts.denoiser, parts)
    model._loaded = replace(model._parts, denoiser=denoiser)
    return model, calls


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_the_text_is_projected_once_a_generation_whatever_the_steps_and_windows(backend):
    model, calls = watched("y_embedder.y_proj", "final_layer", backend=backend)
    model.generate_from_text(PROMPT, seed=0, num_frames=12, num_inference_steps=3)
    assert len(calls["y_embedder.y_proj"]) == 1
    assert len(calls["final_layer"]) == 3 * 3  # windows of 5, 4 more and 4 more frames


@pytest.mark.parametrize(("guidance_scale", "rows"), [(0, 2), (0.5, 2), (1, 1), (1.0, 1), (7.5, 2)])
def test_guidance_of_1_needs_no_second_half_of_the_batch(guidance_scale, rows):
    model, calls = watched("final_layer")
    model.generate_from_text(PROMPT, seed=0, guidance_scale=guidance_scale)
    assert [call.args[0].shape[0] for call in calls["final_layer"]] == [rows, rows]


@pytest.mark.parametrize(
    ("interval", "rows"),
    [((0, 1000), [2, 2, 2, 2]), ((500, 1000), [2, 2, 2, 1]), ((500, 750), [1, 2, 2, 1]), ((0, 100), [1, 1, 1, 1])],
)
def test_only_timesteps_of_the_interval_are_guided(interval, rows):
    model, calls = watched("final_layer", guidance_interval=interval)
    model.generate_from_text(PROMPT, seed=0, num_inference_steps=4)  # at timesteps 1000, 750, 500 and 250
    assert [call.args[0].shape[0] for call in calls["final_layer"]] == rows


def test_without_a_guided_timestep_the_scale_does_not_matter():
    never, alone = make(guidance_interval=(0, 0)), make(guidance_scale=1.0)
    assert distance(latents(never, PROMPT, seed=0), latents(alone, PROMPT, seed=0)) < 1e-5


def test_guidance_moves_linearly_from_the_unconditional_velocity_through_the_conditional_one():
    model = make(num_inference_steps=1)
    at = {g: latents(model, PROMPT, seed=0, guidance_scale=g) for g in (0, 1, 3)}
    np.testing.assert_allclose(at[3], at[0] + 3 * (at[1] - at[0]), rtol=1e-4, atol=1e-4)
    assert distance(at[1], at[0]) > 0.01


def test_a_negative_prompt_takes_the_place_of_the_null_caption():
    model, calls = watched("y_embedder.y_proj")
    plain = latents(model, PROMPT, seed=0)
    away = latents(model, PROMPT, seed=0, negative_prompt=OTHER)
    assert distance(away, plain) > 0.01
    (null,), (negative,) = (call.args for call in calls["y_embedder.y_proj"])
    assert np.array_equal(null[1], model.state_dict()["denoiser.y_embedder.y_embedding"])
    assert np.array_equal(negative[1:], model.encode_prompt(OTHER)[0])
    assert np.array_equal(null[0], negative[0])


def test_away_from_the_prompt_itself_guidance_changes_nothing():
    model = make("numpy", "float64")
    alone = latents(model, PROMPT, seed=0, guidance_scale=1)
    itself = latents(model, PROMPT, seed=0, guidance_scale=9, negative_prompt=PROMPT)
    assert distance(itself, alone) < 1e-12


@pytest.mark.parametrize("negative", ["", "  \n", None])
def test_a_blank_negative_prompt_is_none(negative):
    model = make()
    assert np.array_equal(latents(model, PROMPT, seed=0, negative_prompt=negative), latents(model, PROMPT, seed=0))


def test_without_a_prompt_the_null_caption_is_seen_and_guidance_has_nothing_to_do():
    model, calls = watched("y_embedder.y_proj")
    image = clip(1)[0]
    without = latents(model, "", image=image, seed=0)
    (y,) = calls["y_embedder.y_proj"][0].args
    assert np.array_equal(y[0], y[1])
    assert distance(latents(model, " ", image=image, seed=0, guidance_scale=1), without) < 1e-5
    assert distance(latents(model, PROMPT, image=image, seed=0), without) > 0.01


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_embeddings_of_a_prompt_do_what_the_prompt_does(backend):
    model = make(backend)
    features, mask = model.encode_prompt(PROMPT)
    assert features.shape == (1, 12, 16)
    assert mask.tolist() == [[True] * 9 + [False] * 3]
    expected = latents(model, PROMPT, seed=0)
    assert np.array_equal(latents(model, "", prompt_embeds=features, prompt_mask=mask, seed=0), expected)
    ints = latents(model, "", prompt_embeds=features.tolist(), prompt_mask=mask.astype(int)[0:1].tolist(), seed=0)
    assert np.array_equal(ints, expected)
    assert distance(latents(model, "", prompt_embeds=features, seed=0), expected) > 1e-4  # pads are seen, too


def test_embeddings_of_a_negative_prompt_do_what_it_does():
    model = make()
    features, mask = model.encode_prompt(OTHER)
    negative = {"negative_prompt_embeds": features, "negative_prompt_mask": mask}
    expected = latents(model, PROMPT, negative_prompt=OTHER, seed=0)
    assert np.array_equal(latents(model, PROMPT, **negative, seed=0), expected)
    with pytest.raises(InvalidInputError, match="negative_prompt and negative_prompt_embeds both say"):
        latents(model, PROMPT, negative_prompt=OTHER, **negative)


def test_torch_tensors_are_embeddings_too():
    model = make("torch")
    features, mask = (model.ops.asarray(a) for a in model.encode_prompt(PROMPT))
    assert np.array_equal(
        latents(model, "", prompt_embeds=features, prompt_mask=mask, seed=0), latents(model, PROMPT, seed=0)
    )


def test_a_prediction_takes_embeddings_for_all_its_samples():
    model, z = make(), np.random.default_rng(0).standard_normal((2, 4, 1, 2, 2))
    features, mask = model.encode_prompt(PROMPT)
    expected = model.predict(z, timestep=500, prompt=PROMPT)
    assert np.array_equal(model.predict(z, timestep=500, prompt_embeds=features, prompt_mask=mask), expected)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"prompt_embeds": np.zeros((1, 11, 16))}, r"shape \(1, 11, 16\) must have shape \(1, 12, 16\)"),
        ({"prompt_embeds": [[1.0]]}, r"shape \(1, 1\) must have shape \(1, 12, 16\)"),
        ({"prompt_embeds": np.zeros((1, 12, 16)), "prompt_mask": [True]}, r"\(1,\) must have shape \(1, 12\)"),
        ({"prompt_mask": np.ones((1, 12))}, "prompt_mask goes with prompt_embeds"),
        ({"negative_prompt_embeds": np.zeros((1, 12, 15))}, r"negative_prompt_embeds of shape \(1, 12, 15\) must have"),
    ],
)
def test_embeddings_of_another_shape_are_refused(options, words):
    with pytest.raises(InvalidInputError, match=words):
        make().generate_from_text(PROMPT, **options)


def test_embeddings_that_are_not_finite_are_refused():
    features = np.full((1, 12, 16), 1e6)
    with pytest.raises(NonFiniteError, match="NaN or Inf in float16"), np.errstate(over="ignore"):
        make(dtype="float16").generate_from_text("", prompt_embeds=features)
    with pytest.raises(NonFiniteError, match="NaN or Inf in float32"):
        make().generate_from_text("", prompt_embeds=features * np.nan)


@pytest.mark.parametrize("empty", ["", " \t\n"])
def test_text_to_video_needs_text(empty):
    with pytest.raises(InvalidInputError, match="prompt is empty; say what the video should show"):
        make().generate_from_text(empty)
    with pytest.raises(InvalidInputError, match="prompt is empty"):
        make().predict(np.zeros((1, 4, 1, 2, 2)), timestep=1, prompt=empty)


@pytest.mark.parametrize("name", ["prompt", "negative_prompt"])
def test_what_is_no_text_or_absurdly_long_is_refused(name):
    def ask(value):
        return {"prompt": PROMPT, name: value}

    model = make()
    with pytest.raises(InvalidInputError, match=rf"{name}=7 must be text"):
        model.generate_from_text(**ask(7))
    with pytest.raises(InvalidInputError, match=rf"{name} 'aaaa.*has 2501 characters; at most 2500"):
        model.generate_from_text(**ask("a" * (MAX_PROMPT + 1)))


def test_the_longest_prompts_of_any_script_fit_into_the_record():
    long = "red " + "😀" * (MAX_PROMPT - 4)
    video = make().generate_from_text(long, negative_prompt=long, seed=0)
    assert video.metadata["prompt"] == video.metadata["negative_prompt"] == long


def test_unknown_and_surplus_words_are_said_and_the_video_is_made():
    model = make()
    with pytest.warns(PromptWarning, match="unknown to this model: zeppelin"):
        model.generate_from_text("a red zeppelin", seed=0)
    with pytest.warns(PromptWarning, match="cut off after 12 words: blue"):
        model.generate_from_text("red " * 12 + "blue", seed=0)
    with pytest.warns(PromptWarning, match="unknown to this model: bad"):
        model.generate_from_text("a red circle", negative_prompt="bad quality", seed=0)


@pytest.mark.parametrize("prompt", ["красный круг", "42", "😀", "?!"])
def test_a_prompt_of_which_nothing_reaches_the_model_is_refused(prompt):
    with pytest.raises(InvalidInputError, match="holds no word that this model reads"):
        make().generate_from_text(prompt)
    with pytest.raises(InvalidInputError, match=r"the negative_prompt .* holds no word"):
        make().generate_from_text(PROMPT, negative_prompt=prompt)


def test_a_vocabulary_of_another_length_than_the_encoder_is_refused():
    with pytest.raises(InvalidInputError, match=r"text\.vocabulary="):
        replace(NANO, vocabulary=("a", "b"))
