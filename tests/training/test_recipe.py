"""Recipes: from TOML, with every mistake named, and what they say about each step."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from opensora_core.errors import InvalidInputError
from opensora_core.pipelines.config import OpenSoraConfig
from opensora_core.synthetic.world import EASY, FULL
from opensora_core.training.presets import PRESETS
from opensora_core.training.recipe import Bucket, Recipe, Stage, load_recipe, recipe_from_dict
from tests.pipelines.models import NANO
from tests.training.tiny import CLIP, IMAGE, recipe

TOML = """
seed = 3
precision = "bfloat16"
prediction = "sample"
timestep_shift = 2
ema_decay = 0.99
gradient_checkpointing = true
frozen = ["rope.freqs", "y_embedder.y_embedding"]

[denoiser]
hidden_size = 16
depth = 1
num_heads = 2
patch_size = [1, 2, 2]

[[stages]]
name = "images"
steps = 10
learning_rate = 0.002
[[stages.buckets]]
num_frames = 1
height = 48
width = 80
batch_size = 32

[[stages]]
name = "clips"
steps = 20
warmup_steps = 4
final_rate = 0.1
world = "full"
free_placement = 0.25
caption_dropout = 0
mask_ratios = { image_head = 0.15, random = 0.05 }
[[stages.buckets]]
num_frames = 16
height = 30
width = 30
batch_size = 2
weight = 3
fps = [4, 8]
[[stages.buckets]]
num_frames = 17
height = 64
width = 64
batch_size = 1
"""


def test_a_recipe_is_what_its_toml_says(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text(TOML, encoding="utf-8")
    denoiser = replace(NANO.denoiser.from_dict({}), hidden_size=16, depth=1, num_heads=2)
    assert load_recipe(path) == load_recipe(str(path)) == Recipe(
        denoiser,
        (
            Stage("images", 10, (Bucket(1, 48, 80, 32),), learning_rate=0.002),
            Stage(
                "clips", 20, (Bucket(16, 30, 30, 2, 3, (4, 8)), Bucket(17, 64, 64, 1)), warmup_steps=4,
                final_rate=0.1, world="full", free_placement=0.25, caption_dropout=0,
                mask_ratios={"image_head": 0.15, "random": 0.05},
            ),
        ),
        seed=3, precision="bfloat16", prediction="sample", timestep_shift=2, ema_decay=0.99,
        gradient_checkpointing=True,
        frozen=("rope.freqs", "y_embedder.y_embedding"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("seed = 3", "sede = 3", r"unknown recipe fields \['sede'\]; known: \['accumulate', 'denoiser', 'ema_decay'"),
        ("seed = 3", "seed = -3", "recipe: seed=-3 must be a whole number of at least 0"),
        ("seed = 3", "seed = 3.5", "recipe: seed=3.5 must be a whole number"),
        ('"bfloat16"', '"half"', "precision='half' is not one of float64, float32"),
        ('"sample"', '"noise"', "prediction='noise' is not one of velocity, sample"),
        ("timestep_shift = 2", 'timestep_method = "normal"', "'normal' is not one of discrete, uniform, logit-normal"),
        ("timestep_shift = 2", "shift_by_size = 1", "shift_by_size=1 must be true or false"),
        ("timestep_shift = 2", "shift_by_size = true", "the timestep transform is undefined for 16 frames"),
        ("timestep_shift = 2", "timestep_shift = 0", "timestep_shift=0 must be a number from 0.001"),
        ("checkpointing = true", "checkpointing = 1", "gradient_checkpointing=1 must be true or false"),
        ("ema_decay = 0.99", "ema_decay = 1", "ema_decay=1 would keep the first weights"),
        ("ema_decay = 0.99", 'ema_decay = "0.99"', "ema_decay='0.99' must be a number from 0 to 1"),
        ('["rope.freqs", "y_embedder.y_embedding"]', '"rope.freqs"', "'rope.freqs' must be a list of names or"),
        ("hidden_size = 16", 'hidden_size = "16"', "hidden_size='16' must be a whole number"),
        ("hidden_size = 16", "hidden = 16", r"unknown STDiT3 config fields \['hidden'\]"),
        ("[denoiser]", "[[denoiser]]", r"denoiser must be a table, \[denoiser\] in TOML, not list"),
        ("steps = 10", 'steps = "10"', r"stage 1 \('images'\): steps='10' must be a whole number of at least 1"),
        ("steps = 10", "steps = true", r"stage 1 \('images'\): steps=True must be"),
        ("steps = 20", "", r"stage 2 \('clips'\) lacks steps"),
        ("steps = 20", "step = 20", r"unknown stage 2 \('clips'\) fields \['step'\]; known: \['bucket_config'"),
        ('name = "clips"', "name = 7", r"stage 2 \(7\): name=7 must be text"),
        ('name = "clips"', "", r"stage 2 \(None\) lacks name"),
        ("learning_rate = 0.002", "learning_rate = 0", r"learning_rate=0 must be a number above 0"),
        ("learning_rate = 0.002", "learning_rate = nan", r"learning_rate=nan must be a number above 0"),
        ("warmup_steps = 4", "warmup_steps = -4", "warmup_steps=-4 must be a whole number of at least 0"),
        ("final_rate = 0.1", "final_rate = -0.1", "final_rate=-0.1 must be a number of at least 0"),
        ('world = "full"', 'world = "moon"', "world='moon' is not one of easy, full"),
        ("free_placement = 0.25", "free_placement = 25", "free_placement=25 must be a number from 0 to 1"),
        ("caption_dropout = 0", "caption_dropout = -1", "caption_dropout=-1 must be"),
        ("image_head = 0.15", "image_hed = 0.15", r"stage 2 \('clips'\): unknown mask_ratios fields \['image_hed'\]"),
        ("mask_ratios = { image_head = 0.15, random = 0.05 }", "mask_ratios = 0.2", "mask_ratios is a float"),
        ("width = 80\n", "", r"bucket 1 of stage 1 \('images'\) lacks width"),
        ("batch_size = 2\n", "batch_size = -2\n", r"bucket 1 of stage 2 \('clips'\): batch_size=-2 must be a whole"),
        ("num_frames = 17", "num_frames = 17.0", r"bucket 2 of stage 2 \('clips'\): num_frames=17.0 must be a whole"),
        ("weight = 3", "weight = 0", "weight=0 must be a number above 0"),
        ("fps = [4, 8]", "fps = []", r"fps=\(\) must be a list of one or more"),
        ("fps = [4, 8]", "fps = 8", "fps=8 must be a list"),
        ("fps = [4, 8]", 'fps = ["8"]', "fps='8' must be a number from 0.01 to 1000"),
        ("seed = 3", "seed = ", "recipe.toml' cannot be read: Invalid value"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_place(tmp_path, old, new, words):
    assert old in TOML
    path = tmp_path / "recipe.toml"
    path.write_text(TOML.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(InvalidInputError, match=words):
        load_recipe(path)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, r"a recipe needs one or more \[\[stages\]\]"),
        ([], "recipe is a list; expected a table"),
        ({"stages": {"name": "a"}}, r"stages must be a list of tables, \[\[...\]\] in TOML, not dict"),
        ({"stages": ["a"]}, "stage 1 must be a table"),
        ({"stages": [{"name": "a", "steps": 1, "buckets": []}]}, r"needs one or more \[\[stages.buckets\]\]"),
        ({"stages": [{"name": "a", "steps": 1, "buckets": [3]}]}, r"bucket 1 of stage 1 \('a'\) is a int"),
        ({"stages": [{"name": "a", "steps": 1, "buckets": 3}]}, r"buckets of stage 1 \('a'\) must be a list"),
    ],
)
def test_a_recipe_of_another_form_is_refused(values, words):
    with pytest.raises(InvalidInputError, match=words):
        recipe_from_dict(values)


def test_a_recipe_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(InvalidInputError, match=r"nothing\.toml' cannot be read: no such file exists, .* presets are"):
        load_recipe(tmp_path / "nothing.toml")
    (tmp_path / "latin.toml").write_bytes(b'name = "caf\xe9"')
    with pytest.raises(InvalidInputError, match=r"latin\.toml' cannot be read: "):
        load_recipe(tmp_path / "latin.toml")


def test_shipped_recipes_have_names():
    assert [load_recipe(name).total_steps for name in PRESETS] == [40000, 68000]
    assert load_recipe("embedded").denoiser.in_channels == OpenSoraConfig.preset("embedded").denoiser.in_channels
    with pytest.raises(InvalidInputError, match=r"'embeded' .* no preset .* presets are embedded, open-sora-v1\.2$"):
        load_recipe("embeded")


def test_every_step_belongs_to_a_stage():
    made = recipe()
    assert made.total_steps == 8
    places = [(stage.name, local) for stage, local in map(made.locate, range(8))]
    assert places == [("images", i) for i in range(3)] + [("clips", i) for i in range(5)]
    with pytest.raises(IndexError, match="the recipe ends before this step"):
        made.locate(8)


def test_the_rate_rises_in_the_warm_up_and_then_falls_to_its_share():
    stage = Stage("a", 100, (Bucket(**IMAGE),), learning_rate=2.0, warmup_steps=9, final_rate=0.25)
    rates = [stage.rate(i) for i in range(101)]
    assert rates[0] == pytest.approx(2 / 10)
    assert all(a < b for a, b in pairwise(rates[:10]))
    assert all(a > b for a, b in pairwise(rates[9:]))
    assert rates[50] == pytest.approx(2 * (1 - 0.75 * 0.5))
    assert rates[100] == pytest.approx(0.5)
    flat = Stage("a", 10, (Bucket(**IMAGE),), learning_rate=2.0, warmup_steps=0)
    assert [flat.rate(i) for i in range(10)] == [2.0] * 10


def test_a_stage_draws_from_its_world():
    images, clips = recipe().stages
    rng, alike = np.random.default_rng(0), np.random.default_rng(0)
    assert images.scenes(rng) == EASY
    assert clips.scenes(rng) == replace(FULL, free_placement=0.5)
    assert rng.random() == alike.random(), "what is not mixed draws nothing"
    mixed = [replace(images, full_share=0.25).scenes(rng) for _ in range(400)]
    assert mixed.count(replace(FULL, free_placement=0.0)) == pytest.approx(100, abs=25)
    assert mixed.count(EASY) == 400 - mixed.count(replace(FULL, free_placement=0.0))
    assert clips.buckets[0] == Bucket(**{**CLIP, "fps": (4.0, 8.0)})
