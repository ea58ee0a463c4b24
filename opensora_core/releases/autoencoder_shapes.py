"""Published autoencoders by the names and shapes of their weights: configurations.

What shapes do not tell (groups of the norms, latent scaling, chunks, tiles) is as published.
"""

from __future__ import annotations

from ..vae.image import AutoencoderKLConfig
from ..vae.temporal import TemporalVAEConfig
from .autoencoder_names import ldm_names
from .shapes import Shapes, Values, count

FLUX: Values = {"use_quant_conv": False, "scale": 0.3611, "shift": 0.1159}


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


def image(shapes: Shapes) -> Values:
    """A 2D autoencoder; of those without quant_conv, the official image model's numbers."""
    return {**autoencoder_kl(shapes), **({} if "quant_conv.weight" in shapes else FLUX)}


def image_ldm(shapes: Shapes) -> Values:
    """A 2D autoencoder in the layout of latent diffusion and of Flux."""
    return image(ldm_names(shapes))


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
