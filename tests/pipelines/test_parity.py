"""One seed, one video: on every backend, in every dtype, whatever the batch."""

from __future__ import annotations

import numpy as np
import pytest

from opensora_core.media.video import Video
from opensora_core.pipelines import generation
from opensora_core.pipelines.generation import encode_prompt, sample_window, text_context
from opensora_core.pipelines.request import Request
from tests.pipelines.models import PROMPT, clip, distance, latents, make

SETTINGS = {"num_frames": 5, "num_inference_steps": 4, "guidance_scale": 3.0}


@pytest.fixture
def starts(monkeypatch):
    """The noise that every sampling begins with, recorded on the host."""
    seen = []
    euler = generation.euler

    def record(ops, velocity, z, *args, **kwargs):
        seen.append(ops.to_numpy(z))
        return euler(ops, velocity, z, *args, **kwargs)

    monkeypatch.setattr(generation, "euler", record)
    return seen


def test_the_noise_of_a_seed_is_the_same_bits_on_every_backend_in_every_dtype(starts):
    for backend in ("numpy", "torch"):
        for dtype in ("float32", "float64", "bfloat16", "float16"):
            latents(make(backend, dtype), PROMPT, seed=3, num_inference_steps=1)
    assert len(starts) == 8
    assert [start.dtype for start in starts] == ["float32", "float64", "float32", "float32"] * 2
    assert all(np.array_equal(start, starts[0]) for start in starts)


@pytest.mark.parametrize("beginning", ["nothing", "image", "video"])
def test_numpy_and_torch_make_the_same_video(beginning):
    given = {
        "nothing": {},
        "image": {"image": clip(1)[0]},
        "video": {"video": Video(clip(3), fps=8), "num_frames": 9},
    }[beginning]
    ours, theirs = (make(backend) for backend in ("numpy", "torch"))
    options = {**SETTINGS, "seed": 11, **given}
    assert distance(latents(theirs, PROMPT, **options), latents(ours, PROMPT, **options)) <= 1e-4
    videos = [list(model.stream(PROMPT, **options))[-1] for model in (ours, theirs)]
    assert videos[0].psnr(videos[1]) >= 60


def test_float64_agrees_far_better_and_is_the_truth_that_float32_is_near():
    truth, other = (latents(make(backend, "float64"), PROMPT, seed=5, **SETTINGS) for backend in ("numpy", "torch"))
    assert distance(other, truth) <= 1e-11
    for backend in ("numpy", "torch"):
        assert 1e-11 < distance(latents(make(backend), PROMPT, seed=5, **SETTINGS), truth) <= 1e-4


@pytest.mark.parametrize("backend", ["numpy", "torch"])
@pytest.mark.parametrize(("dtype", "step"), [("bfloat16", 2**-8), ("float16", 2**-11)])
def test_half_precision_stays_within_some_of_its_steps(backend, dtype, step):
    truth = latents(make(), PROMPT, seed=5, **SETTINGS)
    half = latents(make(backend, dtype), PROMPT, seed=5, **SETTINGS)
    assert half.dtype == np.float32
    assert step / 4 < distance(half, truth) < 32 * step


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_a_batch_may_be_split_anywhere(backend, starts):
    model = make(backend)
    request = Request.create(model.config, seed=0, guidance_scale=2.0)
    prompts = [PROMPT, "a large green star spins", "a small white cross"]

    def sample(first, texts):
        features, mask = encode_prompt(model.ops, model._parts, texts)
        context = text_context(model.ops, model._parts, generation.Prompt(features, mask), 2.0)
        size = {"latent_frames": 2, "latent_size": (2, 2), "batch": len(texts), "first_sample": first}
        *_, last = sample_window(model.ops, model._parts, request, context, **size)
        return model.ops.to_numpy(last.latents)

    whole = sample(0, prompts)
    parts = np.concatenate([sample(0, prompts[:1]), sample(1, prompts[1:])])
    assert np.array_equal(starts[0], np.concatenate(starts[1:]))
    assert distance(parts, whole) < 1e-6
    assert len({row.tobytes() for row in starts[0]}) == 3


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_the_seed_decides(backend):
    model = make(backend)
    first, again, other, zero = (latents(model, PROMPT, seed=s) for s in (1, 1, 2, 0))
    assert np.array_equal(first, again)
    assert distance(other, first) > 0.1
    assert distance(zero, first) > 0.1


def test_seed_0_is_a_seed_and_a_missing_one_is_drawn_anew_and_recorded():
    model = make()
    zero, again = (model.generate_from_text(PROMPT, seed=0) for _ in range(2))
    assert zero == again
    assert zero.metadata["seed"] == 0
    drawn, other = (model.generate_from_text(PROMPT) for _ in range(2))
    assert drawn.metadata["seed"] != other.metadata["seed"]
    assert model.generate_from_text(PROMPT, seed=drawn.metadata["seed"]) == drawn


def test_the_result_says_how_it_was_made():
    video = make("torch", "bfloat16").generate_from_text(
        PROMPT, seed=np.int64(4), fps=4, height=24, negative_prompt="a blue star"
    )
    assert video.metadata == {
        "num_frames": 5, "height": 24, "width": 16, "fps": 4.0, "num_inference_steps": 2, "guidance_scale": 7.5,
        "seed": 4, "prompt": PROMPT, "negative_prompt": "a blue star", "backend": "torch", "dtype": "bfloat16",
    }  # fmt: skip
    assert video.shape == (5, 24, 16, 3)
    assert video.fps == 4
