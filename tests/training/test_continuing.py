"""Going on with another recipe: what may change is told, what cannot is refused with a remedy."""

from __future__ import annotations

import warnings
from dataclasses import replace

import pytest

from opensora_core.errors import InvalidInputError, WeightsError
from opensora_core.pipelines.training import make_trainer
from opensora_core.training.checkpoints import CheckpointWarning, save_checkpoint
from opensora_core.training.continuing import changes, described
from opensora_core.training.trainer import Trainer
from tests.pipelines.models import NANO, make
from tests.training.tiny import CLIP, IMAGE, recipe, trainer


@pytest.fixture
def folder(tmp_path):
    made = trainer("numpy", tmp_path)
    next(steps := made.run())
    steps.close()
    return tmp_path


def stage(**changed):
    """The stages of the tiny recipe, the first one changed."""
    images, clips = recipe().stages
    return [replace(images, **changed), clips]


def resumed(made: Trainer) -> Trainer:
    made.resume()
    return made


def other(folder, **changed) -> Trainer:
    return make_trainer(make(), replace(recipe(), **changed), folder)


def test_the_same_recipe_is_gone_on_with_in_silence(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert resumed(trainer("numpy", folder)).state.step == 1


def test_rates_steps_and_data_may_change_and_each_change_is_told(folder):
    stages = stage(learning_rate=2e-4, steps=30, buckets=(recipe().stages[0].buckets[0], recipe().stages[1].buckets[0]))
    with pytest.warns(CheckpointWarning) as told:
        made = resumed(other(folder, stages=tuple(stages), seed=3))
    for change in (
        "from step-00000001 with another recipe: ",
        "stages.1.steps was 3, is 30",
        "stages.1.buckets.2 was the default, is {'num_frames': 5, ",
        "stages.1.learning_rate was the default, is 0.0002",
        "seed was the default, is 3",
    ):
        assert change in str(told[0].message)
    next(steps := made.run())
    steps.close()
    assert resumed(other(folder, stages=tuple(stages), seed=3)).state.step == 2, "told once: it is the recipe's now"


def test_the_shape_of_the_denoiser_may_not_change(folder):
    larger = {**NANO.denoiser.to_dict(), "depth": 2}
    with pytest.raises(WeightsError, match=r"step-00000001 was made by another recipe: denoiser.depth was 1, is 2. .*"
                       r"another folder, which --warm-start --init RUN/model lets start"):  # fmt: skip
        resumed(trainer("numpy", folder, denoiser=larger))
    with pytest.warns(CheckpointWarning, match=r"denoiser\.input_sq_size was 64, is 32"):
        resumed(trainer("numpy", folder, denoiser={**NANO.denoiser.to_dict(), "input_sq_size": 32}))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"prediction": "sample"}, "prediction was the default, is 'sample'"),
        ({"frozen": ["x_embedder.*"]}, r"frozen was the default, is \['x_embedder.\*'\]"),
    ],
)
def test_what_the_output_means_and_what_learns_may_not_change(folder, changed, words):
    with pytest.raises(InvalidInputError, match=f"another recipe: {words}. Rates, steps, .* may change"):
        resumed(trainer("numpy", folder, **changed))


def test_a_checkpoint_that_tells_no_recipe_is_known_by_its_shapes(folder):
    made = trainer()
    made.step(made.batch(0))
    save_checkpoint(made.ops, folder, made.state)
    assert resumed(other(folder, seed=5)).state.step == 1
    with pytest.raises(WeightsError, match=r"another recipe: the weights do not fit the model"):
        resumed(trainer("numpy", folder, denoiser={**NANO.denoiser.to_dict(), "depth": 2}))


def test_a_recipe_is_told_by_what_is_not_left_at_its_default():
    told = described(recipe())
    assert set(told) == {"denoiser", "stages"}
    assert told["stages"][0] == {"name": "images", "steps": 3, "warmup_steps": 1, "buckets": [IMAGE]}
    assert told["stages"][1]["buckets"][0] == CLIP
    assert changes(told, recipe()) == []
    fewer = replace(recipe(), stages=recipe().stages[:1])
    assert [change.key for change in changes(told, fewer)] == ["stages.2"]
