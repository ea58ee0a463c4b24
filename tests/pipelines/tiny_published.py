"""Small models of every published release with random weights, in files as they are published."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from opensora_core.dit.config import STDiT3Config
from opensora_core.dit.mmdit import MMDiT
from opensora_core.dit.mmdit_config import MMDiTConfig
from opensora_core.dit.stdit import STDiT, STDiTConfig
from opensora_core.dit.stdit2 import STDiT2, STDiT2Config
from opensora_core.dit.stdit3 import STDiT3
from opensora_core.dit.stdit3_windows import WindowedConfig, WindowedSTDiT3
from opensora_core.module import named_leaves
from opensora_core.nn.init import RandomInit
from opensora_core.pipelines.published.model import PublishedOpenSora
from opensora_core.releases.task import Text
from opensora_core.serialization.writer import write_safetensors
from opensora_core.text.clip import CLIPText
from opensora_core.text.clip_config import CLIPTextConfig
from opensora_core.text.t5 import T5Encoder
from opensora_core.text.t5_config import T5Config
from opensora_core.vae.causal3d import HunyuanVAE, HunyuanVAEConfig
from opensora_core.vae.image import AutoencoderKL, AutoencoderKLConfig
from opensora_core.vae.temporal import TemporalVAEConfig
from opensora_core.vae.two_stage import TwoStageConfig, TwoStageVAE
from opensora_core.vae.windowed import WindowedVAE, WindowedVAEConfig
from tests.text.tiny import clip_tokenizer, t5_tokenizer

TINY = {"hidden_size": 24, "depth": 1, "num_heads": 2, "caption_channels": 8, "model_max_length": 300, "qk_norm": True}
IMAGES = AutoencoderKLConfig(block_out_channels=(32,) * 4, layers_per_block=1)
FLUX_IMAGES = replace(IMAGES, latent_channels=16, use_quant_conv=False, shift=0.1159, scale=0.3611)
FLUX_SIZES = {
    "vec_in_dim": 64, "context_in_dim": 8, "hidden_size": 32, "mlp_ratio": 2.0, "num_heads": 1, "depth": 1,
    "depth_single_blocks": 1, "axes_dim": (4, 14, 14),
}  # fmt: skip
SMALL = {"num_inference_steps": 2, "height": 16, "width": 32, "seed": 0}
PARTS = {
    "v1.0": ("vae",),
    "v1.1": ("vae",),
    "v1.2": ("vae-v1.2", "t5"),
    "v1.3": ("vae-v1.3", "t5"),
    "v2.0": ("vae-v2.0", "t5", "clip"),
    "distilled": ("vae-v2.0", "t5", "clip"),
}
rng = np.random.default_rng(0)
TEXT = Text(rng.standard_normal((1, 6, 8)).astype(np.float32), np.arange(6)[None] < 4)
IMAGE = rng.integers(0, 255, (16, 32, 3), np.uint8)


def alive(module: Any) -> dict[str, np.ndarray]:
    """Weights of a new model in which nothing is zero, so that every part of it counts."""
    draws = np.random.default_rng(1)
    return {
        n: np.where(a == 0, 0.1 * draws.standard_normal(a.shape), a).astype(np.float32) for n, a in named_leaves(module)
    }


def write_models(root: Path) -> Path:
    """Denoisers of all releases, the autoencoders of their latents, T5 and CLIP, each in a folder."""
    init = RandomInit(2)
    v1_0 = STDiTConfig(**{**TINY, "hidden_size": 144, "qk_norm": False}, input_size=(4, 2, 3))
    v2_0 = MMDiTConfig(16, 64, 8, 32, 2.0, 1, 1, 1, axes_dim=(4, 14, 14))
    temporal = TemporalVAEConfig(filters=32, num_res_blocks=1, channel_multipliers=(1, 1, 1, 1))
    models = {
        "v1.0": STDiT.create(v1_0, init),
        "v1.1": STDiT2.create(STDiT2Config(**TINY, input_sq_size=512), init),
        "v1.2": STDiT3.create(STDiT3Config(**TINY), init),
        "v1.3": WindowedSTDiT3.create(WindowedConfig(**TINY, in_channels=16), init),
        "v2.0": MMDiT.create(v2_0, init),
        "distilled": MMDiT.create(replace(v2_0, guidance_embed=True), init),
        "flux": MMDiT.create(MMDiTConfig.flux(**FLUX_SIZES), init),
        "flux-ae": AutoencoderKL.create(FLUX_IMAGES, init),
        "vae": AutoencoderKL.create(IMAGES, init),
        "vae-v1.2": TwoStageVAE.create(TwoStageConfig(IMAGES, temporal), init),
        "vae-v1.3": WindowedVAE.create(WindowedVAEConfig(ch=32, ch_mult=(1, 1, 1, 1), num_res_blocks=1), init),
        "vae-v2.0": HunyuanVAE.create(
            HunyuanVAEConfig(latent_channels=4, block_out_channels=(32,) * 4, layers_per_block=1), init
        ),
        "t5": T5Encoder.create(T5Config(60, 8, 4, 16, 1, 2), init),
        "clip": CLIPText.create(CLIPTextConfig(130, 64, 64, 1, 1), init),
    }
    for name, model in models.items():
        (root / name).mkdir(parents=True)
        write_safetensors(root / name / "model.safetensors", alive(model))
    t5_tokenizer(root / "t5")
    clip_tokenizer(root / "clip")
    return root


def published(folder: Path, release: str, backend: str = "numpy") -> PublishedOpenSora:
    """A release with everything it needs."""
    return PublishedOpenSora(folder / release, *(folder / part for part in PARTS[release]), backend=backend)
