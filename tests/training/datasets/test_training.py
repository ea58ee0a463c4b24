"""The trainer on files: the same losses on every backend, and a loss that is no number names the files it came from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from opensora_core.errors import InvalidInputError, NonFiniteError
from opensora_core.pipelines.training import make_trainer
from opensora_core.training.trainer import Trainer
from tests.pipelines.models import make
from tests.training.datasets.clips import write_folder
from tests.training.tiny import CLIP, recipe


@pytest.fixture
def files(tmp_path):
    """A recipe of three steps on four clips."""
    stage = {"name": "files", "steps": 3, "data": str(write_folder(tmp_path / "data", pictures=0)), "buckets": [CLIP]}
    return recipe(stages=[stage])


def test_losses_on_files_are_those_of_torch(files):
    losses = [[step.loss for step in make_trainer(make(backend), files).run()] for backend in ("numpy", "torch")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert len(losses[0]) == 3


def test_text_of_the_host_encoder_is_what_the_model_reads(files):
    trainer, model = make_trainer(make(), files), make()
    batch = trainer.batch(0)
    captions = trainer.files.clips(0).captions
    ids, mask = model._parts.tokenizer.encode_batch(captions)
    assert np.array_equal(batch.arrays["text_mask"], mask)
    np.testing.assert_allclose(batch.arrays["text"], model._parts.text_encoder(model.ops, ids, mask), atol=1e-5)


def test_a_loss_that_is_no_number_names_the_files_of_its_batch(files):
    trainer = make_trainer(make(), files)
    batch = trainer.batch(0)
    nan = replace(batch, arrays={**batch.arrays, "latents": np.full_like(batch.arrays["latents"], np.nan)})
    with pytest.raises(NonFiniteError, match="at step 1, stage 'files'") as caught:
        trainer.step(nan)
    assert len(batch.files) == 2
    assert all(name in str(caught.value) for name in batch.files)
    assert trainer.state.step == 0


def test_a_recipe_of_files_needs_them_opened(files):
    parts = make()._parts
    with pytest.raises(InvalidInputError, match="learns from files: open them with TrainingFiles, or use make_trainer"):
        Trainer(make().ops, files, parts.tokenizer, parts.text_encoder, lambda frames: frames)
