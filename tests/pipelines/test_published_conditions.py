"""What published releases are asked for, as officially: scores in prompts, sizes by name, references, long videos."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from opensora_core.conditioning.given_frames import given_frames
from opensora_core.errors import InvalidInputError
from opensora_core.media.video import Video
from opensora_core.pipelines.published.clips import plan_clips
from opensora_core.pipelines.published.coding import decode, encode
from opensora_core.pipelines.published.components import ReleaseFiles, on_backend
from opensora_core.pipelines.published.model import PublishedOpenSora
from opensora_core.pipelines.published.request import PublishedRequest
from opensora_core.pipelines.published.text import worded
from opensora_core.releases.release import RELEASES
from opensora_core.serialization.reader import read_safetensors
from opensora_core.vae.pixels import from_frames
from tests.pipelines.tiny_published import IMAGE, SMALL, TEXT, published, write_models

TEXT_V2 = TEXT._replace(
    negative=(TEXT.features * 0, TEXT.mask),
    pooled=np.ones((1, 64), np.float32),
    negative_pooled=np.zeros((1, 64), np.float32),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All releases."""
    return write_models(tmp_path_factory.mktemp("published"))


def request(release: str, **options: Any) -> PublishedRequest:
    return PublishedRequest.create(RELEASES[release], **options)


# ---------------------------------------------------------------------- prompts and sizes


@pytest.mark.parametrize(
    ("release", "options", "said"),
    [
        ("v1.1", {}, "a cat"),
        ("v1.2", {}, "a cat aesthetic score: 6.5."),
        (
            "v1.2",
            {"aesthetic_score": 7, "motion_score": 4, "camera_motion": "pan left"},
            "a cat aesthetic score: 7.0. motion score: 4.0. camera motion: pan left.",
        ),
        ("v1.3", {"motion_score": 1}, "a cat The aesthetic score is excellent. The motion strength is low."),
        ("v2.0", {}, "a cat. 24 FPS. 4 motion score."),
        ("v2.0", {"motion_score": 7, "fps": 16}, "a cat. 16 FPS. 7 motion score."),
    ],
)
def test_each_release_reads_scores_in_its_own_words(release: str, options: dict[str, Any], said: str) -> None:
    assert worded(RELEASES[release], "a cat", request(release, **options).scores, 1) == [said]


def test_a_schedule_says_what_each_clip_shows() -> None:
    said = worded(RELEASES["v1.2"], "|0|a sea|2|a storm", request("v1.2").scores, 4)
    assert said == [f"{text} aesthetic score: 6.5." for text in ("a sea", "a sea", "a storm", "a storm")]


@pytest.mark.parametrize(
    ("release", "options", "size"),
    [
        ("v1.0", {}, (256, 256)),
        ("v1.2", {}, (240, 426)),
        ("v1.2", {"resolution": "480p"}, (480, 854)),
        ("v1.2", {"aspect_ratio": "9:16"}, (426, 240)),
        ("v1.3", {"resolution": "720p", "aspect_ratio": "1:1"}, (960, 960)),
        ("v2.0", {"resolution": "768px"}, (576, 1024)),
    ],
)
def test_sizes_have_names_width_first(release: str, options: dict[str, Any], size: tuple[int, int]) -> None:
    made = request(release, **options)
    assert (made.height, made.width) == size


