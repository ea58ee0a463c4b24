"""Buckets by resolution, frames and aspect ratio: what the official code of v1.2 does with the official configs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from opensora_backends.numpy_ops import NumpyOps
from opensora_core.dit.stdit3 import STDiT3
from opensora_core.errors import InvalidInputError
from opensora_core.module import state_dict
from opensora_core.nn.init import ShapeInit
from opensora_core.training.datasets.bucket_config import BucketConfig
from opensora_core.training.datasets.resolutions import resolutions
from opensora_core.training.recipe import load_recipe
from opensora_core.verify import check_set

FILE = Path(__file__).parents[2] / "golden" / "buckets_v1.2.json"  # made by the official code
GOLDEN = json.loads(FILE.read_text())


def test_files_fall_into_the_buckets_of_the_official_code(tmp_path):
    ops = NumpyOps("cpu", "float32")
    assert len([check for check in check_set(FILE, ops) if check.verdict == "pass"]) == 363
    copy = tmp_path / FILE.name
    copy.write_text(FILE.read_text().replace('["256", 51, "1.0"]', '["256", 51, "1.1"]', 1))
    [wrong] = [check for check in check_set(copy, ops) if not check.ok]
    assert (wrong.verdict, wrong.case) == ("fail", "stage 1: 409x256x256 every 1, seed 13751")


def test_a_resolution_has_a_size_of_about_its_pixels_for_every_ratio():
    for resolution in resolutions().values():
        assert resolution.closest_ratio(300, 300) in ("1.0", "1.00")
        for ratio, (height, width) in resolution.sizes.items():
            assert height * width == pytest.approx(resolution.pixels, rel=0.14)
            assert height / width == pytest.approx(float(ratio), rel=0.07)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({}, "must be a table of resolutions"),
        ({"145p": {1: [1, 2]}}, "resolution '145p' is not one of 144p, 256, 240p"),
        ({"144p": [1, 2]}, "144p: .* must be a table"),
        ({"144p": {"one": [1, 2]}}, "144p: frames='one' must be a whole number of at least 1"),
        ({"144p": {51: 3}}, r"144p, 51 frames: 3 must be \[keep, batch_size\]"),
        ({"144p": {51: [1.5, 3]}}, "144p, 51 frames: keep=1.5 must be a number from 0 to 1"),
        ({"144p": {51: [[0.5, -1], 3]}}, "51 frames: length=-1 must be"),
        ({"144p": {1: [[0.5, 0.5], 3]}}, r"pictures have no length; write \[0.5, 3\]"),
        ({"144p": {51: [0.5, None]}}, "batch_size=None must be a whole number"),
    ],
)
def test_a_mistake_is_named_with_its_place(config, words):
    with pytest.raises(InvalidInputError, match=words):
        BucketConfig(config)


def test_the_stages_of_v1_2_are_shipped_as_a_recipe():
    made = load_recipe("open-sora-v1.2")
    assert [(stage.steps, stage.learning_rate) for stage in made.stages] == [
        (30000, 1e-4),
        (23000, 1e-4),
        (15000, 1e-4),
    ]
    for stage, official in zip(made.stages, GOLDEN["stages"], strict=True):
        config = BucketConfig(stage.bucket_config)
        assert config.num_buckets == official["num_bucket"]
        for T, H, W, interval, seed, expected, _, batch_size in official["rows"]:
            bucket = config.bucket_id(T, H, W, interval, seed)
            assert (bucket and list(bucket)) == expected
            assert bucket is None or config.batch_size(bucket) == batch_size
    assert [round(1 - sum(stage.mask_ratios.values()), 3) for stage in made.stages] == [0.8, 0.8, 0.75]
    assert made.denoiser.depth == 28
    weights = state_dict(STDiT3.create(replace(made.denoiser, depth=1), ShapeInit()))
    assert set(made.frozen) == {name for name in weights if name.startswith(("rope", "y_embedder"))}
