"""The sampler of a generation is chosen by name, and told what the official configurations tell it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from opensora_core.errors import InvalidInputError
from opensora_core.pipelines.opensora import OpenSora
from opensora_core.pipelines.published.request import SAMPLER_OPTIONS, PublishedRequest
from opensora_core.pipelines.request import Request
from opensora_core.releases.release import RELEASES
from opensora_core.serialization.reader import read_safetensors
from tests.pipelines.tiny_published import IMAGE, SMALL, TEXT, published, write_models

VECTORS = {"pooled": np.ones((1, 64), np.float32), "negative_pooled": np.zeros((1, 64), np.float32)}
TEXT_V2 = TEXT._replace(negative=(TEXT.features * 0, TEXT.mask), **VECTORS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All releases."""
    return write_models(tmp_path_factory.mktemp("published"))


def made(folder: Path, release: str, backend: str = "numpy", **options: Any) -> Any:
    text = TEXT_V2 if release in ("v2.0", "distilled") else TEXT
    options = {**SMALL, "num_inference_steps": 3, "num_frames": 1, "prompt_embeds": text, **options}
    return published(folder, release, backend).generate_from_text("", **options)


@pytest.mark.parametrize("release", ["v1.0", "v1.1"])
@pytest.mark.parametrize("sampler", ["ddim", "dpm-solver++"])
def test_a_diffusion_is_sampled_by_name_alike_on_numpy_and_torch(folder: Path, release: str, sampler: str) -> None:
    seen: list[float] = []
    options = {"sampler": sampler, "callback_on_step_end": lambda m, step, timestep, state: seen.append(timestep)}
    video = made(folder, release, **options)
    assert video.metadata["sampler"] == sampler
    assert len(seen) == 3  # the denoiser is asked once a step
    assert seen[0] == pytest.approx(999)
    np.testing.assert_array_equal(video.frames, made(folder, release, **options).frames)  # of the same seed
    assert video.psnr(made(folder, release, "torch", **options)) >= 60
    assert video.psnr(made(folder, release)) < 60  # the official one


def test_a_sampler_and_what_it_does_not_read_are_refused_together(folder: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"reads guidance_scale; .*v2\.0.* has no layer guidance_in"):
        made(folder, "v2.0", sampler="distilled")
    for options in ({"negative_prompt": "fog"}, {"negative_prompt_embeds": TEXT_V2}):
        asked = {"prompt_embeds": None, "sampler": "distilled", **options}
        with pytest.raises(InvalidInputError, match="sampler='distilled' stays away from nothing"):
            made(folder, "distilled", **asked)
    with pytest.raises(InvalidInputError, match="image_resolution='256px' is of the picture that cond_type='t2i2v'"):
        made(folder, "v2.0", image_resolution="256px")


def test_a_distilled_denoiser_is_told_the_scale_of_guidance(folder: Path) -> None:
    weak, strong = (made(folder, "distilled", sampler="distilled", guidance_scale=scale) for scale in (1.0, 9.0))
    assert weak.metadata["sampler"] == "distilled"
    assert (weak.frames != strong.frames).any()


def test_eta_adds_noise_to_ddim(folder: Path) -> None:
    still, noisy = (made(folder, "v1.1", sampler="ddim", eta=eta) for eta in (0.0, 0.8))
    assert (noisy.metadata["eta"], still.metadata["eta"]) == (0.8, 0.0)
    assert still.psnr(noisy) < 60


@pytest.mark.parametrize(
    ("release", "options", "changes"),
    [
        ("v1.1", {"num_inference_steps": 3}, {"cfg_channel": 4}),
        ("v1.2", {"num_frames": 17}, {"use_timestep_transform": False}),
        ("v1.2", {"num_frames": 17}, {"transform_scale": 3.0}),
        ("v1.3", {"num_inference_steps": 12}, {"text_osci": False}),
        ("v1.3", {}, {"use_flaw_fix": False}),
        ("v2.0", {}, {"use_timestep_transform": False}),
        ("v2.0", {}, {"flow_shift": 7.0}),
        ("v1.3", {"num_frames": 9, "references": [IMAGE], "cond_type": "i2v_head"}, {"use_sdedit": True}),
        ("v1.3", {"num_frames": 9, "references": [IMAGE], "cond_type": "i2v_head"}, {"scale_temporal_osci": True}),
        ("v2.0", {"num_frames": 9, "references": [IMAGE], "cond_type": "i2v_head"}, {"scale_temporal_osci": False}),
        ("v2.0", {"num_frames": 9, "references": [IMAGE], "cond_type": "i2v_head"}, {"image_guidance_scale": 6.0}),
    ],
)
def test_official_settings_reach_the_sampler(
    folder: Path, tmp_path: Path, release: str, options: dict[str, Any], changes: dict[str, Any]
) -> None:
    file = tmp_path / "latents.safetensors"
    latents = []
    for asked in (options, {**options, **changes}):
        video = made(folder, release, latents_file=file, **asked)
        latents.append(read_safetensors(file)["clip0"])
    assert changes.items() <= video.metadata.items()
    assert np.isfinite(latents[1]).all()
    assert np.abs(latents[0] - latents[1]).max() > 1e-4