@pytest.mark.parametrize(
    ("release", "options", "words"),
    [
        ("v1.2", {"resolution": "241p"}, "resolution='241p' is not one of 144p"),
        ("v2.0", {"aspect_ratio": "7:1"}, "aspect_ratio='7:1' is not one of 2.39:1"),
        ("v1.2", {"resolution": "240p", "height": 240}, "both say the size"),
        ("v1.2", {"height": 241}, "the nearest is 424x240"),
        ("v1.1", {"motion_score": 3}, r"motion_score is nothing that v1\.1 reads in a prompt; it reads no scores"),
        ("v2.0", {"aesthetic_score": 3}, "it reads motion_score"),
        ("v2.0", {"condition_frame_edit": 0.5}, r"an option of v1\.1 and v1\.2"),
    ],
)
def test_what_a_release_does_not_know_is_said(release: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        request(release, **options)


def test_a_video_has_the_size_that_the_autoencoder_gives_back(folder: Path) -> None:
    options = {"prompt_embeds": TEXT, "num_inference_steps": 2, "num_frames": 1, "resolution": "144p"}
    video = published(folder, "v1.1").generate_from_text("", aspect_ratio="3:2", **options)
    named = video.metadata["height"], video.metadata["width"]
    assert named == (156, 234)
    assert video.shape == (1, 152, 232, 3)


# ---------------------------------------------------------------------- clips


@pytest.mark.parametrize(
    ("release", "existing", "frames", "clips"),
    [
        ("v1.2", 0, 51, [(51, 0)]),
        ("v1.2", 0, 85, [(51, 0), (51, 17)]),
        ("v1.2", 100, 116, [(33, 17)]),
        ("v1.2", 7, 20, [(18, 5)]),
        ("v1.1", 0, 25, [(16, 0), (16, 4)]),
        ("v1.3", 0, 16, [(17, 0)]),
        ("v2.0", 0, 200, [(129, 0), (129, 33)]),
    ],
)
def test_clips_are_alike_and_begin_with_whole_latents(
    release: str, existing: int, frames: int, clips: list[tuple[int, int]]
) -> None:
    kind = RELEASES[release]
    found = plan_clips(kind, existing, frames, kind.num_frames)
    assert [(clip.num_frames, clip.given) for clip in found] == clips


def test_clips_that_cannot_be_joined_are_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"clip_frames=40: .* multiple of 17 frames; nearest: 34"):
        plan_clips(RELEASES["v1.2"], 0, 60, 40)
    with pytest.raises(InvalidInputError, match=r"condition_frames=20: .*; nearest: 17"):
        plan_clips(RELEASES["v1.2"], 0, 60, 51, 20)
    with pytest.raises(InvalidInputError, match="condition_frames=34 must be below the 34 frames"):
        plan_clips(RELEASES["v1.2"], 0, 60, 34, 34)


def latents_of(model: PublishedOpenSora, file: Path, prompt: str = "", **options: Any) -> dict[str, np.ndarray]:
    """The latents of every clip."""
    model.generate_from_text(prompt, **{"prompt_embeds": TEXT, "latents_file": file, **SMALL, **options})
    return read_safetensors(file)


def encoded(model: PublishedOpenSora, video: np.ndarray, what: str) -> np.ndarray:
    """Latents of a video, uint8 or decoded, with the noise of the pipeline."""
    video = from_frames(video[None]) if video.dtype == np.uint8 else video
    with on_backend(model.files.autoencoder, model.ops) as vae:
        return model.ops.to_numpy(encode(model.ops, vae, video, SMALL["seed"], what))


@pytest.mark.parametrize(("release", "clip", "given", "noise"), [("v1.1", 6, 4, 0.1), ("v1.2", 34, 5, 0.0)])
def test_a_clip_begins_with_the_end_of_the_whole_one_before(
    folder: Path, tmp_path: Path, release: str, clip: int, given: int, noise: float
) -> None:
    model = published(folder, release)
    made = latents_of(model, tmp_path / "l.safetensors", num_frames=2 * clip - 4, clip_frames=clip)
    with on_backend(model.files.autoencoder, model.ops) as vae:
        before = decode(model.ops, vae, made["clip0"], clip)
    expected = encoded(model, before, "before1")[:, :, -given:]
    np.testing.assert_allclose(made["clip1"][:, :, :given], expected, atol=noise + 1e-5)  # v1.1 adds a little


def test_the_frames_that_go_on_may_change(folder: Path, tmp_path: Path) -> None:
    options = {"num_frames": 8, "clip_frames": 6}
    model, file = published(folder, "v1.1"), tmp_path / "l.safetensors"
    kept = latents_of(model, file, **options)
    edited = latents_of(model, file, condition_frame_edit=0.5, **options)
    np.testing.assert_array_equal(kept["clip0"], edited["clip0"])
    assert np.abs(kept["clip1"] - edited["clip1"])[:, :, :4].min() > 0


