from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from opensora_core import get_backend
from opensora_core.errors import FileFormatError, WeightsError
from opensora_core.module import state_dict
from opensora_core.serialization.writer import write_safetensors
from opensora_core.synthetic import FULL
from opensora_core.training.codec_clips import clips
from opensora_core.training.codec_file import load_codec, save_codec
from opensora_core.training.refiner import RefinerRecipe, main, refiner_batch, train_refiner, with_fresh_refiner
from opensora_core.vae.block_codec import BlockCodecConfig
from opensora_core.vae.block_pca import fit

OPS = get_backend("numpy")
TINY = RefinerRecipe(steps=25, batch_size=4, width=16, depth=1, learning_rate=1e-2)


@pytest.fixture(scope="module")
def codec():
    return fit(OPS, clips(seed=1, count=12), BlockCodecConfig(latent_channels=12))


def square_error(codec, recipe):
    """Mean squared error of decoding the recipe's noisy latents of a batch that is not trained on."""
    latents, missing = refiner_batch(codec, recipe, 10**6, FULL)
    linear = replace(codec, refiner=None).decode_blocks(OPS, latents)
    return np.square(codec.decode_blocks(OPS, latents) - (linear + missing)).mean()


def test_a_trained_refiner_decodes_unseen_noisy_latents_better_and_changes_no_latent(codec):
    pytest.importorskip("torch")
    recipe = RefinerRecipe(steps=60, batch_size=8, width=32, depth=1, learning_rate=1e-2, noise=0.5)
    step, loss, refined = list(train_refiner(get_backend("torch"), codec, recipe))[-1]
    assert step == 60
    assert 0 < loss < 1
    for name in ("mean", "basis", "scale"):
        assert_array_equal(state_dict(refined)[name], state_dict(codec)[name])
    assert square_error(refined, recipe) < 0.9 * square_error(codec, recipe)


def test_numpy_on_the_tape_and_torch_train_alike(codec):
    pytest.importorskip("torch")
    recipe = RefinerRecipe(steps=3, batch_size=2, width=8, depth=1)
    (_, by_tape, _), (_, by_torch, _) = (
        list(train_refiner(get_backend(name), codec, recipe))[-1] for name in ("numpy", "torch")
    )
    assert_allclose(by_tape, by_torch, rtol=1e-4)


def test_batches_are_made_on_the_host_whatever_the_environment_says(codec, monkeypatch):
    recipe = RefinerRecipe(batch_size=1)
    latents, missing = refiner_batch(codec, recipe, 1, FULL)
    monkeypatch.setenv("OPENSORA_DEVICE", "cuda:0")
    monkeypatch.setenv("OPENSORA_DTYPE", "bfloat16")
    assert_array_equal(refiner_batch(codec, recipe, 1, FULL)[0], latents)
    assert_array_equal(refiner_batch(codec, recipe, 1, FULL)[1], missing)


def test_a_batch_holds_what_the_linear_decoder_still_misses(codec):
    recipe = RefinerRecipe(batch_size=3, noise=0.0)
    latents, missing = refiner_batch(codec, recipe, 1, FULL)
    assert latents.shape == (3, 12, 5, 5, 5)
    assert missing.shape == (3, 5, 5, 5, 768)
    true_blocks = codec.decode_blocks(OPS, latents) + missing
    assert np.abs(true_blocks).max() <= 1 + 1e-5
    # what is missing has no part along the components: those were decoded
    assert_allclose(missing @ codec.basis.T, 0, atol=1e-4)
    again, _ = refiner_batch(codec, recipe, 1, FULL)
    assert_array_equal(latents, again)
    noisy, _ = refiner_batch(codec, RefinerRecipe(batch_size=3, noise=0.5), 2, FULL)
    clean, _ = refiner_batch(codec, recipe, 2, FULL)
    assert np.abs(noisy - clean).max() > 0.1


def test_a_codec_file_keeps_every_bit_and_refuses_what_does_not_fit(codec, tmp_path):
    refined = with_fresh_refiner(codec, TINY)
    save_codec(refined, tmp_path / "codec.safetensors")
    loaded = load_codec(tmp_path / "codec.safetensors")
    assert loaded.config == refined.config
    assert loaded.config.refiner_width == 16
    for name, weight in state_dict(refined).items():
        assert_array_equal(state_dict(loaded)[name], weight)
    write_safetensors(tmp_path / "bare.safetensors", state_dict(codec))
    with pytest.raises(FileFormatError, match="expected 'config' in the metadata"):
        load_codec(tmp_path / "bare.safetensors")
    write_safetensors(tmp_path / "cut.safetensors", state_dict(codec), {"config": '{"latent_channels": '})
    with pytest.raises(FileFormatError, match="is not the JSON expected here"):
        load_codec(tmp_path / "cut.safetensors")
    broken = {name: weight for name, weight in state_dict(codec).items() if name != "basis"}
    write_safetensors(tmp_path / "broken.safetensors", broken, {"config": '{"latent_channels": 12}'})
    with pytest.raises(WeightsError, match="basis"):
        load_codec(tmp_path / "broken.safetensors")


def test_the_command_trains_and_saves(codec, tmp_path, capsys):
    pytest.importorskip("torch")
    save_codec(codec, tmp_path / "codec.safetensors")
    sizes = ["--steps", "2", "--batch-size", "2", "--width", "8", "--depth", "1"]
    main(
        [str(tmp_path / "codec.safetensors"), "-o", str(tmp_path / "refined.safetensors"), *sizes, "--backend", "torch"]
    )
    assert "step 2/2: loss" in capsys.readouterr().out
    refined = load_codec(tmp_path / "refined.safetensors")
    assert refined.config.refiner_width == 8
    assert np.abs(refined.refiner.conv_out.weight).max() > 0
