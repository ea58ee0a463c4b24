"""The rows of text that a guided batch of v1 reads: the prompt, and after it the null caption or a negative prompt."""

from __future__ import annotations

from typing import Any

from ..dit.captions import TextContext, null_captions
from ..ops import Array, Ops
from .task import Text


def text_rows(ops: Ops, denoiser: Any, text: Text, copies: int) -> tuple[Array, Array]:
    """Features [copies·B, L, C], the prompts first, and the mask; the null caption reads under that of the prompt."""
    features, mask = ops.asarray(text.features, ops.dtype), ops.asarray(text.mask)
    if text.negative is None:
        null = null_captions(ops, denoiser.y_embedder, features)
    else:
        null = ops.asarray(text.negative[0], ops.dtype)
        mask = ops.concat([mask] + [ops.asarray(text.negative[1])] * (copies - 1), axis=0)
    return ops.concat([features] + [null] * (copies - 1), axis=0), mask


def guided_context(ops: Ops, denoiser: Any, text: Text, guidance_scale: float) -> TextContext:
    """The text for all steps, encoded once; without guidance, of scale 1, the prompt alone."""
    context: TextContext = denoiser.encode_text(ops, *text_rows(ops, denoiser, text, 1 if guidance_scale == 1 else 2))
    return context