def test_references_stand_where_the_mask_strategy_says(folder: Path, tmp_path: Path) -> None:
    model = published(folder, "v1.2")
    Video(IMAGE[None], 8.0).save(tmp_path / "a.png")
    second = np.stack([IMAGE[::-1]] * 3)
    options = {"num_frames": 34, "references": [tmp_path / "a.png", second], "mask_strategy": "0;0,1,0,5,1"}
    made = latents_of(model, tmp_path / "l.safetensors", **options)["clip0"]
    np.testing.assert_allclose(made[:, :, :1], encoded(model, IMAGE[None], "reference0"), atol=1e-5)
    np.testing.assert_allclose(made[:, :, 5:6], encoded(model, second, "reference1"), atol=1e-5)
    in_prompt = f'{{"reference_path": "{tmp_path}/a.png", "mask_strategy": "0"}}'
    by_image = model.generate_from_image(IMAGE, num_frames=17, prompt_embeds=TEXT, **SMALL)
    by_prompt = model.generate_from_text(in_prompt, num_frames=17, prompt_embeds=TEXT, **SMALL)
    np.testing.assert_array_equal(by_image.frames, by_prompt.frames)
    edited = model.generate_from_image(IMAGE, num_frames=17, mask_strategy="0,0,0,0,1,0.6", prompt_embeds=TEXT, **SMALL)
    assert (edited.frames != by_image.frames).any()


@pytest.mark.parametrize("kind", ["i2v_head", "i2v_tail", "i2v_loop", "v2v_head"])
def test_v2_0_puts_given_latents_back(folder: Path, tmp_path: Path, kind: str) -> None:
    model = published(folder, "v2.0")
    references = {"i2v_loop": [IMAGE, IMAGE[::-1]], "v2v_head": [np.stack([IMAGE] * 12)]}.get(kind, [IMAGE])
    options = {"num_frames": 9, "references": references, "cond_type": kind, "prompt_embeds": TEXT_V2}
    made = latents_of(model, tmp_path / "l.safetensors", **options)["clip0"]
    at = given_frames(kind, 3)
    pictures = [references[0][:9]] if kind == "v2v_head" else [picture[None] for picture in references]
    given = [encoded(model, picture, f"reference{i}") for i, picture in enumerate(pictures)]
    np.testing.assert_allclose(made[:, :, list(at)], np.concatenate(given, axis=2), atol=1e-5)


@pytest.mark.parametrize("kind", ["i2v_loop", "v2v_tail"])
def test_v1_3_sees_given_frames(folder: Path, kind: str) -> None:
    model = published(folder, "v1.3")
    references = [IMAGE, IMAGE[::-1]] if kind == "i2v_loop" else [np.stack([IMAGE] * 9)]
    options = {**SMALL, "num_frames": 9, "prompt_embeds": TEXT}
    guided = model.generate_from_text("", references=references, cond_type=kind, **options)
    assert (request("v1.3", gives_frames=True).aesthetic_score, guided.num_frames) == (7.0, 9)
    other = [255 - reference for reference in references]
    assert guided.psnr(model.generate_from_text("", references=other, cond_type=kind, **options)) < 60


def test_latent_frames_of_two_windows_are_asked_for_in_frames_of_the_video(folder: Path) -> None:
    model = published(folder, "v1.3")
    options = {**SMALL, "num_inference_steps": 1, "num_frames": 37, "prompt_embeds": TEXT, "cond_type": "v2v_head"}
    with pytest.raises(InvalidInputError, match="cond_type='v2v_head' gives 21 frames; the reference has 17"):
        model.generate_from_text("", references=[np.stack([IMAGE] * 17)], **options)
    assert model.generate_from_text("", references=[np.stack([IMAGE] * 21)], **options).num_frames == 37


