"""Attention maps, words, blocks: each against what it must mean."""

from __future__ import annotations

import numpy as np
import pytest

from opensora_core.errors import InvalidInputError
from opensora_core.pipelines.interpret.picture import on_pixels
from opensora_core.pipelines.interpret.words import TokenAttribution
from tests.pipelines.models import PROMPT, clip, distance, make

BACKENDS = ["numpy", "torch"]
WORDS = PROMPT.split()


def ask(model, **options):
    return model.attention_maps(model.encode(clip()), timestep=500, prompt=PROMPT, **options)


# ---------------------------------------------------------------------- attention


@pytest.mark.parametrize("backend", BACKENDS)
def test_attention_maps_are_shares_of_what_can_be_seen(backend):
    model = make(backend)
    cross, own = ask(model), ask(model, kind="self")
    assert list(cross) == ["spatial_blocks.0.cross_attn", "temporal_blocks.0.cross_attn"]
    assert list(own) == ["spatial_blocks.0.attn", "temporal_blocks.0.attn"]
    B, H, T, h, w, L = 1, 2, 2, 1, 1, 12  # patches of 2x2 latents
    assert {m.shape for m in cross.values()} == {(B, H, T, h, w, L)}
    assert [m.shape for m in own.values()] == [(B, T, H, h * w, h * w), (B, h * w, H, T, T)]
    for found in (*cross.values(), *own.values()):
        np.testing.assert_allclose(found.sum(axis=-1), 1, rtol=1e-5)
    assert not any(m[..., len(WORDS) :].any() for m in cross.values()), "padding is not looked at"


@pytest.mark.parametrize("kind", ["cross", "self"])
def test_attention_maps_times_values_are_what_attention_puts_out(kind):
    model = make(dtype="float64")
    z = model.encode(clip(5, 32, 48))  # several patches
    name = f"denoiser.temporal_blocks.0.{'cross_attn' if kind == 'cross' else 'attn'}"
    twin, calls = model.capture([name])
    twin.predict(z, timestep=500, prompt=PROMPT)
    (weights,) = model.attention_maps(z, timestep=500, prompt=PROMPT, names=[name.removeprefix("denoiser.")]).values()
    layer, (call,) = part_of(model, name), calls[name]
    x = call.args[0]  # (B, T, S, C)
    if kind == "cross":
        values = call.args[1].values  # (B, H, L, D)
        seen = np.einsum("bhtijl,bhld->btijhd", weights, values)
    else:
        values = layer.qkv(model.ops, x).reshape(*x.shape[:3], 3, layer.num_heads, -1)[:, :, :, 2]  # (B, T, S, H, D)
        seen = np.einsum("bshtu,bushd->btshd", weights, values)
    assert distance(layer.proj(model.ops, seen.reshape(x.shape)), call.output) < 1e-12


def part_of(model, name):
    part = model._parts
    for step in name.split("."):
        part = part[int(step)] if step.isdigit() else getattr(part, step)
    return part


def test_backends_see_the_same():
    ours, theirs = (ask(make(backend, "float64"), kind="self") for backend in BACKENDS)
    assert all(distance(ours[name], theirs[name]) < 1e-9 for name in ours)


def test_a_layer_that_is_none_is_refused():
    with pytest.raises(InvalidInputError, match=r"final_layer: no attention layer; there are spatial_blocks\.0\.attn"):
        ask(make(), names=["final_layer"])
    with pytest.raises(InvalidInputError, match="kind='text' is not one of cross, self"):
        ask(make(), kind="text")


# ---------------------------------------------------------------------- words


@pytest.mark.parametrize("backend", BACKENDS)
def test_words_have_influence_and_what_is_no_word_has_none(backend):
    model = make(backend)
    found = model.token_attribution(clip(), PROMPT, timesteps=[500, 900])
    assert found.words == tuple(WORDS)
    assert found.influence.shape == (len(WORDS), 2, 2, 2)
    assert (found.influence > 0).all()
    assert found.per_frame.shape == (len(WORDS), 2)
    silent = model.token_attribution(clip(), "red ... circle", timesteps=[500])
    assert not silent.influence[1].any(), "a word that the model does not read"
    again = model.token_attribution(clip(), PROMPT, timesteps=[500, 900])
    assert np.array_equal(again.influence, found.influence)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"prompt": "circle"}, "needs at least two words"),
        ({"prompt": ""}, "is empty"),
        ({"timesteps": []}, "timesteps is empty"),
        ({"timesteps": [1001]}, "timesteps=1001 must be a number from 0 to 1000"),
        ({"video": np.stack([clip(), clip()])}, "2 videos were given"),
    ],
)
def test_words_cannot_be_attributed_to_nothing(options, words):
    with pytest.raises(InvalidInputError, match=words):
        make().token_attribution(**{"video": clip(), "prompt": PROMPT, **options})


def test_heat_lies_on_the_pixels_of_its_latents():
    influence = np.zeros((2, 2, 2, 3), np.float32)
    influence[1, 1, 0, 2] = 1
    heat = on_pixels(influence, (5, 16, 24))
    assert heat.shape == (2, 5, 16, 24)
    hot = np.argwhere(heat)
    assert [tuple(np.unique(axis)) for axis in hot.T] == [(1,), (1, 2, 3, 4), tuple(range(8)), tuple(range(16, 24))]
    picture = TokenAttribution(("red", "circle"), influence).picture(clip(5, 16, 24))
    pixels = np.asarray(picture)
    assert pixels.shape[0] // 3 == 16 * 4 + 2, "the frames and two words, enlarged to 96 pixels a line, and a gap each"
    assert len(np.unique(pixels)) > 100


# ---------------------------------------------------------------------- blocks, and the loss of a caption


def test_the_shares_of_the_tokens_add_up_to_what_the_caption_changes():
    model = make(dtype="float64")
    z = model.encode(clip())
    found = model.integrated_gradients(z, [PROMPT], seed=0, steps=20)
    assert found.attribution.shape == (1, 12)
    assert not found.attribution[0, len(WORDS) :].any()
    assert found.loss != found.baseline_loss
    assert found.attribution.sum() == pytest.approx(found.loss - found.baseline_loss, rel=1e-2)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_block_without_effect_has_no_importance(backend):
    model = make(backend)
    z = model.encode(clip())
    state = model.state_dict()
    still = [f"denoiser.temporal_blocks.0.{part}" for part in ("attn.proj", "cross_attn.proj", "mlp.fc2")]
    mute = {f"{name}.{kind}": 0 * state[f"{name}.{kind}"] for name in still for kind in ("weight", "bias")}
    model.load_state_dict({**state, **mute})
    found = model.layer_importance(z, [PROMPT], seed=0)
    assert list(found) == ["spatial_blocks.0", "temporal_blocks.0"]
    assert found["temporal_blocks.0"] == 0 != found["spatial_blocks.0"]


def test_a_captured_model_generates_the_same_and_notes_its_parts():
    model = make()
    twin, calls = model.capture(["denoiser.spatial_blocks.0", "text_encoder.norm"])
    video = twin.generate_from_text(PROMPT, seed=0)
    assert video == model.generate_from_text(PROMPT, seed=0)
    assert len(calls["denoiser.spatial_blocks.0"]) == model.config.num_inference_steps
    assert calls["text_encoder.norm"][0].output.shape == (1, 12, 16)
    with pytest.raises(InvalidInputError, match="has no part 'nothing'"):
        model.capture(["denoiser.nothing"])
