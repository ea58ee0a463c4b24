"""The 2D and the two-stage autoencoder: published names, sizes, batches, chunks, and overflow in half precision."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from opensora_core import get_backend
from opensora_core.errors import InvalidInputError
from opensora_core.module import replace_part, state_dict
from opensora_core.nn.init import RandomInit, ShapeInit
from opensora_core.random import normal
from opensora_core.releases.autoencoder_names import modern_names
from opensora_core.releases.autoencoder_shapes import two_stage
from opensora_core.releases.loading import load_published
from opensora_core.serialization.writer import write_safetensors
from opensora_core.vae.image import SCALE, AutoencoderKL, AutoencoderKLConfig, FrameVAE
from opensora_core.vae.precision import PrecisionWarning
from opensora_core.vae.two_stage import TwoStageConfig, TwoStageVAE
from tests.vae.tiny import IMAGE, OPS, TEMPORAL, TWO_STAGE, filled, shapes, video

KEYS = Path(__file__).parent.parent / "golden" / "keys"


@pytest.fixture(scope="module")
def vae() -> TwoStageVAE:
    return filled(TwoStageVAE.create(TWO_STAGE, ShapeInit()))


# ---------------------------------------------------------------------- published names and configuration


def test_the_default_size_has_the_published_weights() -> None:
    published = {name: tuple(row[:-1]) for name, row in json.loads((KEYS / "vae-v1.2.json").read_text()).items()}
    assert shapes(TwoStageVAE.create(TwoStageConfig(), ShapeInit())) == published
    assert TwoStageConfig(**two_stage(published)) == TwoStageConfig()


def test_the_published_config_file_is_read_and_an_unknown_field_refused() -> None:
    published: dict[str, Any] = {
        "architectures": ["VideoAutoencoderPipeline"],
        "model_type": "VideoAutoencoderPipeline",
        "cal_loss": False,
        "freeze_vae_2d": False,
        "from_pretrained": None,
        "micro_frame_size": 17,
        "scale": [3.85, 2.32, 2.33, 3.06],
        "shift": [-0.1, 0.34, 0.27, 0.98],
        "vae_2d": {"from_pretrained": "x", "micro_batch_size": 4, "subfolder": "vae", "type": "VideoAutoencoderKL"},
        "vae_temporal": {"from_pretrained": None, "type": "VAE_Temporal_SD"},
    }
    assert TwoStageConfig.from_dict(published) == TwoStageConfig()
    assert TwoStageConfig.from_dict(json.loads(json.dumps(TWO_STAGE.to_dict()))) == TWO_STAGE
    with pytest.raises(InvalidInputError, match=r"unknown v1.2 autoencoder fields \['micro_frames'\]"):
        TwoStageConfig.from_dict({**published, "micro_frames": 3})
    with pytest.raises(InvalidInputError, match="act_fn='relu' is not the AutoencoderKL of Open-Sora"):
        AutoencoderKLConfig.from_dict({"act_fn": "relu"})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: replace(IMAGE, block_out_channels=(4, 5)), "must be multiples of norm_num_groups=2"),
        (lambda: replace(IMAGE, block_out_channels=4), "must be a list of widths"),
        (lambda: replace(IMAGE, micro_batch_size=0), "micro_batch_size=0 must be a whole number of at least 1"),
        (lambda: replace(TEMPORAL, filters=3), "filters=3 must be a multiple of num_groups=2"),
        (lambda: replace(TEMPORAL, temporal_downsample=(True,)), "one entry less than channel_multipliers"),
        (lambda: replace(TWO_STAGE, micro_frame_size=0), "micro_frame_size=0"),
        (lambda: replace(TWO_STAGE, shift=(0.0,)), "must have 4 numbers, one per channel"),
    ],
)
def test_impossible_sizes_are_refused_by_name(make: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        make()


def test_older_names_and_convolutions_of_attention_load_like_those_of_today(tmp_path: Path) -> None:
    own = {name: np.asarray(w) for name, w in state_dict(AutoencoderKL.create(IMAGE, RandomInit(1))).items()}
    old = {}
    for name, weight in own.items():
        for today, then in (("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")):
            name = name.replace(f".{today}.", f".{then}.")
        linear = ".attentions." in name and weight.ndim == 2
        old[name] = weight[:, :, None, None] if linear else weight
    assert "encoder.mid_block.attentions.0.proj_attn.weight" in old
    assert {n: w.shape for n, w in modern_names(old).items()} == {n: w.shape for n, w in own.items()}
    write_safetensors(tmp_path / "diffusion_pytorch_model.safetensors", old)
    (tmp_path / "config.json").write_text(json.dumps({**IMAGE.to_dict(), "_class_name": "AutoencoderKL"}))
    published = load_published(tmp_path, get_backend("numpy"))
    assert published.config == IMAGE
    for name, weight in state_dict(published.model.module).items():
        assert_array_equal(weight, own[name])


# ---------------------------------------------------------------------- sizes, batches and chunks


@pytest.mark.parametrize(
    ("frames", "latents"), [(1, 1), (4, 1), (5, 2), (16, 4), (17, 5), (18, 6), (51, 15), (102, 30), (408, 120)]
)
def test_seventeen_frames_are_five_latents(vae: TwoStageVAE, frames: int, latents: int) -> None:
    assert vae.latent_shape(frames, 240, 426) == (4, latents, 30, 53)
    assert vae.latent_frames(vae.frames_of(latents)) == latents
    assert vae.frames_of(latents) >= frames


def test_without_chunks_four_frames_are_a_latent() -> None:
    vae = TwoStageVAE.create(replace(TWO_STAGE, micro_frame_size=None), ShapeInit())
    assert (vae.latent_frames(51), vae.frames_of(13)) == (13, 52)


def test_chunks_are_encoded_and_decoded_for_themselves(vae: TwoStageVAE) -> None:
    clip = video(1, 3, 21, 8, 16)
    latents = vae.encode(OPS, clip)
    assert latents.shape == (1, 4, 6, 1, 2)
    assert_allclose(latents[:, :, 5:], vae.encode(OPS, clip[:, :, 17:]), atol=1e-12)
    decoded = vae.decode(OPS, latents, 21)
    assert decoded.shape == clip.shape
    assert_allclose(decoded[:, :, :17], vae.decode(OPS, latents[:, :, :5], 17), atol=1e-12)
    assert vae.decode(OPS, latents).shape[2] == 21
    with pytest.raises(InvalidInputError, match="num_frames=22 needs 7 latent frames, got 6"):
        vae.decode(OPS, latents, 22)


def test_micro_batches_change_no_number_and_have_draws_of_their_own() -> None:
    shell = FrameVAE.create(IMAGE, ShapeInit())
    small, whole = filled(shell), replace(filled(shell), config=replace(IMAGE, micro_batch_size=None))
    clip, drawn = video(2, 3, 3, 8, 8), []

    def draw(shape: Sequence[int]) -> Any:
        drawn.append(tuple(shape))
        return np.ones(shape)

    assert_allclose(small.encode(OPS, clip), whole.encode(OPS, clip), atol=1e-13)
    assert_allclose(small.decode(OPS, small.encode(OPS, clip)), whole.decode(OPS, small.encode(OPS, clip)), atol=1e-12)
    sampled = small.encode(OPS, clip, draw)
    assert drawn == [(4, 4, 1, 1), (2, 4, 1, 1)]
    std = np.concatenate([posterior.std(OPS) for posterior in small.posteriors(OPS, clip)])
    difference = (sampled - small.encode(OPS, clip)) / SCALE
    assert_allclose(np.moveaxis(difference, 2, 1).reshape(std.shape), std, rtol=1e-9)


def test_frames_and_latents_of_another_shape_are_refused(vae: TwoStageVAE) -> None:
    with pytest.raises(InvalidInputError, match=r"4x24 pixels, less than one latent cell of 8x8; nearest: 8x24"):
        vae.encode(OPS, video(1, 3, 1, 4, 24))
    with pytest.raises(InvalidInputError, match=r"expected \[B, 3, T, H, W\]"):
        vae.encode(OPS, video(1, 1, 1, 8, 8))
    with pytest.raises(InvalidInputError, match=r"expected \[B, 4, T', h, w\]"):
        vae.decode(OPS, video(1, 3, 1, 1, 1))
    with pytest.raises(InvalidInputError, match="num_frames=2 needs 2 latent frames, got 1"):
        vae.spatial_vae.decode(OPS, video(1, 4, 1, 1, 1), 2)


# ---------------------------------------------------------------------- half precision


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_an_overflow_is_said_and_computed_again_in_float32(backend: str) -> None:
    if backend == "torch":
        pytest.importorskip("torch")
    ops = get_backend(backend, device="cpu", dtype="float16")
    vae = filled(FrameVAE.create(IMAGE, ShapeInit()), ops)
    latents = ops.asarray(normal(0, "latents", 0, (1, 4, 1, 2, 2)))
    plain = ops.to_numpy(vae.decode(ops, latents))
    assert plain.dtype == np.float32
    loud = replace_part(vae, "module.decoder.conv_norm_out.weight", lambda w: w * 60000.0)
    loud = replace_part(loud, "module.decoder.conv_out.weight", lambda w: w * 100.0)
    with pytest.warns(PrecisionWarning, match=r"float16 overflowed in an autoencoder \(Decoder\)"):
        decoded = ops.to_numpy(loud.decode(ops, latents))
    assert np.isfinite(decoded).all()
    assert np.abs(decoded).max() > np.finfo(np.float16).max