def test_v2_0_goes_on_from_a_video(folder: Path) -> None:
    model = published(folder, "v2.0")
    clip = Video(np.stack([IMAGE] * 6), 24.0)
    longer = model.extend_video(clip, num_frames=3, prompt_embeds=TEXT_V2, num_inference_steps=1, seed=0)
    np.testing.assert_array_equal(longer.frames[:6], clip.frames)
    assert longer.num_frames == 9


@pytest.mark.parametrize(
    ("release", "options", "words"),
    [
        ("v1.0", {"image": IMAGE}, "v1.0 makes videos from text alone"),
        ("v1.2", {"references": [IMAGE]}, "references need a mask_strategy"),
        (
            "v1.2",
            {"references": [IMAGE], "mask_strategy": "0,1"},
            r"'0,1,0,0,1' asks for reference 1; there is only 0",
        ),
        ("v1.2", {"references": [IMAGE] * 3, "mask_strategy": "0,5"}, r"reference 5; there are 3 \(0 to 2\)"),
        ("v1.2", {"references": [IMAGE], "cond_type": "i2v_head"}, r"an option of v1\.3 and v2\.0; v1\.2 takes"),
        ("v1.2", {"references": [IMAGE], "image": IMAGE}, "image and references both say"),
        ("v2.0", {"references": [IMAGE]}, "cond_type='t2v' takes 0 references, got 1; known: t2v, i2v_head"),
        (
            "v2.0",
            {"references": [IMAGE], "cond_type": "i2v_middle"},
            "cond_type='i2v_middle' is not one of t2v, i2v_head",
        ),
        ("v2.0", {"references": [IMAGE], "mask_strategy": "0"}, r"an option of v1\.1 and v1\.2; v2\.0 takes"),
        ("v2.0", {"references": [IMAGE], "cond_type": "i2v_tail", "num_frames": 99, "clip_frames": 65}, "at most 65"),
        ("v2.0", {"references": [IMAGE], "cond_type": "v2v_head"}, "gives 9 frames; the reference has 1"),
    ],
)
def test_what_cannot_be_given_is_said(folder: Path, release: str, options: dict[str, Any], words: str) -> None:
    model = published(folder, release)
    with pytest.raises(InvalidInputError, match=words):
        list(model.stream("", **{"prompt_embeds": TEXT_V2, "num_frames": 9, **SMALL, **options}))


def test_a_score_may_be_left_out_of_the_prompt() -> None:
    assert request("v1.2", aesthetic_score="off").aesthetic_score is None
    with pytest.raises(InvalidInputError, match="aesthetic_score='none' must be a number"):
        request("v1.2", aesthetic_score="none")


def test_v1_0_makes_the_size_that_its_weights_were_trained_for(folder: Path) -> None:
    files = ReleaseFiles([folder / "v1.0"])
    assert (files.release.height, files.release.width) == tuple(
        8 * side for side in files.denoiser_config.input_size[1:]
    )


def test_a_single_reference_needs_no_list(folder: Path) -> None:
    model = published(folder, "v1.2")
    options = {"prompt_embeds": TEXT, "num_frames": 17, "mask_strategy": "0", **SMALL}
    one, listed = (model.generate_from_text("", references=given, **options) for given in (IMAGE, [IMAGE]))
    np.testing.assert_array_equal(one.frames, listed.frames)


@pytest.mark.parametrize(
    ("release", "options", "words"),
    [
        ("v1.2", {"image_guidance_scale": 9}, r"image_guidance_scale=9 is an option of v1\.3 and v2\.0, not of v1\.2"),
        ("v2.0", {"image": IMAGE, "num_frames": 1}, r"v2\.0 is given nothing for a single frame"),
        ("v1.2", {"image": IMAGE, "video": Video(IMAGE[None], 24.0)}, "not with both"),
    ],
)
def test_an_option_that_would_have_no_effect_is_refused(
    folder: Path, release: str, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidInputError, match=words):
        next(published(folder, release).stream("a cat", **options))
