"""A refiner that learns from what its model's denoiser makes: nothing else changes, and it decodes that better."""

from dataclasses import replace

import numpy as np
import pytest

from opensora_core import OpenSora
from opensora_core.errors import InvalidInputError
from opensora_core.module import to_backend, tree_map
from opensora_core.pipelines.refining import denoised_batch, main, refine
from opensora_core.registry import get_backend
from opensora_core.synthetic import EASY
from opensora_core.training.codec_clips import clips
from opensora_core.training.refiner import RefinerRecipe, refiner_batch
from opensora_core.vae.block_codec import BlockCodecConfig
from opensora_core.vae.block_pca import fit
from tests.pipelines.models import NANO, make

NUMPY = get_backend("numpy")
CODEC = BlockCodecConfig(latent_channels=4, refiner_width=8, refiner_depth=1)
RECIPE = RefinerRecipe(steps=2, batch_size=2, learning_rate=1e-2)


@pytest.fixture
def model():
    """A model with a fitted autoencoder, whose refiner knows nothing and whose denoiser is random."""
    model = make(config=replace(NANO, codec=CODEC))
    fitted = fit(NUMPY, clips(seed=1, count=8), BlockCodecConfig(latent_channels=4))
    state = {f"codec.{name}": getattr(fitted, name) for name in ("mean", "basis", "scale")}
    model.load_state_dict({**model.state_dict(), **state})
    return model


def on_host(model):
    return to_backend(NUMPY, tree_map(model.ops.to_numpy, model._parts.codec))


def test_only_the_refiner_changes(model):
    [(step, loss, refined)] = list(refine(model, RECIPE))
    assert step == 2
    assert 0 < loss < 10
    old, new = model.state_dict(), refined.state_dict()
    changed = {name for name in old if not np.array_equal(old[name], new[name])}
    assert changed
    assert all(name.startswith("codec.refiner.") for name in changed)


def test_batches_are_what_the_denoiser_makes_of_a_clip_and_what_its_decoding_lacks(model):
    codec = on_host(model)
    seen, missing = denoised_batch(model, codec, RECIPE, 1, EASY)
    assert (seen.shape, missing.shape) == ((2, 4, 5, 5, 5), (2, 5, 5, 5, 768))
    truth = replace(codec, refiner=None).decode_blocks(NUMPY, seen) + missing
    assert np.abs(truth).max() <= 1 + 1e-5
    assert np.array_equal(seen, denoised_batch(model, codec, RECIPE, 1, EASY)[0])
    clean, _ = refiner_batch(codec, replace(RECIPE, noise=0.0), 1, EASY)
    assert np.abs(seen - clean).mean() > 0.05


def test_a_model_without_a_refiner_is_refused():
    with pytest.raises(InvalidInputError, match="the model's autoencoder has no refiner"):
        next(refine(make(), RECIPE))


def test_the_command_writes_a_model(model, tmp_path, capsys):
    model.save(tmp_path / "model")
    main([str(tmp_path / "model"), "-o", str(tmp_path / "refined"), "--steps", "1", "--batch-size", "1",
          "--backend", "numpy", "--dtype", "float16"])  # fmt: skip
    assert "step 1/1: loss" in capsys.readouterr().out
    assert OpenSora.from_pretrained(tmp_path / "refined", backend="numpy").config == model.config
