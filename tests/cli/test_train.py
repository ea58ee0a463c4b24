"""train: a run from a recipe, its folder, its refusals, and the model it ends with."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from opensora_core.dit.config import STDiT3Config
from opensora_core.dit.stdit3 import STDiT3
from opensora_core.module import state_dict
from opensora_core.nn.init import RandomInit
from opensora_core.pipelines.opensora import OpenSora
from opensora_core.serialization.folder import load_folder, save_folder
from opensora_core.testing.conformance import require
from opensora_core.training.recipe import load_recipe
from tests.cli.conftest import document

ON_NUMPY = ("--backend", "numpy")


def weights(folder, prefix="denoiser."):
    """Weights of a model folder."""
    return {name: np.asarray(a) for name, a in load_folder(folder)[1].items() if name.startswith(prefix)}


def test_a_run_leaves_a_model_whose_other_parts_are_those_it_began_with(opensora, nano, recipe):
    result = opensora("train", "-c", recipe(steps=3), "-o", "run", "--init", nano, *ON_NUMPY, "--json")
    assert result.exit_code == 0, result.stderr
    told = document(result)
    assert (told["step"], told["total_steps"], told["samples"], told["backend"]) == (3, 3, 6, "numpy")
    assert sorted(p.name for p in Path("run").iterdir()) == ["log.jsonl", "model", "recipe.toml", "step-00000003"]
    assert [json.loads(line)["step"] for line in Path("run/log.jsonl").read_text().splitlines()] == [1, 2, 3]
    for part in ("codec.", "text_encoder."):
        own, base = weights("run/model", part), weights(nano, part)
        assert all(np.array_equal(own[name], base[name]) for name in base)
    average = weights("run/step-00000003", "ema/")
    trained = weights("run/model")
    assert all(np.array_equal(trained[f"denoiser.{n.removeprefix('ema/')}"], a) for n, a in average.items())
    made = opensora("generate", "a red circle", "-m", "run/model", *ON_NUMPY, "-o", "a.mp4")
    assert made.exit_code == 0, made.stderr


def test_a_warm_start_goes_on_from_the_weights_of_a_model(opensora, nano, recipe):
    start = ("train", "-c", recipe(steps=3), "--init", nano, "--minutes", 0, *ON_NUMPY)
    assert opensora(*start, "-o", "cold").exit_code == 0
    assert opensora(*start, "-o", "warm", "--warm-start").exit_code == 0
    base = weights(nano)
    assert all(np.array_equal(a, base[name]) for name, a in weights("warm/model").items())
    assert not all(np.array_equal(a, base[name]) for name, a in weights("cold/model").items())
    opensora("train", "-o", "warm", "--resume", *ON_NUMPY)
    assert not all(np.array_equal(a, base[name]) for name, a in weights("warm/model").items())


def test_a_warm_start_needs_weights_of_the_recipes_denoiser(opensora, nano, recipe):
    other = Path(recipe(steps=3))
    other.write_text(other.read_text().replace("depth = 1", "depth = 2"))
    refused = opensora("train", "-c", other, "-o", "run", "--init", nano, "--warm-start", *ON_NUMPY)
    assert refused.exit_code == 2, refused.stderr
    assert "missing" in refused.stderr
    assert not Path("run").exists()


@pytest.mark.parametrize("more", [(), ("--warm-start",)])
def test_published_weights_are_no_model_to_begin_with(opensora, recipe, more):
    denoiser = STDiT3.create(STDiT3Config(hidden_size=24, depth=1, num_heads=2, caption_channels=8), RandomInit(0))
    save_folder("start", {"_class_name": "STDiT3"}, state_dict(denoiser))
    refused = opensora("train", "-c", recipe(steps=1), "-o", "run", "--init", "start", *more, *ON_NUMPY)
    assert refused.exit_code == 2, refused.stderr
    assert "start holds published weights; a run begins with a whole model of this library" in refused.stderr
    assert not Path("run").exists()


def test_a_warm_start_may_make_the_patches_smaller(opensora, nano, recipe):
    finer = Path(recipe(steps=1))
    finer.write_text(finer.read_text().replace("depth = 1", "depth = 1\npatch_size = [1, 1, 2]"))
    result = opensora("train", "-c", finer, "-o", "run", "--init", nano, "--warm-start", *ON_NUMPY)
    assert result.exit_code == 0, result.stderr
    old, new = weights(nano), weights("run/model")
    patches = "denoiser.x_embedder.proj.weight"
    assert (old[patches].shape[2:], new[patches].shape[2:]) == ((1, 2, 2), (1, 1, 2))
    assert_allclose(new[patches], old[patches].sum(3, keepdims=True), atol=0.01)  # one step later


def test_a_run_in_two_parts_ends_as_one_without_a_break(opensora, nano, recipe):
    opensora("train", "-c", recipe(steps=4), "-o", "whole", "--init", nano, *ON_NUMPY)
    opensora("train", "-c", recipe(steps=2), "-o", "parts", "--init", nano, *ON_NUMPY)
    result = opensora("train", "-c", recipe(steps=4), "-o", "parts", "--resume", *ON_NUMPY)
    assert result.exit_code == 0, result.stderr
    assert "step 4 of 4" in result.stdout
    assert "goes on from step-00000002 with another recipe: stages.1.steps was 2, is 4" in result.stderr
    losses = [
        [json.loads(line)["loss"] for line in Path(run, "log.jsonl").read_text().splitlines()]
        for run in ("whole", "parts")
    ]
    assert_allclose(*losses, rtol=1e-5)  # not bit by bit: arrays that were kept have another memory layout
    whole, parts = weights("whole/model"), weights("parts/model")
    for name in whole:
        assert_allclose(parts[name], whole[name], rtol=1e-5, atol=1e-6)


def test_a_run_does_not_go_on_with_another_denoiser(opensora, nano, recipe):
    opensora("train", "-c", recipe(steps=1), "-o", "run", "--init", nano, *ON_NUMPY)
    other = Path(recipe(steps=2))
    other.write_text(other.read_text().replace("depth = 1", "depth = 2"))
    before = Path("run/recipe.toml").read_text()
    refused = opensora("train", "-c", other, "-o", "run", "--resume", *ON_NUMPY)
    assert (refused.exit_code, refused.stdout) == (2, ""), refused.stderr
    assert "step-00000001 was made by another recipe: denoiser.depth was 1, is 2" in refused.stderr
    assert Path("run/recipe.toml").read_text() == before


def test_export_ships_the_model_in_another_precision_without_training(opensora, nano, recipe):
    opensora("train", "-c", recipe(steps=2), "-o", "run", "--init", nano, *ON_NUMPY)
    options = ("--minutes", 0, "--export", "shipped", "--export-dtype", "float16")
    told = document(opensora("train", "-o", "run", "--resume", *ON_NUMPY, *options, "--json"))
    assert (told["step"], told["steps_now"], told["loss"]) == (2, 0, None)
    shipped = weights("shipped")
    assert {a.dtype for a in shipped.values()} == {np.dtype("float16")}
    for name, value in weights("run/model").items():
        assert np.array_equal(shipped[name], value.astype("float16"))


def test_a_folder_with_a_run_is_not_begun_anew(opensora, nano, recipe):
    opensora("train", "-c", recipe(steps=1), "-o", "run", "--init", nano, *ON_NUMPY)
    result = opensora("train", "-c", recipe(steps=1), "-o", "run", "--init", nano, *ON_NUMPY)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--resume" in result.stderr


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("in_channels = 4", "in_channels = 8", ["in_channels=8", "here 4"]),
        ("caption_channels = 128", "caption_channels = 64", ["caption_channels=64", "here 128"]),
        ("hidden_size", "hidden_sighs", ["hidden_sighs"]),
        ("[denoiser]", "[denoiser", ["cannot be read"]),
        ("steps = 1", "steps = 0", ["stage 1 ('tiny'): steps=0 must be a whole number of at least 1"]),
    ],
)
def test_a_recipe_that_fits_nothing_is_refused_and_begins_no_run(opensora, nano, recipe, old, new, words):
    path = Path(recipe(steps=1))
    path.write_text(path.read_text().replace(old, new))
    result = opensora("train", "-c", path, "-o", "run", "--init", nano, *ON_NUMPY)
    assert (result.exit_code, result.stdout) == (2, ""), result.stderr
    for word in words:
        assert word in result.stderr
    assert not Path("run").exists()


def test_a_run_needs_a_recipe_and_a_model(opensora, recipe):
    result = opensora("train", "-o", "run", *ON_NUMPY)
    assert (result.exit_code, "--config" in result.stderr) == (2, True)
    result = opensora("train", "-o", "run", "--resume", *ON_NUMPY)
    assert (result.exit_code, "run holds no training run to go on with: a new" in result.stderr) == (2, True)
    result = opensora("train", "-o", "run", "-c", "embeded", *ON_NUMPY)
    assert (result.exit_code, "the presets are embedded, open-sora-v1.2" in result.stderr) == (2, True)
    result = opensora("train", "-o", "run", "-c", recipe(steps=1), "--init", "nowhere", *ON_NUMPY)
    assert (result.exit_code, "nowhere" in result.stderr) == (2, True)
    result = opensora("train", "-o", "run", "-c", "missing.toml", "--resume", *ON_NUMPY)
    assert (result.exit_code, "missing.toml" in result.stderr) == (2, True)
    assert not Path("run").exists()


def test_a_shipped_recipe_is_named_and_the_run_keeps_a_copy(opensora):
    result = opensora("train", "-o", "run", "-c", "embedded", "--minutes", 0, *ON_NUMPY)
    assert result.exit_code == 0, result.stderr
    assert "step 0 of 40000" in result.stdout
    assert load_recipe("run/recipe.toml") == load_recipe("embedded")


def test_parts_come_from_the_files_that_their_training_writes(opensora, nano, recipe, capsys):
    from opensora_core.training import fit_codec, text_pretraining

    text_pretraining.main(["--steps", "2", "--batch-size", "2", "--backend", "numpy", "-o", "text.safetensors"])
    fit_codec.main(["--channels", "4", "--clips", "8", "-o", "codec.safetensors"])
    assert "step 2/2" in capsys.readouterr().out
    parts = ("--text-encoder", "text.safetensors", "--codec", "codec.safetensors")
    result = opensora("train", "-c", recipe(steps=1), "-o", "run", *parts, *ON_NUMPY)
    assert result.exit_code == 0, result.stderr
    model = OpenSora.from_pretrained("run/model", backend="numpy")
    assert model.config.num_frames == 17, "the defaults of the embedded model"
    from opensora_core.training.codec_file import load_codec
    from opensora_core.training.text_file import load_text_encoder

    state = model.state_dict()
    for name, value in state_dict(load_codec("codec.safetensors")).items():
        assert np.array_equal(state[f"codec.{name}"], value)
    encoder, tokenizer = load_text_encoder("text.safetensors")
    assert tokenizer.vocabulary == model.config.vocabulary
    for name, value in state_dict(encoder).items():
        assert np.array_equal(state[f"text_encoder.{name}"], value)
    result = opensora("train", "-c", recipe(steps=1), "-o", "again", "--init", nano, *parts[2:], *ON_NUMPY)
    assert result.exit_code == 0, result.stderr
    assert np.array_equal(weights("again/model", "codec.")["codec.basis"], state["codec.basis"])


def test_the_model_samples_as_its_recipe_trained_and_else_as_the_base(opensora, nano, recipe):
    path = Path(recipe(steps=1))
    path.write_text(
        'prediction = "sample"\ntimestep_shift = 2.0\n' + path.read_text().replace("depth = 1", "depth = 2")
    )
    result = opensora("train", "-c", path, "-o", "run", "--init", nano, *ON_NUMPY)
    assert result.exit_code == 0, result.stderr
    base, made = OpenSora.read_config(nano), OpenSora.read_config("run/model")
    assert (made.prediction, made.timestep_shift, made.num_layers) == ("sample", 2.0, 2)
    assert replace(made, prediction="velocity", timestep_shift=1.0, num_layers=1) == base


def test_curves_are_written_where_they_are_asked_for(opensora, nano, recipe):
    require("tensorboardX")
    start = ("train", "-c", recipe(steps=2), "-o", "run", "--init", nano, *ON_NUMPY, "--tensorboard", "--keep", 1)
    result = opensora(*start)
    assert result.exit_code == 0, result.stderr
    assert len(list(Path("run/tensorboard").iterdir())) == 1
