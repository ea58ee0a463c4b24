"""Weights of 2D autoencoders under today's names, those of diffusers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar

T = TypeVar("T")
OLD_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
LDM_NAMES = (  # of latent diffusion and of Flux
    (r"\.down\.(\d+)\.block\.", r".down_blocks.\1.resnets."),
    (r"\.down\.(\d+)\.downsample\.", r".down_blocks.\1.downsamplers.0."),
    (r"\.up\.(\d+)\.block\.", r".up_blocks.\1.resnets."),
    (r"\.up\.(\d+)\.upsample\.", r".up_blocks.\1.upsamplers.0."),
    (r"\.mid\.block_1\.", ".mid_block.resnets.0."),
    (r"\.mid\.block_2\.", ".mid_block.resnets.1."),
    (r"\.mid\.attn_1\.norm\.", ".mid_block.attentions.0.group_norm."),
    (r"\.mid\.attn_1\.([qkv])\.", r".mid_block.attentions.0.to_\1."),
    (r"\.mid\.attn_1\.proj_out\.", ".mid_block.attentions.0.to_out.0."),
    (r"\.nin_shortcut\.", ".conv_shortcut."),
    (r"\.norm_out\.", ".conv_norm_out."),
)


def modern_names(weights: Mapping[str, Any]) -> dict[str, Any]:
    """Weights of older autoencoders of diffusers: query, key, value, proj_attn are to_q, to_k, to_v, to_out.0.

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


def ldm_weights(weights: Mapping[str, Any]) -> dict[str, Any]:
    """Weights in the layout of latent diffusion and of Flux (`encoder.down.0.block.0`, `decoder.up.3.block.0`)."""
    return modern_names(ldm_names(weights))


def ldm_names(weights: Mapping[str, T]) -> dict[str, T]:
    """The names alone; levels of the decoder are counted from the first that runs, and there from the last."""
    last = len({name.split(".")[2] for name in weights if name.startswith("decoder.up.")}) - 1
    return {_diffusers(name, last): weight for name, weight in weights.items()}


def _diffusers(name: str, last: int) -> str:
    for pattern, modern in LDM_NAMES:
        name = re.sub(pattern, modern, name)
    return re.sub(r"(?<=\.up_blocks\.)\d+", lambda level: str(last - int(level[0])), name)
