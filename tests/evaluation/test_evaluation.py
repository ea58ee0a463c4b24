"""The measures, on models whose answers are known: one that draws what is asked, and ones with a known fault."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from opensora_core.errors import InvalidInputError
from opensora_core.evaluation import (
    ClipShape,
    contact_sheet,
    evaluate_extension,
    evaluate_image,
    evaluate_text,
    held_out_cases,
    render_real,
)
from opensora_core.evaluation.extension import seam_ratio
from opensora_core.media.video import Video
from opensora_core.pipelines.config import OpenSoraConfig
from opensora_core.synthetic.scene import held_out
from opensora_core.synthetic.world import EASY, FULL

SHAPE = ClipShape(17, 64, 64, 8.0)
CASES = held_out_cases(EASY, 12)


class Oracle:
    """Answers with the real clip; `fault` changes it."""

    config = OpenSoraConfig.preset("embedded")

    def __init__(self, fault=lambda frames: frames):
        self.fault, self.asked = fault, []

    def _answer(self, prompt, seed, options):
        case = CASES[seed]
        assert prompt == case.prompt
        self.asked.append((seed, options))
        return self.fault(render_real(EASY, case, SHAPE).copy())

    def generate_from_text(self, prompt, *, seed, **options):
        return Video(self._answer(prompt, seed, options), SHAPE.fps)

    def generate_from_image(self, image, prompt, *, seed, **options):
        assert np.array_equal(image, render_real(EASY, CASES[seed], SHAPE)[0])
        return self.generate_from_text(prompt, seed=seed, **options)

    def extend_video(self, video, prompt, *, num_frames, condition_frames, seed, **options):
        assert len(video) + num_frames == SHAPE.num_frames
        return self.generate_from_text(prompt, seed=seed, num_frames=num_frames, **options)

    def encode(self, frames):
        return frames[None]

    def decode(self, latents, num_frames, height, width):
        assert latents.shape[1:] == (num_frames, height, width, 3)
        return latents


def test_cases_are_held_out_fixed_and_the_first_of_more():
    more = held_out_cases(EASY, 30)
    assert more[:12] == CASES
    assert all(held_out(case.scene) for case in more)
    assert [case.seed for case in CASES] == list(range(12))
    assert held_out_cases(EASY, 12, seed=1) != CASES
    canonical = held_out_cases(EASY, 12, wording="canonical")
    assert [c.prompt for c in canonical[::2]] == [c.prompt for c in CASES[::2]]
    assert [c.scene for c in canonical] == [c.scene for c in CASES]
    assert canonical != CASES
    still = held_out_cases(FULL, 5, wording="canonical", still_images=True)
    assert all(" on a " in c.prompt and "move" not in c.prompt for c in still)


def test_a_model_that_draws_what_is_asked_scores_like_real_clips_and_chance_beside_other_prompts():
    oracle, told = Oracle(), []
    report = evaluate_text(oracle, EASY, CASES, SHAPE, tell=told.append, num_inference_steps=7)
    assert report.generated == report.real
    assert report.real.all == 1.0
    assert report.mismatched.all < 0.2
    assert report.mismatched.color < 0.5
    assert told == list(range(1, 13))
    assert oracle.asked[3] == (3, {**SHAPE.to_dict(), "num_inference_steps": 7})
    assert "videos" not in report.to_dict()


def test_a_model_that_forgets_to_move_loses_motion_and_nothing_else():
    report = evaluate_text(Oracle(lambda frames: np.repeat(frames[:1], 17, axis=0)), EASY, CASES, SHAPE)
    still = sum(case.scene.motion == "still" for case in CASES) / len(CASES)
    assert report.generated.motion == pytest.approx(still)
    assert report.generated.background == report.generated.color == report.generated.shape == 1.0


def test_a_kept_image_is_measured_against_its_reconstruction():
    report = evaluate_image(Oracle(), EASY, CASES, SHAPE)
    assert (report.kept_psnr, report.kept_psnr_worst, report.given_psnr) == (100.0, 100.0, 100.0)
    assert report.generated.motion == 1.0

    def noisy(frames):
        frames[0] = np.where(frames[0] < 128, frames[0] + 4, frames[0] - 4)
        return frames

    report = evaluate_image(Oracle(noisy), EASY, CASES, SHAPE)
    assert report.kept_psnr == pytest.approx(10 * np.log10(255**2 / 16))


def test_a_seam_is_measured_against_the_ordinary_change():
    report = evaluate_extension(Oracle(), EASY, CASES, SHAPE)
    assert report.given_frames == 9
    assert report.unchanged
    assert report.seam_ratio == report.real_seam_ratio
    assert 0.7 < report.seam_ratio < 1.3

    def jumps(frames):
        frames[9:] = np.clip(frames[9:].astype(int) + 20, 0, 255)
        return frames

    report = evaluate_extension(Oracle(jumps), EASY, CASES, SHAPE)
    assert report.seam_ratio > 4
    assert report.unchanged
    assert not evaluate_extension(Oracle(lambda f: f // 2), EASY, CASES[:1], SHAPE).unchanged


def test_the_seam_ratio_of_known_clips():
    steady = np.zeros((6, 8, 8, 3), np.uint8) + np.arange(6, dtype=np.uint8)[:, None, None, None] * 10
    assert seam_ratio(steady, 3) == 1.0
    steady[3:] += 20
    assert seam_ratio(steady, 3) == pytest.approx(3.0)
    assert seam_ratio(np.zeros((6, 8, 8, 3), np.uint8), 3) == 1.0


def test_clip_shapes_show_one_whole_motion():
    config = OpenSoraConfig.preset("embedded")
    assert ClipShape.of(config) == SHAPE
    assert ClipShape.of(config, 9) == replace(SHAPE, num_frames=9, fps=4.0)
    assert ClipShape.of(config, 1).is_image
    with pytest.raises(InvalidInputError, match="num_frames=0"):
        ClipShape.of(config, 0)


def test_a_sheet_shows_the_first_clips_and_names_what_is_wrong():
    videos = [render_real(EASY, case, SHAPE) for case in CASES]
    right = np.asarray(contact_sheet(videos, CASES, limit=4))
    wrong = np.asarray(contact_sheet(videos[1:] + videos[:1], CASES, limit=4))
    assert right.shape == wrong.shape
    assert right.shape[1] > 2 * 6 * 96

    def red(sheet):
        words = sheet[6:18].astype(int)  # above the first row of clips
        return int((words[..., 0] - words[..., 1] > 60).sum())

    assert red(right) == 0
    assert red(wrong) > 50
    images = np.asarray(contact_sheet([v[:1] for v in videos], CASES))
    assert images.shape[1] == 12 * (128 + 6) + 6, "narrow clips stand in more columns"
    assert images.shape[0] > 128 + 2 * 12, "and their prompts take several lines"
    with pytest.raises(InvalidInputError, match="11 videos and 12 cases"):
        contact_sheet(videos[1:], CASES)
