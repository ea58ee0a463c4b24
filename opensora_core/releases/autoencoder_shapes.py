"""Published autoencoders by the names and shapes of their weights: configurations, and older names.

What shapes do not tell (groups of the norms, latent scaling, chunks, tiles) is as published.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..vae.image import AutoencoderKLConfig
from ..vae.temporal import TemporalVAEConfig
from .shapes import Shapes, Values, count

OLD_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def autoencoder_kl(shapes: Shapes, prefix: str = "", conv: str = "") -> Values:
    """The layout of diffusers: names after `prefix`, `conv` between a convolution and its weight."""
    encoder, decoder = f"{prefix}encoder", f"{prefix}decoder"
    levels = range(count(shapes, f"{encoder}.down_blocks"))
    first = [f"{encoder}.down_blocks.{level}.resnets.0.conv1{conv}.weight" for level in levels]
    return {
        "in_channels": shapes[f"{encoder}.conv_in{conv}.weight"][1],
        "out_channels": shapes[f"{decoder}.conv_out{conv}.weight"][0],
        "latent_channels": shapes[f"{decoder}.conv_in{conv}.weight"][1],
        "block_out_channels": tuple(shapes[name][0] for name in first),
        "layers_per_block": count(shapes, f"{encoder}.down_blocks.0.resnets"),
    }


def hunyuan(shapes: Shapes) -> Values:
    """The autoencoder of v2.0."""
    return autoencoder_kl(shapes, conv=".conv")


def two_stage(shapes: Shapes) -> Values:
    """Both autoencoders of v1.2."""
    spatial = autoencoder_kl(shapes, "spatial_vae.module.")
    temporal = temporal_vae(shapes, "temporal_vae.")
    return {"vae_2d": AutoencoderKLConfig(**spatial), "vae_temporal": TemporalVAEConfig(**temporal)}


def temporal_vae(shapes: Shapes, prefix: str = "") -> Values:
    """The temporal autoencoder of v1.2."""
    encoder = f"{prefix}encoder"
    filters, channels = shapes[f"{encoder}.conv_in.conv.weight"][:2]
    levels = count(shapes, f"{encoder}.block_res_blocks")
    first = [f"{encoder}.block_res_blocks.{level}.0.conv1.conv.weight" for level in range(levels)]
    return {
        "in_out_channels": channels,
        "latent_embed_dim": shapes[f"{encoder}.conv2.conv.weight"][0] // 2,
        "embed_dim": shapes[f"{prefix}quant_conv.conv.weight"][0] // 2,
        "filters": filters,
        "num_res_blocks": count(shapes, f"{encoder}.block_res_blocks.0"),
        "channel_multipliers": tuple(shapes[name][0] // filters for name in first),
        "temporal_downsample": tuple(f"{encoder}.conv_blocks.{i}.conv.weight" in shapes for i in range(levels - 1)),
    }


def windowed(shapes: Shapes) -> Values:
    """The autoencoder of v1.3."""
    levels = range(count(shapes, "encoder.down"))
    ch, in_channels = shapes["encoder.conv_in.conv.weight"][:2]
    return {
        "in_channels": in_channels,
        "out_ch": shapes["decoder.conv_out.weight"][0],
        "z_channels": shapes["decoder.conv_in.conv.weight"][1],
        "ch": ch,
        "ch_mult": tuple(shapes[f"encoder.down.{level}.block.0.conv1.conv.weight"][0] // ch for level in levels),
        "num_res_blocks": count(shapes, "encoder.down.0.block"),
    }


def modern_names(weights: Mapping[str, Any]) -> dict[str, Any]:
    """Weights of older 2D autoencoders under today's names: query, key, value, proj_attn are to_q, to_k, to_v, to_out.

    Their linear maps that were stored as 1x1 convolutions [out, in, 1, 1] become [out, in].
    """
    renamed = {}
    for name, weight in weights.items():
        head, _, last = name.rpartition(".")
        block, _, part = head.rpartition(".")
        if ".attentions." in name and part in OLD_NAMES:
            name = f"{block}.{OLD_NAMES[part]}.{last}"
        if ".attentions." in name and len(weight.shape) == 4:
            weight = weight.reshape(weight.shape[:2])
        renamed[name] = weight
    return renamed