def test_without_guidance_the_denoiser_sees_the_prompt_alone(folder: Path) -> None:
    plain = made(folder, "v1.2", guidance_scale=1.0)
    assert plain.psnr(made(folder, "v1.2", guidance_scale=1.0 + 1e-6)) >= 60


@pytest.mark.parametrize(
    ("release", "options", "words"),
    [
        ("v1.0", {"sampler": "euler"}, "sampler='euler' is not one of iddpm, ddim, dpm-solver"),
        ("v1.2", {"sampler": "ddim"}, "sampler='ddim' is not one of rflow: this model is a rectified flow"),
        ("v2.0", {"sampler": "iddpm"}, "'iddpm' is not one of rflow, distilled"),
        ("v1.3", {"eta": 0.5}, r"eta is no option of the sampler of v1\.3, which takes sampler, use_timestep"),
        ("v1.1", {"eta": 0.5}, "eta=0.5 is an option of sampler='ddim', not of 'iddpm'"),
        ("v1.1", {"sampler": "ddim", "eta": 2}, "eta=2 must be a number from 0 to 1"),
        ("v1.1", {"cfg_channel": 5}, "cfg_channel=5 must be a whole number from 1 to 4"),
        ("v1.0", {"cfg_channel": 3, "sampler": "dpm-solver++"}, "cfg_channel=3 is an option of sampler='iddpm' and"),
        ("v1.0", {"num_inference_steps": 1, "sampler": "dpm-solver++"}, "num_inference_steps=1 must be .* at least 2"),
        ("v2.0", {"sampler": "distilled", "image_guidance_scale": 3}, "image_guidance_scale=3 has no effect with"),
        ("v2.0", {"sampler": "distilled", "text_osci": False}, "text_osci is an option of sampler='rflow'"),
        (
            "v1.1",
            {"steps": 3},
            r"unknown options \['steps'\]; those of v1\.1: (?!.*(score|step_cache|image_|osci)).*eta",
        ),
        ("v1.2", {"transform_scale": 0}, "transform_scale=0 must be a number above 0"),
        ("v1.3", {"use_sdedit": 1}, "use_sdedit=1 must be true or false"),
    ],
)
def test_a_sampler_that_a_release_does_not_have_is_refused(release: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        PublishedRequest.create(RELEASES[release], **options)


def test_samplers_that_keep_no_frames_say_so_before_anything_is_read(folder: Path) -> None:
    for options in ({"num_frames": 25}, {"references": [IMAGE], "mask_strategy": "0"}):
        with pytest.raises(InvalidInputError, match=r"'ddim' makes one clip from text alone; .* sampler='iddpm'"):
            made(folder, "v1.1", sampler="ddim", **options)


def test_other_models_know_one_sampler() -> None:
    model = OpenSora.from_pretrained(backend="numpy")
    assert isinstance(model.request(sampler="rflow", seed=0), Request)
    with pytest.raises(InvalidInputError, match=r"sampler=.dpm-solver.* is not one of rflow: this model is a rect"):
        model.request(sampler="dpm-solver++")


def test_every_option_of_a_sampler_is_checked_and_told() -> None:
    for release in RELEASES.values():
        settings = PublishedRequest.create(release, seed=0).settings()
        assert {name for name, value in vars(release.sample).items() if value is not None} <= settings.keys()
        assert "sample" not in settings
        for name in vars(release.sample):
            assert name in SAMPLER_OPTIONS
            with pytest.raises(InvalidInputError, match=f"{name}='\\?'"):
                PublishedRequest.create(release, **{name: "?"})
