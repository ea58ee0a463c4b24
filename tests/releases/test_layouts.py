"""Autoencoders and text models in older and other layouts, and what their configurations say in parts of them."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from opensora_core.dit.stdit3_windows import WindowedConfig, WindowedSTDiT3
from opensora_core.errors import InvalidInputError, WeightsError
from opensora_core.module import state_dict
from opensora_core.nn.init import RandomInit
from opensora_core.registry import get_backend
from opensora_core.releases.loading import Published, load_published
from opensora_core.serialization.writer import write_safetensors
from opensora_core.text.clip import CLIPText
from opensora_core.text.clip_config import CLIPTextConfig
from opensora_core.text.t5 import T5Encoder
from opensora_core.text.t5_config import T5Config
from opensora_core.vae.image import AutoencoderKL, AutoencoderKLConfig
from opensora_core.vae.temporal import TemporalVAEConfig
from opensora_core.vae.two_stage import TwoStageConfig, TwoStageVAE
from opensora_core.vae.windowed import WindowedVAE, WindowedVAEConfig

OPS = get_backend("numpy", dtype="float32")
IMAGES = AutoencoderKLConfig(block_out_channels=(32, 64), layers_per_block=1)
FLUX = replace(IMAGES, latent_channels=16, use_quant_conv=False, shift=0.1159, scale=0.3611)
WINDOWED = WindowedVAEConfig(ch=32, ch_mult=(1, 1, 1, 1), num_res_blocks=1)
LATENT_DIFFUSION = {  # of both levels; the decoder's are counted from the other end
    "down_blocks.0.resnets.0": "down.0.block.0", "down_blocks.1.resnets.0": "down.1.block.0",
    "down_blocks.0.downsamplers.0": "down.0.downsample", "up_blocks.0.upsamplers.0": "up.1.upsample",
    "up_blocks.0.resnets.0": "up.1.block.0", "up_blocks.0.resnets.1": "up.1.block.1",
    "up_blocks.1.resnets.0": "up.0.block.0", "up_blocks.1.resnets.1": "up.0.block.1",
    "mid_block.resnets.0": "mid.block_1", "mid_block.resnets.1": "mid.block_2",
    "mid_block.attentions.0.group_norm": "mid.attn_1.norm", "mid_block.attentions.0.to_q": "mid.attn_1.q",
    "mid_block.attentions.0.to_k": "mid.attn_1.k", "mid_block.attentions.0.to_v": "mid.attn_1.v",
    "mid_block.attentions.0.to_out.0": "mid.attn_1.proj_out", "conv_shortcut": "nin_shortcut",
    "conv_norm_out": "norm_out",
}  # fmt: skip
BEFORE = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


def weights(kind: Any, config: Any) -> dict[str, np.ndarray]:
    return {name: np.asarray(array) for name, array in state_dict(kind.create(config, RandomInit(3))).items()}


def loaded(folder: Path, own: dict[str, np.ndarray], config: dict[str, Any] | None = None) -> Published:
    write_safetensors(folder / "model.safetensors", own)
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    return load_published(folder, OPS)


def old(own: dict[str, np.ndarray], names: dict[str, str]) -> dict[str, np.ndarray]:
    """Weights under old names, the linear maps of attention as convolutions."""
    renamed = {}
    for name, array in own.items():
        if "attentions" in name and name.endswith("weight") and array.ndim == 2:
            array = array[:, :, None, None]
        for today, before in names.items():
            name = name.replace(today, before)
        renamed[name] = array
    return renamed


@pytest.mark.parametrize(("config", "names"), [(IMAGES, BEFORE), (IMAGES, LATENT_DIFFUSION), (FLUX, LATENT_DIFFUSION)])
def test_older_layouts_of_the_2d_autoencoder_hold_the_same_weights(
    config: AutoencoderKLConfig, names: dict[str, str], tmp_path: Path
) -> None:
    own = weights(AutoencoderKL, config)
    published = loaded(tmp_path, old(own, names))
    assert published.config == config
    for name, array in state_dict(published.model.module).items():
        np.testing.assert_array_equal(array, own[name], err_msg=name)


def test_latents_are_shifted_and_scaled_as_the_configuration_says(tmp_path: Path) -> None:
    own = weights(AutoencoderKL, FLUX)
    said = {"scaling_factor": 0.5, "shift_factor": 0.25, "latent_channels": 16}
    config = loaded(tmp_path, own, said).config
    assert (config.scale, config.shift) == (0.5, 0.25)
    video = np.random.default_rng(0).uniform(-1, 1, (1, 3, 1, 8, 8)).astype(np.float32)
    plain, other = (loaded(tmp_path, own, entry) for entry in ({}, said))
    z, shifted = (p.model.encode(OPS, video) for p in (plain, other))
    np.testing.assert_allclose(shifted / 0.5 + 0.25, z / 0.3611 + 0.1159, atol=1e-5)
    for published, latents in ((plain, z), (other, shifted)):
        expected = published.model.module.decode(
            OPS, (latents[:, :, 0] / published.config.scale) + published.config.shift
        )
        decoded = published.model.decode(OPS, latents)
        np.testing.assert_allclose(decoded[:, :, 0], expected, atol=1e-5)


def test_the_scale_of_sdxl_is_that_of_open_sora(tmp_path: Path) -> None:
    assert loaded(tmp_path, weights(AutoencoderKL, IMAGES), {"scaling_factor": 0.13025}).config.scale == 0.18215


def test_clip_is_configured_by_its_text_model(tmp_path: Path) -> None:
    own = weights(CLIPText, CLIPTextConfig(50, 64, 64, 1, 4, eos_token_id=7))
    said = {"hidden_size": 1, "text_config": {"num_attention_heads": 2, "eos_token_id": 7}}
    config = loaded(tmp_path, own, said).config
    assert (config.hidden_size, config.num_attention_heads, config.eos_token_id) == (64, 2, 7)
    said["text_config_dict"] = {"num_attention_heads": 4}
    assert loaded(tmp_path, own, said).config.num_attention_heads == 4


@pytest.mark.parametrize(
    ("kind", "config", "said"),
    [
        (CLIPText, CLIPTextConfig(50, 64, 64, 1, 1), {"text_config": {"hidden_act": "gelu"}}),
        (CLIPText, CLIPTextConfig(50, 64, 64, 1, 1), {"layer_norm_eps": 0.5}),
        (T5Encoder, T5Config(60, 8, 4, 16, 1, 2), {"feed_forward_proj": "gated-silu"}),
        (T5Encoder, T5Config(60, 8, 4, 16, 1, 2), {"layer_norm_epsilon": 0.5}),
        (AutoencoderKL, IMAGES, {"act_fn": "relu"}),
        (AutoencoderKL, IMAGES, {"mid_block_add_attention": False}),
        (AutoencoderKL, IMAGES, {"down_block_types": ["DownEncoderBlock2D", "AttnDownEncoderBlock2D"]}),
    ],
)
def test_a_configuration_of_another_computation_is_refused(
    kind: Any, config: Any, said: dict[str, Any], tmp_path: Path
) -> None:
    own = weights(kind, config)
    name, value = next(iter(said.get("text_config", said).items()))
    with pytest.raises(InvalidInputError, match=re.escape(f"{name}={value!r} is not the {kind.__name__} of Open-Sora")):
        loaded(tmp_path, own, said)


def test_clip_saved_by_itself_has_no_prefix(tmp_path: Path) -> None:
    config = CLIPTextConfig(50, 64, 64, 1, 1)
    own = weights(CLIPText, config)
    plain = {name.removeprefix("text_model."): array for name, array in own.items()}
    published = loaded(tmp_path, {**plain, "embeddings.position_ids": np.arange(77, dtype=np.int64)[None]})
    assert (published.architecture.name, published.config.vocab_size) == ("CLIPText", 50)
    for name, array in state_dict(published.model).items():
        np.testing.assert_array_equal(array, own[name], err_msg=name)


def test_the_autoencoder_of_v1_3_is_configured_by_encoder_and_decoder(tmp_path: Path) -> None:
    own = weights(WindowedVAE, WINDOWED)
    sizes = {"ch": 32, "ch_mult": [1, 1, 1, 1], "num_res_blocks": 1, "z_channels": 16}
    said = {"encoder": {**sizes, "down_sampling_layer": [1, 2]}, "decoder": sizes, "micro_frame_size": 9}
    assert loaded(tmp_path, own, said).config == replace(WINDOWED, micro_frame_size=9)
    with pytest.raises(WeightsError, match="z_channels of encoder and decoder are 16 and 8"):
        loaded(tmp_path, own, {**said, "decoder": {**sizes, "z_channels": 8}})
    with pytest.raises(WeightsError, match=r"encoder.down_sampling_layer=\[0, 1\]: .* \[1, 2\]"):
        loaded(tmp_path, own, {"encoder": {"down_sampling_layer": [0, 1]}})


def test_parts_of_a_configuration_leave_the_rest_to_the_weights(tmp_path: Path) -> None:
    images = AutoencoderKLConfig(block_out_channels=(32,) * 4, layers_per_block=1)
    temporal = TemporalVAEConfig(filters=32, num_res_blocks=1, channel_multipliers=(1, 1, 1, 1))
    own = weights(TwoStageVAE, TwoStageConfig(images, temporal))
    said = {
        "vae_2d": {"type": "VideoAutoencoderKL", "micro_batch_size": 2},
        "vae_temporal": {"type": "VAE_Temporal_SD"},
    }
    config = loaded(tmp_path, own, said).config
    assert config == TwoStageConfig(replace(images, micro_batch_size=2), temporal)


def test_v1_3_without_temporal_blocks_is_told_by_its_weights_and_runs_as_with_idle_ones(tmp_path: Path) -> None:
    config = WindowedConfig(hidden_size=24, depth=2, num_heads=2, caption_channels=8, model_max_length=6)
    whole = state_dict(WindowedSTDiT3.create(config, RandomInit(3)))
    idle = {
        n: a * 0 if n.startswith("temporal_blocks") and ("proj" in n or "fc2" in n) else a for n, a in whole.items()
    }
    spatial = {name: array for name, array in whole.items() if not name.startswith("temporal_blocks")}
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal(shape).astype(np.float32) for shape in ((1, 16, 2, 4, 4), (1, 1, 6, 8)))
    inputs = x, np.float32([500]), y, None, None, np.float32([24]), 32, 32
    models = [loaded(tmp_path, weights).model for weights in (idle, spatial)]
    assert [model.config.skip_temporal for model in models] == [False, True]
    first, second = (model(OPS, *inputs) for model in models)
    np.testing.assert_allclose(first, second, atol=1e-6)
    with pytest.raises(WeightsError, match=r"(?s)unexpected.*temporal_blocks"):
        loaded(tmp_path, idle, {"skip_temporal": True})
