"""Pictures of what a run has learned so far."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from opensora_core.errors import InvalidInputError
from tests.pipelines.models import PROMPT
from tests.training.tiny import recipe, trainer

SAMPLES = {"prompts": [PROMPT, "a blue square"], "every": 3, "num_frames": 5, "height": 16, "width": 16,
           "num_inference_steps": 2}  # fmt: skip


def test_a_run_draws_its_prompts_every_so_many_steps_and_at_its_end(tmp_path):
    made, plain = trainer("numpy", tmp_path, samples=SAMPLES), trainer()
    losses = [step.loss for step in made.run()]
    assert losses == [step.loss for step in plain.run()], "to be watched changes nothing"
    pictures = sorted((tmp_path / "samples").iterdir())
    assert [path.name for path in pictures] == [f"step-0000000{n}.png" for n in (3, 6, 8)]
    first, _, last = (np.asarray(Image.open(path)) for path in pictures)
    assert first.shape == last.shape
    assert (first != last).any(), "the weights moved"
    made.callbacks[0].draw(tmp_path / "again.png")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "again.png")), last), "prompts and seeds are fixed"


def test_without_a_folder_nothing_is_drawn():
    assert trainer(samples=SAMPLES).callbacks == []


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"prompts": []}, r"samples: prompts=\(\) must be a list of one or more prompts"),
        ({"every": 0}, "samples: every=0"),
        ({"height": -1}, "samples: height=-1"),
        ({"seeds": 1}, r"unknown samples fields \['seeds'\]"),
    ],
)
def test_a_mistake_is_named(changed, words):
    with pytest.raises(InvalidInputError, match=words):
        recipe(samples={**SAMPLES, **changed})


def test_what_the_model_cannot_make_is_refused_before_the_run(tmp_path):
    with pytest.raises(InvalidInputError, match="prompt"):
        trainer("numpy", tmp_path, samples={**SAMPLES, "prompts": ["  "]})
