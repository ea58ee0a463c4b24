"""generate, animate, extend: what is written, and what is said about it."""

from __future__ import annotations

import re

import numpy as np
import pytest
from PIL import Image

from opensora_core.cli.saving import automatic_scale
from opensora_core.media.video import Video
from opensora_core.pipelines.opensora import OpenSora
from tests.cli.conftest import document

PROMPT = "a red circle moves right on a blue background"
ON_NUMPY = ("--backend", "numpy")


def test_a_prompt_becomes_a_file_and_one_line_with_the_seed(opensora, nano):
    result = opensora("generate", PROMPT, "-m", nano, *ON_NUMPY, "--seed", 7)
    assert result.exit_code == 0, result.stderr
    assert re.fullmatch(
        r"out\.mp4: 5 frames of 16x16 saved as 256x256, 8 fps, seed 7, numpy, \d+\.\d s\n", result.stdout
    )
    assert result.stderr == ""
    made = Video.load("out.mp4")
    assert made.shape == (5, 16, 16, 3)
    assert made.metadata["seed"] == 7
    same = OpenSora.from_pretrained(nano, backend="numpy").generate_from_text(PROMPT, seed=7)
    assert made.psnr(same) > 30


def test_json_tells_everything_about_the_video(opensora, nano):
    options = ("--steps", 3, "--guidance-scale", 2, "--num-frames", 3, "--height", 24, "--width", 16, "--fps", 4)
    result = opensora("generate", PROMPT, "-m", nano, *ON_NUMPY, "--json", *options, "-o", "a.webp", "--scale", 1)
    assert result.exit_code == 0, result.stderr
    told = document(result)
    assert 0 <= told.pop("seed") < 2**32
    assert set(told.pop("seconds")) == {"load", "generate", "save"}
    assert told == {
        "output": "a.webp",
        "prompt": PROMPT,
        "num_frames": 3,
        "height": 24,
        "width": 16,
        "fps": 4.0,
        "num_inference_steps": 3,
        "guidance_scale": 2.0,
        "scale": 1,
        "contact_sheet": None,
        "backend": "numpy",
        "device": "cpu",
        "dtype": "float32",
        "notes": [],
    }
    assert Video.load("a.webp").shape == (3, 24, 16, 3)


def test_steps_that_are_not_computed_are_told(opensora, nano):
    options = ("-m", nano, *ON_NUMPY, "--seed", 0, "--steps", 7, "--step-cache", 3)
    told = document(opensora("generate", PROMPT, *options, "--json"))
    assert (told["step_cache"], told["approximated_steps"]) == (3, 4)
    assert Video.load("out.mp4").metadata["approximated_steps"] == 4
    line = opensora("generate", PROMPT, *options).stdout
    assert line.endswith(" s, an approximation: 4 steps were not computed\n")
    refused = opensora("generate", PROMPT, "-m", nano, *ON_NUMPY, "--step-cache", 0)
    assert refused.exit_code == 2
    assert "step_cache=0 must be a whole number from 1 to 10000" in refused.stderr


def test_the_drawn_seed_gives_the_same_video_again(opensora, nano):
    first = document(opensora("generate", PROMPT, "-m", nano, *ON_NUMPY, "--json", "-o", "1.webp"))
    opensora("generate", PROMPT, "-m", nano, *ON_NUMPY, "--seed", first["seed"], "-o", "2.webp")
    opensora("generate", PROMPT, "-m", nano, *ON_NUMPY, "--seed", first["seed"] ^ 1, "-o", "3.webp")
    videos = [Video.load(f"{i}.webp").frames for i in (1, 2, 3)]
    assert np.array_equal(videos[0], videos[1])
    assert not np.array_equal(videos[0], videos[2])


def test_auto_says_which_backend_it_picked(opensora, nano):
    result = opensora("generate", PROMPT, "-m", nano, env={"OPENSORA_BACKEND": "numpy"})
    assert "numpy" in result.stdout
    result = opensora("generate", PROMPT, "-m", nano, "--backend", "auto", env={"OPENSORA_BACKEND": "numpy"})
    assert result.stderr == "backend: numpy on cpu in float32, picked by --backend auto\n"
    quiet = opensora("generate", PROMPT, "-m", nano, "--backend", "auto", "-q", env={"OPENSORA_BACKEND": "numpy"})
    assert quiet.stderr == ""
    assert quiet.stdout.startswith("out.mp4: ")


def test_unknown_words_are_told_and_the_video_is_made(opensora, nano):
    result = opensora("generate", "a red circle walks to Mars", "-m", nano, *ON_NUMPY)
    assert result.exit_code == 0
    assert result.stderr == "note: unknown to this model: walks, mars\n"
    told = document(opensora("generate", "a red circle walks", "-m", nano, *ON_NUMPY, "--json", "-q"))
    assert told["notes"] == ["unknown to this model: walks"]


def test_a_contact_sheet_and_a_folder_of_frames(opensora, nano):
    result = opensora("generate", PROMPT, "-m", nano, *ON_NUMPY, "-o", "frames/", "--contact-sheet", "sheet.png")
    assert result.exit_code == 0, result.stderr
    assert Video.load("frames").shape == (5, 16, 16, 3)
    with Image.open("sheet.png") as sheet:
        assert sheet.width > 2 * 160


def test_an_image_is_animated_and_a_clip_is_extended(opensora, nano, tmp_path):
    Image.fromarray(np.full((30, 20, 3), 90, np.uint8)).save("in.png")
    result = opensora("animate", "in.png", "-m", nano, *ON_NUMPY, "-o", "clip.webp", "--seed", 1)
    assert result.exit_code == 0, result.stderr
    clip = Video.load("clip.webp")
    assert clip.shape == (5, 16, 16, 3)
    result = opensora(
        "extend", "clip.webp", "it comes back", "-m", nano, *ON_NUMPY, "-o", "long.webp", "--num-frames", 6
    )
    assert result.exit_code == 0, result.stderr
    assert "11 frames" in result.stdout
    assert np.array_equal(Video.load("long.webp").frames[:5], clip.frames)


def test_a_clip_can_be_brought_to_another_size_and_rate_first(opensora, nano):
    Video(np.zeros((9, 64, 48, 3), np.uint8), 24.0).save("big.mp4")
    options = ("--height", 16, "--width", 16, "--fps", 8, "--num-frames", 2, "--json")
    result = opensora("extend", "big.mp4", "-m", nano, *ON_NUMPY, "-o", "long.webp", *options)
    told = document(result)
    assert (told["num_frames"], told["height"], told["width"], told["fps"]) == (5, 16, 16, 8.0)


@pytest.mark.parametrize(("side", "scale"), [(64, 4), (16, 16), (80, 4), (128, 2), (256, 1), (1000, 1), (1, 64)])
def test_small_videos_are_enlarged_for_the_eye(side, scale):
    assert automatic_scale(side, side // 2 + 1) == scale
