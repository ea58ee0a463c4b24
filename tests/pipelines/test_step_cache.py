"""Generations that leave out steps: what they compute, what they say, and how near they come."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from opensora_core.dit.blocks import STDiT3Block
from opensora_core.errors import InvalidInputError
from opensora_core.pipelines.opensora import OpenSora
from opensora_core.pipelines.published.planning import GenerationPlan
from opensora_core.pipelines.request import Request, peak_bytes
from opensora_core.releases.release import RELEASES
from tests.pipelines.models import NANO, PROMPT, clip, distance, latents, make
from tests.pipelines.tiny_published import IMAGE, SMALL, TEXT, published, write_models

OPTIONS = {"seed": 0, "num_inference_steps": 8}
BLOCKS = 2 * NANO.num_layers


@pytest.fixture
def runs(monkeypatch):
    """Counts calls of blocks."""
    counted, around = [0], STDiT3Block.around

    def count(self, *args):
        counted[0] += 1
        return around(self, *args)

    monkeypatch.setattr(STDiT3Block, "around", count)
    return counted


@pytest.mark.parametrize("off", [{"step_cache": 1}, {"step_cache": None}])
def test_switched_off_nothing_changes_and_nothing_is_said(off):
    plain = make().generate_from_text(PROMPT, **OPTIONS)
    video = make().generate_from_text(PROMPT, **OPTIONS, **off)
    assert np.array_equal(video.frames, plain.frames)
    assert video.metadata == plain.metadata
    assert "step_cache" not in video.metadata


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_blocks_run_in_the_computed_steps_alone_and_the_result_says_so(backend, runs):
    video = make(backend).generate_from_text(PROMPT, **OPTIONS, step_cache=3)
    assert runs[0] == BLOCKS * 4  # steps 0, 3, 6 and 7
    assert (video.metadata["step_cache"], video.metadata["approximated_steps"]) == (3, 4)


def test_the_first_step_without_guidance_is_computed(runs):
    model = make(guidance_interval=(600.0, 1000.0))
    video = model.generate_from_text(PROMPT, **OPTIONS, step_cache=5)  # 1000, 875, 750, 625 with guidance, 500 without
    assert runs[0] == BLOCKS * 4  # steps 0, 4, 5 and 7
    assert video.metadata["approximated_steps"] == 4


def test_backends_leave_out_the_same_steps_and_agree():
    options = {**OPTIONS, "step_cache": 2, "num_frames": 8}
    on_numpy, on_torch = (latents(make(backend), PROMPT, **options) for backend in ("numpy", "torch"))
    assert distance(on_torch, on_numpy) < 1e-5
    assert distance(on_numpy, latents(make(), PROMPT, **{**options, "step_cache": 1})) > 1e-4


def test_every_window_of_a_long_video_begins_anew(runs):
    video = make().generate_from_text(PROMPT, **OPTIONS, num_frames=8, condition_frames=1, step_cache=3)
    assert video.num_frames == 8  # windows of 5 and of 1 + 3
    assert runs[0] == 2 * BLOCKS * 4
    assert video.metadata["approximated_steps"] == 8


def test_given_frames_stay():
    model = make("torch")
    longer = model.extend_video(clip(), PROMPT, num_frames=3, **OPTIONS, step_cache=2)
    assert np.array_equal(longer.frames[:5], clip())
    options = {**OPTIONS, "num_frames": 5}
    plain, video = (model.generate_from_image(clip()[0], PROMPT, **options, step_cache=k) for k in (1, 2))
    assert np.array_equal(video.frames[0], plain.frames[0])
    assert video.metadata["approximated_steps"] == 3


def test_the_embedded_model_comes_nearer_than_with_as_many_steps_fewer():
    model = OpenSora.from_pretrained(backend="torch", device="cpu")
    options = {"seed": 1, "num_frames": 9}
    exact, cached, fewer = (
        latents(model, PROMPT, **options, **more)
        for more in ({}, {"step_cache": 2}, {"num_inference_steps": 18})  # 18 computed steps in both
    )
    assert distance(cached, exact) < 0.05
    assert distance(cached, exact) < distance(fewer, exact) / 1.5


@pytest.mark.parametrize("value", [0, -2, 1.5, "3", True, 10_001])
def test_what_is_no_interval_is_refused(value):
    with pytest.raises(InvalidInputError, match=f"step_cache={value!r} must be a whole number from 1 to 10000"):
        make().generate_from_text(PROMPT, step_cache=value)


def test_a_compiled_denoiser_is_not_taken_apart():
    model = make()
    model._loaded = replace(model._parts, compiled=lambda denoiser, *inputs: denoiser.denoise(model.ops, *inputs))
    with pytest.raises(InvalidInputError, match=r"step_cache=2 leaves out the blocks .* compiled as a whole"):
        model.generate_from_text(PROMPT, step_cache=2)


def test_memory_of_what_is_kept_is_foreseen():
    plain, cached = (peak_bytes(NANO, Request.create(NANO, step_cache=k), 1, "float32") for k in (1, 2))
    assert cached > plain


# ---------------------------------------------------------------------- published releases


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_models(tmp_path_factory.mktemp("published"))


@pytest.mark.parametrize("release", ["v1.2", "v1.3"])
def test_published_models_leave_out_the_same_steps_on_numpy_and_torch(folder, release, runs):
    options = {**SMALL, "num_inference_steps": 5, "prompt_embeds": TEXT, "num_frames": 17}
    videos = [
        published(folder, release, b).generate_from_image(IMAGE, **options, step_cache=3) for b in ("numpy", "torch")
    ]
    assert runs[0] == 2 * 2 * 3  # steps 0, 3 and 4 of two blocks, twice
    assert [video.metadata["approximated_steps"] for video in videos] == [2, 2]
    assert videos[0].psnr(videos[1]) > 60
    plain = published(folder, release).generate_from_image(IMAGE, **options)
    assert 20 < plain.psnr(videos[0]) < 90
    assert plain.metadata.keys() == videos[0].metadata.keys() - {"step_cache", "approximated_steps"}


def test_other_releases_refuse(folder):
    with pytest.raises(InvalidInputError, match=r"step_cache=2 is an option of v1\.2 and v1\.3, not of v1\.1"):
        published(folder, "v1.1").generate_from_text("", prompt_embeds=TEXT, **SMALL, step_cache=2)
    assert published(folder, "v1.1").request(step_cache=1).step_cache == 1


def test_a_plan_counts_what_is_kept():
    size = {"height": 96, "width": 160, "num_frames": 17}
    plans = (GenerationPlan(RELEASES["v1.2"], "numpy", "float32", **size, step_cache=k) for k in (1, 3))
    plain, cached = (next(stage for stage in plan.stages() if stage.name == "denoiser") for plan in plans)
    tokens = 2 * 5 * 6 * 10 * 1152 * 4  # bytes, of both rows
    assert cached.weights == plain.weights
    assert 2 * tokens <= cached.activations - plain.activations < 4 * tokens
